"""The white-box audit: each device against whoever has its weights (the paper's Tables 1 and 2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, get_args

from torch import Tensor

from fleet.audit.core import jobs
from fleet.audit.core.checks import run_checks
from fleet.audit.core.evidence import WORST, attack_rows, count
from fleet.audit.core.examination import Examination, examine, gather_evidence, record_settings
from fleet.audit.core.kept import remember
from fleet.audit.core.members import Member, Sample, TransferSettings, check_members
from fleet.audit.core.result import Origin, Protocol
from fleet.audit.core.sets import ProgressHook, attack_surrogate
from fleet.audit.whitebox.nearness import Nearness, attack_key, measure_nearness
from fleet.audit.whitebox.result import WhiteboxAudit, WhiteboxFigure
from fleet.execution import LOCAL, Executor, ProgressReporter
from fleet.rundir import RunDirectory


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
    for done, member in enumerate(members):
        if progress is not None:
            progress(done, len(members), f"attack {member.name}")
        sets = attack_surrogate(member, sample, settings)
        examined = examine(member, sets, sample, settings)
        examinations.append(examined)
        nearness.append(measure_nearness(member, sample, examined.baseline.clean, settings))
    if progress is not None:
        progress(len(members), len(members), "done")
    return assemble_whitebox(examinations, nearness, settings, Origin(label, provenance or {}, {}))


def audit_run_whitebox(
    run: RunDirectory,
    settings: TransferSettings,
    *,
    images: int,
    executor: Executor = LOCAL,
    split: jobs.SplitName = "test",
) -> WhiteboxAudit:
    """Audit every device of a run, and its controls, with its own weights known.

    Files are kept under ``audits/whitebox`` as those of the transfer audit are under its own
    directory (:mod:`fleet.audit.core.jobs`), and ``nearness/NAME.json`` beside them.

    Args:
        run: A finished training.
        settings: How thoroughly to attack.
        images: Images to audit; all of the split if it has fewer.
        executor: Where the jobs ``attack NAME`` run.
        split: Which images.

    Raises:
        AuditError: Fewer than one image is asked for, or a device cannot be audited.
        CheckpointError: A device is not finished, or a file of the run is damaged.
        DataError: The images cannot be read.
    """
    with jobs.auditing(
        run, settings, images=images, split=split, kind="whitebox", executor=executor
    ) as audit:
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
    """Leave one unit of work for what follows."""

    def report(done: int, total: int, text: str = "") -> None:
        progress(done, total + 1, text)

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
