"""The coalition audit: what several captured devices give against the rest of the fleet."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from fleet.audit.coalition import counting, risk, trials
from fleet.audit.coalition.checks import run_coalition_checks
from fleet.audit.coalition.result import CoalitionAudit, GreedyStep
from fleet.audit.core.cache import PackedOutcomes
from fleet.audit.core.evidence import Outcomes, count
from fleet.audit.core.members import Member, Sample, check_members
from fleet.audit.core.result import AuditedDevice, NoiseFloor
from fleet.audit.core.scoring import Baseline, describe, score_baseline, score_sets
from fleet.audit.core.sets import ProgressHook, announced
from fleet.errors import AuditError
from fleet.provenance import Origin


@dataclass(frozen=True, eq=False)
class Scouted:
    """What is known of one member before any coalition is tried.

    Attributes:
        device: Its description and clean figures.
        digest: SHA-256 of all that determines its decisions.
        baseline: Without an attack and under noise.
    """

    device: AuditedDevice
    digest: str
    baseline: Baseline


@dataclass(frozen=True, eq=False)
class GreedyReach:
    """What one device's images give on held-out images, for the greedy choice.

    Attributes:
        outcomes: Of its images on each device of the fleet, (E, devices, held-out images).
        clean: Of the clean images on itself, (held-out images,).
    """

    outcomes: PackedOutcomes
    clean: PackedOutcomes


def audit_coalition(
    members: Sequence[Member],
    images: Tensor,
    labels: Tensor,
    settings: trials.CoalitionSettings,
    *,
    held_out: tuple[Tensor, Tensor] | None = None,
    label: str = "in-memory",
    provenance: dict[str, Any] | None = None,
    progress: ProgressHook | None = None,
) -> CoalitionAudit:
    """Audit devices in memory: let attackers own 1 to N - 1 of them.

    Args:
        members: The devices, two or more, and controls (``role="control"``), which are never owned
            and never victims; each is left exactly as it was, training mode included.
        images: uint8 (N, C, H, W), or floats in [0, 1], which are rounded to 8 bits first.
        labels: True classes, integers (N,).
        settings: How thoroughly.
        held_out: Other images and labels, for the greedy choice; None for no greedy choice.
        label: Name of the audit.
        provenance: Where models and images come from, plain JSON values.
        progress: Called with (done, total, text).

    Raises:
        AuditError: There are fewer than two devices, the devices or images do not fit together, a
            device decodes none of the images correctly, or gives NaN.
    """
    sample = Sample.of(images, labels)
    check_members(members, sample)
    held = None if held_out is None else Sample.of(*held_out)
    if held is not None:
        check_members(members, held)
    scouts = [scout(member, sample, settings) for member in announced(members, "scout", progress)]
    fleet = devices(members)
    reaches = [None if held is None else reach_of(m, fleet, held, settings) for m in fleet]
    greedy = choose_greedy([member.name for member in fleet], reaches)
    coalitions = plan(scouts, greedy, settings)
    tried = []
    for coalition in announced(coalitions, "attack with", progress):
        surrogates = surrogates_of(coalition, members)
        found = trials.try_coalition(surrogates, fleet, sample, settings)
        tried.append(trials.Tried(coalition, found.outcomes, found.nonfinite))
    details = {"images": len(sample.images)}
    evidence = gather(scouts, tried, greedy, settings)
    return assemble_coalition(evidence, Origin(label, provenance or {}, details))


def devices(members: Sequence[Member]) -> list[Member]:
    """Members that are shipped: controls left out."""
    return [member for member in members if member.role == "device"]


def surrogates_of(coalition: trials.Coalition, members: Sequence[Member]) -> list[Member]:
    """Members that a coalition attacks: those it owns, or the controls if it owns none."""
    if not coalition.owned:
        return [member for member in members if member.role == "control"]
    return [member for member in members if member.name in coalition.owned]


def scout(member: Member, sample: Sample, settings: trials.CoalitionSettings) -> Scouted:
    """Find a member's clean figures and noise floor.

    Args:
        member: A device or a control.
        sample: The audited images.
        settings: Of the audit.

    Raises:
        AuditError: A device decodes none of the images correctly, or outputs are not finite.
    """
    baseline = score_baseline(member, sample, settings.effort)
    if member.role == "device":
        _require_correct(member.name, baseline.clean, "audited")
    return Scouted(describe(member, baseline.clean), member.digest(), baseline)


def reach_of(
    member: Member, fleet: Iterable[Member], held_out: Sample, settings: trials.CoalitionSettings
) -> GreedyReach:
    """Find where a device's images reach that are made on held-out images.

    Args:
        member: A device.
        fleet: All devices, in order; one at a time is held.
        held_out: Images that are not audited.
        settings: Of the audit; the first attack counts.

    Raises:
        AuditError: It decodes none of the images correctly, or its outputs for them are not finite.
    """
    clean = score_baseline(member, held_out, settings.effort).clean
    _require_correct(member.name, clean, "held-out")
    images = trials.attack_together([member], held_out, settings, settings.attacks[:1])
    found = [score_sets(victim, held_out, images, settings.effort).outcomes for victim in fleet]
    return GreedyReach(np.stack([outcomes[:, 0] for outcomes in found], axis=1), clean)


def choose_greedy(
    names: Sequence[str], reaches: Sequence[GreedyReach | None]
) -> tuple[GreedyStep, ...]:
    """Order devices by what owning them adds on held-out images; empty without these.

    Args:
        names: Of the devices, in order.
        reaches: One for each of them; None without held-out images.
    """
    known = [reach for reach in reaches if reach is not None]
    if not known:
        return ()
    # (E, surrogates, victims, images)
    fallen = np.stack([reach.outcomes for reach in known], axis=1) > 0
    order = risk.greedy_order(fallen, np.stack([reach.clean for reach in known]) == 0)
    return tuple(GreedyStep(names[i], share) for i, share in order)


def plan(
    scouts: Sequence[Scouted], greedy: Sequence[GreedyStep], settings: trials.CoalitionSettings
) -> tuple[trials.Coalition, ...]:
    """List the coalitions to try.

    Raises:
        AuditError: There are fewer than two devices.
    """
    names = [s.device.name for s in scouts if s.device.role == "device"]
    require_fleet(names)
    return trials.choose_coalitions(
        names, [step.device for step in greedy], settings, controls=len(names) < len(scouts)
    )


def require_fleet(names: Sequence[str]) -> None:
    """Refuse a fleet without a device that can be left.

    Raises:
        AuditError: There are fewer than two devices.
    """
    if len(names) < 2:
        raise AuditError(
            f"{len(names)} device(s) to audit for coalitions",
            hint="a coalition leaves somebody to attack: audit two devices or more",
        )


def gather(
    scouts: Sequence[Scouted],
    tried: Sequence[trials.Tried],
    greedy: tuple[GreedyStep, ...],
    settings: trials.CoalitionSettings,
) -> counting.CoalitionEvidence:
    """Put together what was found; the fleet first, then the controls."""
    fleet = [s for s in scouts if s.device.role == "device"]
    controls = [s for s in scouts if s.device.role == "control"]
    return counting.CoalitionEvidence(
        devices=tuple(s.device for s in (*fleet, *controls)),
        clean=np.stack([s.baseline.clean for s in fleet]),
        noise=tuple(
            NoiseFloor(
                s.device.name,
                eps,
                count(s.baseline.noise[level], s.baseline.clean == 0),
                settings.effort.noise_draws,
            )
            for s in fleet
            for level, eps in enumerate(settings.eps)
        ),
        noise_nonfinite=sum(s.baseline.nonfinite for s in fleet),
        repeatable={s.device.name: s.baseline.repeatable for s in scouts},
        tried=tuple(tried),
        greedy=greedy,
        settings=settings,
    )


def assemble_coalition(evidence: counting.CoalitionEvidence, origin: Origin) -> CoalitionAudit:
    """Count, check, and put the result together.

    Args:
        evidence: What was found.
        origin: Where the audit comes from.
    """
    settings = evidence.settings
    curve, risks = counting.count_curves(evidence)
    return CoalitionAudit(
        devices=evidence.devices,
        eps=settings.eps,
        attacks=evidence.attacks,
        trials=counting.count_trials(evidence),
        curve=curve,
        half=counting.count_half_points(evidence, curve),
        risks=risks,
        inputs=counting.count_inputs(evidence),
        effective=counting.count_effective(evidence),
        greedy=evidence.greedy,
        noise=evidence.noise,
        checks=run_coalition_checks(evidence, curve),
        **origin.head(
            {
                **settings.to_dict(),
                "levels": settings.effort.levels(),
                "decode": "strict",
                "scoring": "fp32, on images rounded to 8 bits and re-projected into the eps ball",
                "interval": "95 % percentile bootstrap over images, devices fixed",
            }
        ),
    )


def _require_correct(name: str, clean: Outcomes, which: str) -> None:
    if not (clean == 0).any():
        raise AuditError(
            f"{name} decodes none of the {len(clean)} {which} images correctly",
            hint="a rate needs a correct image: give more images, or look at its training",
        )
