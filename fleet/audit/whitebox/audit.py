"""The white-box audit: each device against whoever has its weights (the paper's Tables 1 and 2).

Beside the rates it says how near the decision boundary is: first-order margins and minimum-norm
attacks.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from fleet.attacks.minimum import DeepFool, Minimum, first_order_margins, round_to_bytes
from fleet.attacks.penalty import CarliniWagner, ElasticNet
from fleet.audit.core import jobs
from fleet.audit.core.cache import remember
from fleet.audit.core.checks import run_checks
from fleet.audit.core.evidence import WORST, Outcomes, attack_rows, count
from fleet.audit.core.examination import Examination, examine, gather_evidence, record_settings
from fleet.audit.core.exhibits import count_turns, few
from fleet.audit.core.members import Member, Sample, TransferSettings, check_members
from fleet.audit.core.result import Protocol
from fleet.audit.core.sets import ProgressHook, announced, attack_surrogate
from fleet.audit.whitebox.result import Margins, MinimumDistance, WhiteboxAudit, WhiteboxFigure
from fleet.data import to_unit
from fleet.execution import ProgressReporter
from fleet.models import Classifier
from fleet.provenance import Origin
from fleet.vocabulary import Length

FIRST = 64
"""Images of the sample that minimum-norm attacks get; they take hundreds of gradients each."""

FEW = 16
"""The same of a brief audit, which leaves out the attacks that search for a constant."""

_Attack = tuple[str, Length, Callable[[Classifier, Tensor, Tensor], Minimum]]

_ATTACKS: tuple[_Attack, ...] = (
    ("cw-l2", "l2", CarliniWagner()),
    ("ead-l1", "l1", ElasticNet(rule="l1")),
    ("deepfool-l2", "l2", DeepFool("l2")),
    ("deepfool-linf", "linf", DeepFool("linf")),
)
"""Name, norm of the distance that is reported, attack."""


@dataclass(frozen=True)
class Nearness:
    """How near one device's decision boundary is.

    Attributes:
        margins: Of all correct images.
        distances: One for each minimum-norm attack, on the first images.
    """

    margins: Margins
    distances: tuple[MinimumDistance, ...]


def attack_key(settings: TransferSettings) -> list[Any]:
    """All that determines distances beside device and images: norm, attacks, how many images."""
    first, attacks = _effort(settings)
    return [settings.norm, first, *([name, norm, repr(attack)] for name, norm, attack in attacks)]


def _effort(settings: TransferSettings) -> tuple[int, tuple[_Attack, ...]]:
    """How many images, and which minimum-norm attacks."""
    if not settings.brief:
        return FIRST, _ATTACKS
    return FEW, tuple(a for a in _ATTACKS if isinstance(a[2], DeepFool))


def measure_nearness(
    member: Member, sample: Sample, clean: Outcomes, settings: TransferSettings
) -> Nearness:
    """Measure one device's distances, in fp32.

    The minimum-norm attacks are the paper's claim put to the test that C&W, EAD and DeepFool cannot
    be applied to intervals. Their images are rounded to 8 bits, and pushed on where rounding undid
    them, so each distance is that of an image that can be sent.

    Args:
        member: The device; left exactly as it was.
        sample: The clean images.
        clean: Outcomes of the clean images on the device, (N,).
        settings: Of the audit; norm, batch size and whether it is brief count.
    """
    correct = torch.from_numpy(np.flatnonzero(clean == 0))
    first, attacks = _effort(settings)
    near = sample.part(correct[correct < first])
    return Nearness(
        _margins(member, sample.part(correct), settings),
        tuple(_nearest(member, near, *attack) for attack in attacks),
    )


def _margins(member: Member, sample: Sample, settings: TransferSettings) -> Margins:
    device = member.classifier.mean.device
    values: list[float] = []
    if len(sample.labels) == 0:
        return Margins(member.name, settings.norm, ())
    for rows in sample.batches(settings.batch_size):
        images, labels = to_unit(sample.images[rows].to(device)), sample.labels[rows].to(device)
        margins = first_order_margins(member.classifier, images, labels, settings.norm)
        values += margins[margins.isfinite()].tolist()
    return Margins(member.name, settings.norm, tuple(sorted(round(value, 6) for value in values)))


def _nearest(
    member: Member,
    sample: Sample,
    name: str,
    norm: Length,
    attack: Callable[[Classifier, Tensor, Tensor], Minimum],
) -> MinimumDistance:
    n = len(sample.labels)
    if n == 0:
        return MinimumDistance(member.name, name, norm, 0, 0, None)
    device = member.classifier.mean.device
    images, labels = to_unit(sample.images.to(device)), sample.labels.to(device)
    found = attack(member.classifier, images, labels)
    minimum = round_to_bytes(member.classifier, images, labels, found).minimum
    sizes = {"l1": minimum.l1, "l2": minimum.l2, "linf": minimum.linf}[norm]
    distances = sizes[minimum.success].double().cpu()
    if len(distances) == 0:
        return MinimumDistance(member.name, name, norm, n, 0, None)
    low, middle, high = distances.quantile(torch.tensor([0.1, 0.5, 0.9]).double()).tolist()
    quantiles = (round(low, 6), round(middle, 6), round(high, 6))
    return MinimumDistance(member.name, name, norm, n, len(distances), quantiles)


def audit_whitebox(
    members: Sequence[Member],
    images: Tensor,
    labels: Tensor,
    settings: TransferSettings,
    *,
    label: str = "in-memory",
    provenance: dict[str, Any] | None = None,
    progress: ProgressHook | None = None,
) -> WhiteboxAudit:
    """Audit devices in memory, each with its own weights known.

    Args:
        members: The devices, controls last; each is left exactly as it was, training mode included.
        images: uint8 (N, C, H, W), or floats in [0, 1], which are rounded to 8 bits first.
        labels: True classes, integers (N,).
        settings: How thoroughly to attack.
        label: Name of the audit.
        provenance: Where models and images come from, plain JSON values.
        progress: Called with (done, total, text).

    Raises:
        AuditError: The devices or images do not fit together, or a device gives NaN.
    """
    sample = Sample.of(images, labels)
    check_members(members, sample)
    examinations, nearness = [], []
    for member in announced(members, "attack", progress):
        sets = attack_surrogate(member, sample, settings)
        examined = examine(member, sets, sample, settings)
        examinations.append(examined)
        nearness.append(measure_nearness(member, sample, examined.baseline.clean, settings))
    return assemble_whitebox(examinations, nearness, settings, Origin(label, provenance or {}, {}))


@jobs.of_run("whitebox")
def audit_run_whitebox(audit: jobs.RunAudit, settings: TransferSettings) -> WhiteboxAudit:
    """Audit every device of a run, and its controls, with its own weights known.

    Files are kept under ``audits/whitebox`` as those of the transfer audit are under its own
    directory (:mod:`fleet.audit.core.jobs`), and ``nearness/NAME.json`` beside them.
    """
    found = audit.each("attack", examine_closely)
    examinations, nearness = zip(*found, strict=True)
    return assemble_whitebox(examinations, nearness, settings, audit.origin())


def examine_closely(
    job: jobs.AuditJob, *, progress: ProgressReporter
) -> tuple[Examination, Nearness]:
    """Examine a device and measure its distances; the body of a job."""
    examined = jobs.examine_device(job, progress=_all_but_the_last(progress))
    member, sample = jobs.load_audited(job)
    near = remember(
        job.run.audit(job.kind) / "nearness" / f"{member.name}.json",
        {
            "device_sha256": member.digest(),
            "images_sha256": sample.digest(),
            "attacks": attack_key(job.settings),
        },
        Nearness,
        lambda: measure_nearness(member, sample, examined.baseline.clean, job.settings),
    )
    progress(1, 1, "attacked and measured")
    return examined, near


def _all_but_the_last(progress: ProgressReporter) -> ProgressReporter:
    """Leave two fifths for the distances: they take about as long as the second looks."""

    def report(done: int, total: int, text: str = "") -> None:
        progress(3 * done, 5 * total, text)

    return report


def assemble_whitebox(
    examinations: Sequence[Examination],
    nearness: Sequence[Nearness],
    settings: TransferSettings,
    origin: Origin,
) -> WhiteboxAudit:
    """Count, check, and put the result together.

    Args:
        examinations: One for each device.
        nearness: One for each device, in the same order.
        settings: Of the audit.
        origin: Where the audit comes from.
    """
    evidence = gather_evidence(examinations, settings, {})
    shipped = [e for e in examinations if e.device.role == "device"]
    binarization = (probes.binarization for probes in evidence.probes)
    return WhiteboxAudit(
        norm=settings.norm,
        devices=evidence.devices,
        eps=settings.eps,
        figures=tuple(figure for e in examinations for figure in device_figures(e, settings.eps)),
        noise=evidence.noise,
        margins=tuple(near.margins for near in nearness),
        distances=tuple(distance for near in nearness for distance in near.distances),
        binarization=tuple(found for found in binarization if found is not None),
        checks=run_checks(evidence),
        exhibits=tuple(few([e.exhibits for e in examinations])),
        turns=count_turns([e.own for e in shipped], examinations[0].labels, settings.eps),
        **origin.head(record_settings(examinations, settings)),
    )


def device_figures(examined: Examination, eps: Sequence[float]) -> Iterator[WhiteboxFigure]:
    """Count each attack of a device, and the worst case of each protocol, at each eps.

    Args:
        examined: The device.
        eps: The audit's radii, ascending.
    """
    device, trial = examined.device.name, examined.trial
    correct = examined.baseline.clean == 0
    for level, radius in enumerate(eps):
        for protocol in get_args(Protocol):
            names = [name.attack for name in examined.attacks if name.protocol == protocol]
            for attack in (WORST, *dict.fromkeys(names)):
                rows = attack_rows(examined.attacks, protocol, attack)
                yield WhiteboxFigure(
                    device=device,
                    protocol=protocol,
                    attack=attack,
                    eps=radius,
                    outcome=count(trial.outcomes[level, rows].max(axis=0), correct),
                    floor=count(trial.floor[level, rows].max(axis=0), correct),
                )
