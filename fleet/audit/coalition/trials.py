"""Try coalitions: make their images, and decide them on every device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fleet.attacks import SampleKeys, exact_eps, quantise
from fleet.attacks.joint import ArcAttack, JointAscent, JointAttack
from fleet.audit.coalition.settings import Coalition, CoalitionSettings, JointName
from fleet.audit.core.evidence import Outcomes
from fleet.audit.core.kept import PackedOutcomes
from fleet.audit.core.members import Member, Sample
from fleet.audit.core.scoring import score_sets
from fleet.data import to_unit
from fleet.models import Classifier

COMMON = "coalition"
"""Names the random starts: the same for every coalition, so that their differences are not luck."""


@dataclass(frozen=True, eq=False)
class Fallen:
    """What one coalition's images did.

    Attributes:
        outcomes: On each device of the fleet, (E, A, devices, N), by attack; if there are several,
            one more follows: for each image, the attack that fools most of the attacked networks.
        nonfinite: Attacked images whose output is NaN or infinite, all devices.
    """

    outcomes: PackedOutcomes
    nonfinite: int


@dataclass(frozen=True, eq=False)
class Tried:
    """A coalition, and what its images did.

    Attributes:
        coalition: Who made them.
        outcomes: As in :class:`Fallen`.
        nonfinite: As in :class:`Fallen`.
    """

    coalition: Coalition
    outcomes: Outcomes
    nonfinite: int


def joint_attack(name: JointName, eps: float, settings: CoalitionSettings) -> JointAttack:
    """Make one attack of an audit, at the largest radius on the 8-bit grid within ``eps``."""
    effort = settings.effort
    radius = exact_eps(eps, effort.norm)
    common: dict[str, Any] = {
        "steps": effort.steps,
        "restarts": effort.restarts,
        "precision": effort.precision,
        "norm": effort.norm,
    }
    return ArcAttack(radius, **common) if name == "arc" else JointAscent(radius, name, **common)


def try_coalition(
    surrogates: Sequence[Member],
    victims: Iterable[Member],
    sample: Sample,
    settings: CoalitionSettings,
) -> Fallen:
    """Attack the surrogates together and decide the images on every victim.

    Args:
        surrogates: The owned devices, or the controls; left exactly as they were.
        victims: The fleet, in order; one at a time is held.
        sample: The clean images.
        settings: Of the audit.
    """
    images = attack_together(surrogates, sample, settings, settings.attacks)
    trials = [score_sets(victim, sample, images, settings.effort) for victim in victims]
    outcomes = np.stack([trial.outcomes for trial in trials], axis=2)
    if len(settings.attacks) > 1:
        best = _pick(surrogates, sample, images, settings)
        picked = np.take_along_axis(outcomes, best[:, np.newaxis, np.newaxis], axis=1)
        outcomes = np.concatenate([outcomes, picked], axis=1)
    return Fallen(outcomes, sum(trial.nonfinite for trial in trials))


def attack_together(
    surrogates: Sequence[Member],
    sample: Sample,
    settings: CoalitionSettings,
    attacks: Sequence[JointName],
) -> Tensor:
    """Make 8-bit images, uint8 (E, A, N, C, H, W), each within eps of its original."""
    classifiers = [member.classifier for member in surrogates]
    batches = torch.arange(len(sample.images)).split(settings.effort.batch_size)
    levels = []
    for eps in settings.eps:
        parts = [
            _attack_batch(classifiers, sample.part(rows), eps, settings, attacks)
            for rows in batches
        ]
        levels.append(torch.cat(parts, dim=1))
    return torch.stack(levels)


def _attack_batch(
    classifiers: Sequence[Classifier],
    batch: Sample,
    eps: float,
    settings: CoalitionSettings,
    attacks: Sequence[JointName],
) -> Tensor:
    """8-bit images of every attack on one batch, uint8 (A, B, C, H, W)."""
    device = classifiers[0].mean.device
    clean, labels = batch.images.to(device), batch.labels.to(device)
    made = []
    for name in attacks:
        # For a single network all weightings are one attack. With starts of its own each adds as
        # many tries as it adds for a coalition, so that sizes compare.
        stream = COMMON if len(classifiers) > 1 else f"{COMMON} {name}"
        keys = SampleKeys(settings.effort.seed, stream, batch.indices.to(device))
        attack = joint_attack(name, eps, settings)
        made.append(attack(classifiers, to_unit(clean), labels, keys))
    return quantise(torch.stack(made), clean, eps, settings.effort.norm).cpu()


def _pick(
    surrogates: Sequence[Member], sample: Sample, images: Tensor, settings: CoalitionSettings
) -> NDArray[np.intp]:
    """Number of the attack that the attacker sends, (E, N): they know the surrogates alone."""
    trials = [score_sets(member, sample, images, settings.effort) for member in surrogates]
    fooled = np.stack([trial.outcomes > 0 for trial in trials]).sum(axis=0)
    return np.asarray(fooled.argmax(axis=1))
