"""Examine one device with its weights known, and gather the evidence of several."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from fleet.attacks import radius
from fleet.attacks.pixels import squared_radius
from fleet.audit.core import evidence, members
from fleet.audit.core.cache import PackedClasses
from fleet.audit.core.exhibits import Exhibit, Tried
from fleet.audit.core.pictures import exhibit
from fleet.audit.core.probes import probe_device
from fleet.audit.core.result import AuditedDevice
from fleet.audit.core.scoring import Baseline, Trial, describe, score_baseline, score_sets
from fleet.audit.core.sets import AdversarialSets

_ROWS = 500
"""Images measured at once; changes the memory only."""


@dataclass(frozen=True, eq=False)
class Examination:
    """Everything found about one device with its own weights known.

    Attributes:
        device: Its description and clean figures.
        attacks: Names of its sets.
        attack_values: Its attacks with their hyper-parameters, at the first eps.
        health: Its gradients at the clean images.
        reaches: How far its images are from the clean ones, one for each eps.
        probes: What cheap extra attacks found.
        baseline: Itself without an attack and under noise.
        trial: Its images on itself.
        sets_sha256: Digest of its images.
        labels: True classes, (N,).
        exhibits: A few of its images beside their originals; none of a control.
    """

    device: AuditedDevice
    attacks: tuple[evidence.AttackName, ...]
    attack_values: dict[str, str]
    health: evidence.GradientHealth
    reaches: tuple[evidence.Reach, ...]
    probes: evidence.Probes
    baseline: Baseline
    trial: Trial
    sets_sha256: str
    labels: PackedClasses
    exhibits: tuple[Exhibit, ...]

    @property
    def own(self) -> Tried:
        """Its images on itself."""
        return self.tried(self.trial)

    def tried(self, trial: Trial) -> Tried:
        """Somebody's images on this device."""
        return Tried(self.baseline.clean == 0, trial.named)


def examine(
    member: members.Member,
    sets: AdversarialSets,
    sample: members.Sample,
    settings: members.TransferSettings,
    *,
    known: Sequence[evidence.Retry] = (),
) -> Examination:
    """Try a device's own images on it, and look closer where they leave it standing.

    Args:
        member: The device; left exactly as it was.
        sets: The images made on it.
        sample: The clean images.
        settings: Of the audit.
        known: Second looks at some of these images that were taken before.

    Raises:
        AuditError: Its outputs for the clean images are not finite.
    """
    baseline = score_baseline(member, sample, settings)
    trial = score_sets(member, sample, sets.images, settings, sets.sent)
    own = Tried(baseline.clean == 0, trial.named)
    return Examination(
        device=describe(member, baseline.clean),
        attacks=sets.attacks,
        attack_values=sets.attack_values,
        health=sets.health,
        reaches=measure_reaches(sets),
        probes=probe_device(
            member,
            sample,
            settings,
            sets,
            clean=baseline.clean,
            attacked=trial.outcomes,
            known=known,
        ),
        baseline=baseline,
        trial=trial,
        sets_sha256=sets.digest(),
        labels=sample.labels.to(torch.int16).numpy(),
        exhibits=exhibit(sets, own) if member.role == "device" else (),
    )


def measure_reaches(sets: AdversarialSets) -> tuple[evidence.Reach, ...]:
    """Farthest stored image at each eps, in whole numbers, so that nothing is rounded.

    ``linf``: in 8-bit levels. ``l2``: sum of the squares of 8-bit levels.
    """
    reaches = []
    for eps, level in zip(sets.eps, sets.images, strict=True):
        allowed = radius(eps) if sets.norm == "linf" else squared_radius(eps)
        far = 0
        for rows in torch.arange(len(sets.sample.images)).split(_ROWS):
            clean = sets.sample.images[rows].to(torch.int32)
            moved = (level[:, rows].to(torch.int32) - clean).flatten(2)
            size = moved.abs() if sets.norm == "linf" else moved.square().sum(2)
            far = max(far, int(size.amax()))
        reaches.append(evidence.Reach(sets.surrogate, eps, allowed, far))
    return tuple(reaches)


def gather_evidence(
    examinations: Sequence[Examination],
    settings: members.TransferSettings,
    trials: dict[str, dict[str, Trial]],
) -> evidence.Evidence:
    """Count, and put everything together that the checks look at.

    Args:
        examinations: One for each device, in matrix order.
        settings: Of the audit.
        trials: Images of other surrogates on each victim, by victim and surrogate; empty in a
            white-box audit, whose matrices are diagonals.
    """
    scores = tuple(_column(examined, trials) for examined in examinations)
    attacks = {examined.device.name: examined.attacks for examined in examinations}
    return evidence.Evidence(
        devices=tuple(examined.device for examined in examinations),
        eps=settings.eps,
        attacks=attacks,
        scores=scores,
        matrices=evidence.count_matrices(scores, attacks, settings.eps),
        noise=evidence.count_noise(scores, settings.eps, settings.noise_draws),
        health=tuple(examined.health for examined in examinations),
        reaches=tuple(reach for examined in examinations for reach in examined.reaches),
        probes=tuple(examined.probes for examined in examinations),
        norm=settings.norm,
        brief=settings.brief,
    )


def _column(victim: Examination, trials: dict[str, dict[str, Trial]]) -> evidence.VictimScores:
    name, baseline = victim.device.name, victim.baseline
    tried = {name: victim.trial, **trials.get(name, {})}
    return evidence.VictimScores(
        victim=name,
        clean=baseline.clean,
        noise=baseline.noise,
        attacked={surrogate: trial.outcomes for surrogate, trial in tried.items()},
        nonfinite=baseline.nonfinite + sum(trial.nonfinite for trial in tried.values()),
        repeatable=baseline.repeatable,
    )


def record_settings(
    examinations: Sequence[Examination], settings: members.TransferSettings
) -> dict[str, Any]:
    """Attacks, images and rules of an audit, for its result; plain JSON values."""
    values = (item for e in examinations for item in e.attack_values.items())
    return {
        **settings.to_dict(),
        "images": examinations[0].device.images,
        "levels": settings.levels(),
        "attack_values": dict(values),
        "decode": "strict",
        "scoring": "fp32, on images rounded to 8 bits and re-projected into the eps ball",
    }
