"""The trace audit: given adversarial images and their originals, on which device were they made?

Figures hold for attackers who do not know that they are traced, and for the one evasive attacker
that is tried (:func:`fleet.audit.trace.evidence.hidden`). They say nothing about one who
optimises against the scores, nor about several devices used together.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any, get_args

from torch import Tensor

from fleet.audit.core.members import Member, Sample, check_members
from fleet.audit.core.scoring import describe, outcomes_on
from fleet.audit.core.sets import AdversarialSets, ProgressHook, announced, attack_surrogate
from fleet.audit.trace import result
from fleet.audit.trace.calibration import Floats, calibrate, grouped, standardise
from fleet.audit.trace.checks import trace_checks
from fleet.audit.trace.evidence import SourceEvidence, SourceRole, TraceSettings, score_source
from fleet.errors import AuditError
from fleet.provenance import Origin


def audit_trace(
    members: Sequence[Member],
    images: Tensor,
    labels: Tensor,
    settings: TraceSettings,
    *,
    calibration: tuple[Tensor, Tensor],
    known: Sequence[Member] = (),
    new: Sequence[Member] = (),
    label: str = "in-memory",
    provenance: dict[str, Any] | None = None,
    progress: ProgressHook | None = None,
) -> result.TraceAudit:
    """Audit devices in memory: make images on each one, and trace them.

    Args:
        members: The suspects, two or more, and controls, which are outsiders; each is left exactly
            as it was.
        images: Originals of the traced images, uint8 (N, C, H, W) or floats in [0, 1].
        labels: True classes, integers (N,).
        settings: How.
        calibration: Other images and their labels, on which means and thresholds are chosen.
        known: An attacker's own networks that thresholds may be chosen on.
        new: Others that are only judged.
        label: Name of the audit.
        provenance: Where models and images come from, plain JSON values.
        progress: Called with (done, total, text).

    Raises:
        AuditError: Devices and images do not fit together, or there are fewer than two suspects.
    """
    sample, other = Sample.of(images, labels), Sample.of(*calibration)
    sources: list[tuple[Member, SourceRole]] = [(member, member.role) for member in members]
    sources += [(member, "known") for member in known] + [(member, "new") for member in new]
    check_members([member for member, _ in sources], sample)
    check_members([member for member, _ in sources], other)
    suspects = [member for member in members if member.role == "device"]
    found = []
    every = announced([member for member, _ in sources], "trace", progress)
    for member, (_, role) in zip(every, sources, strict=True):
        sets = [
            attack_surrogate(member, part, settings.attack()) if wanted else None
            for part, wanted in zip((other, sample), wanted_sets(role), strict=True)
        ]
        pair = (sets[0], sets[1])
        found.append(evidence_of(member, role, suspects, sample, sets=pair, settings=settings))
    return assemble_trace(
        found,
        settings,
        Origin(
            label,
            provenance or {},
            {"images": len(sample.images), "calibration_images": len(other.images)},
        ),
        shared=shared_images(sample, other),
    )


def wanted_sets(role: SourceRole) -> tuple[bool, bool]:
    """Whether a source is needed for calibration, and for evaluation."""
    return role in {"device", "known"}, role != "known"


def evidence_of(
    source: Member,
    role: SourceRole,
    suspects: Sequence[Member],
    sample: Sample,
    *,
    sets: tuple[AdversarialSets | None, AdversarialSets | None],
    settings: TraceSettings,
) -> SourceEvidence:
    """Score one source's images.

    Args:
        source: Left exactly as it was.
        role: What it is.
        suspects: In device order.
        sample: The evaluation images.
        sets: Images of calibration and of evaluation originals, where they are wanted.
        settings: Of the audit.
    """
    learn, judge = sets
    attackers: tuple[result.TraceAttacker, ...] = ("naive",)
    if role == "device":
        attackers = get_args(result.TraceAttacker)
    clean = outcomes_on(source, sample.images[None], sample.labels, settings.batch_size)[0]
    return SourceEvidence(
        name=source.name,
        role=role,
        device=describe(source, clean),
        calibration=() if learn is None else score_source(source, suspects, learn, settings),
        evaluation=()
        if judge is None
        else score_source(source, suspects, judge, settings, attackers=attackers),
    )


def assemble_trace(
    found: Sequence[SourceEvidence], settings: TraceSettings, origin: Origin, *, shared: int
) -> result.TraceAudit:
    """Calibrate, count, check, and put the result together.

    Args:
        found: One for each source, devices in device order.
        settings: Of the audit.
        origin: Where the audit comes from.
        shared: Images that calibration and evaluation share.

    Raises:
        AuditError: There are fewer than two suspects.
    """
    devices = [source for source in found if source.role == "device"]
    if len(devices) < 2:
        raise AuditError(
            f"{len(devices)} device to suspect", hint="tracing needs two devices or more"
        )
    calibrations = tuple(_calibration(found, level, settings) for level in range(len(settings.eps)))
    rates = tuple(
        _rate(found, learnt, attacker, row, m)
        for learnt in calibrations
        for attacker in get_args(result.TraceAttacker)
        for row, m in product(range(len(result.SCORES)), settings.evidence)
    )
    prices = tuple(
        _price(devices, eps, attacker)
        for eps in settings.eps
        for attacker in get_args(result.TraceAttacker)
    )
    return result.TraceAudit(
        devices=tuple(source.device for source in devices),
        eps=settings.eps,
        rates=rates,
        prices=prices,
        calibrations=calibrations,
        checks=trace_checks(rates, settings.false_positives, shared),
        **origin.head(
            {
                **settings.to_dict(),
                "outsiders": {
                    source.name: source.role for source in found if source.role != "device"
                },
            }
        ),
    )


def shared_images(sample: Sample, other: Sample) -> int:
    """Count the images of one sample whose pixels are also in the other."""
    seen = {image.numpy().tobytes() for image in other.images.cpu()}
    return sum(image.numpy().tobytes() in seen for image in sample.images.cpu())


def _calibration(
    found: Sequence[SourceEvidence], level: int, settings: TraceSettings
) -> result.Calibration:
    devices = [source for source in found if source.role == "device"]
    count = len(devices)
    return calibrate(
        settings.eps[level],
        [source.calibration[level].array(count) for source in devices],
        [s.calibration[level].array(count) for s in found if s.role == "known"],
        evidence=settings.evidence,
        false_positives=settings.false_positives,
        seed=settings.seed,
    )


def _rate(
    found: Sequence[SourceEvidence],
    learnt: result.Calibration,
    attacker: result.TraceAttacker,
    row: int,
    evidence: int,
) -> result.TraceRate:
    """Count one score."""
    devices = [source for source in found if source.role == "device"]
    threshold = learnt.threshold(result.SCORES[row], evidence)

    def judged(source: SourceEvidence, by: result.TraceAttacker) -> Floats:
        images = next(t for t in source.evaluation if (t.eps, t.attacker) == (learnt.eps, by))
        return grouped(standardise(learnt, images.array(len(devices)))[row], evidence)

    confusion = []
    for source in devices:
        scores = judged(source, attacker)
        named, above = scores.argmax(axis=1), scores.max(axis=1) > threshold
        confusion.append(
            result.Confusion(
                source.name,
                tuple(int((named == d).sum()) for d in range(len(devices))),
                tuple(int((above & (named == d)).sum()) for d in range(len(devices))),
            )
        )
    outsiders = []
    for source in found:
        if source.role in {"control", "new"}:
            best = judged(source, "naive").max(axis=1)
            kind: result.OutsiderKind = "control" if source.role == "control" else "surrogate"
            outsiders.append(
                result.Outsider(source.name, kind, len(best), int((best > threshold).sum()))
            )
    return result.TraceRate(
        learnt.eps,
        attacker,
        result.SCORES[row],
        evidence,
        threshold,
        tuple(confusion),
        tuple(outsiders),
    )


def _price(
    devices: Sequence[SourceEvidence], eps: float, attacker: result.TraceAttacker
) -> result.EvasionPrice:
    prices = [
        traced.price
        for source in devices
        for traced in source.evaluation
        if (traced.eps, traced.attacker) == (eps, attacker)
    ]
    return result.EvasionPrice(
        eps,
        attacker,
        n=sum(price.n for price in prices),
        evade=sum(price.evade for price in prices),
        transfers=sum(price.transfers for price in prices),
        pairs=sum(price.pairs for price in prices),
    )
