"""Which coalitions are tried, how thoroughly, and what becomes of their images on every device."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from fleet.attacks import SampleKeys, exact_eps, quantise
from fleet.attacks.joint import ArcAttack, JointAscent, JointAttack
from fleet.audit.coalition.result import CoalitionChoice
from fleet.audit.core.cache import PackedOutcomes
from fleet.audit.core.evidence import Outcomes
from fleet.audit.core.members import Member, Sample, TransferSettings, at_least_one
from fleet.audit.core.scoring import score_sets
from fleet.data import to_unit
from fleet.errors import AuditError
from fleet.models import Classifier
from fleet.seeding import derive_seed

JointName = Literal["uniform", "reweighed", "min-max", "arc"]
JOINT_NAMES: tuple[JointName, ...] = get_args(JointName)


@dataclass(frozen=True)
class CoalitionSettings:
    """How thoroughly to attack, and how many coalitions to try.

    Attributes:
        effort: eps, steps, restarts, batch size, seed, noise and precision; its ``targets`` have
            no meaning here. ``batch_size`` counts images, one direction each.
        attacks: How the owned devices are weighed against each other; several add
            ``picked``.
        coalitions: Random coalitions of each size; all of a size if there are no more.
        held_out: Images on which the greedy choice is made.
        bootstrap: Bootstrap samples of each interval.

    Raises:
        AuditError: A value is out of range, or an attack has no such name or comes twice.
    """

    effort: TransferSettings
    attacks: tuple[JointName, ...] = ("uniform", "min-max")
    coalitions: int = 6
    held_out: int = 100
    bootstrap: int = 1000

    def __post_init__(self) -> None:
        unknown = [name for name in self.attacks if name not in JOINT_NAMES]
        if unknown or not self.attacks or len(set(self.attacks)) < len(self.attacks):
            raise AuditError(
                f"attacks are {', '.join(self.attacks) or 'none'}",
                hint=f"name one or more of {', '.join(JOINT_NAMES)}, each once",
            )
        at_least_one(self, "coalitions", "held_out", "bootstrap")

    @property
    def eps(self) -> tuple[float, ...]:
        """Radii, ascending, pixel units."""
        return self.effort.eps

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        own = {**vars(self), "attacks": list(self.attacks)}
        values = {**self.effort.to_dict(), **own}
        return {name: values[name] for name in values if name not in {"targets", "effort"}}


def coalition_settings(
    eps: tuple[float, ...], seed: int = 0, *, steps: int = 10, restarts: int = 2, **more: Any
) -> CoalitionSettings:
    """Make settings of their usual effort, which many coalitions share.

    Args:
        eps: Linf radii in pixel units, (0, 1].
        seed: Seed of coalitions, starts and noise.
        steps: Steps of each joint attack.
        restarts: Runs of each joint attack.
        more: Fields of :class:`CoalitionSettings`.

    Raises:
        AuditError: A value is out of range.
    """
    effort = TransferSettings(eps=eps, steps=steps, restarts=restarts, seed=seed)
    return CoalitionSettings(effort, **more)


@dataclass(frozen=True)
class Coalition:
    """Devices that the attacker owns.

    Attributes:
        owned: In fleet order; empty for the attacker who has the controls only.
        choices: How it was chosen: at random, greedily, or as the control alone.
    """

    owned: tuple[str, ...]
    choices: tuple[CoalitionChoice, ...]

    @property
    def name(self) -> str:
        """For people: its devices, or how many they are."""
        if not self.owned:
            return "control only"
        return "+".join(self.owned) if len(self.owned) <= 4 else f"{len(self.owned)} devices"


def choose_coalitions(
    fleet: Sequence[str], greedy: Sequence[str], settings: CoalitionSettings, *, controls: bool
) -> tuple[Coalition, ...]:
    """List the coalitions to try: every single device, random ones of each size, greedy ones.

    Args:
        fleet: Device names, two or more.
        greedy: Devices in the order of the greedy choice; empty for none.
        settings: How many; its seed draws them.
        controls: Whether there is a control, for an attacker without any device.
    """
    reasons: dict[tuple[str, ...], list[CoalitionChoice]] = {}
    for size in range(1, len(fleet)):
        for chosen in _draw(len(fleet), size, settings):
            reasons.setdefault(tuple(fleet[i] for i in chosen), []).append("random")
    for size in range(1, len(greedy) + 1):
        owned = tuple(name for name in fleet if name in greedy[:size])
        reasons.setdefault(owned, []).append("greedy")
    listed = [Coalition(owned, tuple(why)) for owned, why in reasons.items()]
    listed.sort(key=lambda coalition: len(coalition.owned))
    return (*((Coalition((), ("control",)),) if controls else ()), *listed)


def exhaustive(fleet: int, size: int, draws: int) -> bool:
    """Whether all coalitions of a size are tried; single devices always are."""
    return size <= 1 or math.comb(fleet, size) <= draws


def _draw(fleet: int, size: int, settings: CoalitionSettings) -> list[tuple[int, ...]]:
    if exhaustive(fleet, size, settings.coalitions):
        return list(combinations(range(fleet), size))
    generator = np.random.default_rng(derive_seed(settings.effort.seed, "coalitions", size))
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < settings.coalitions:
        drawn[tuple(sorted(generator.permutation(fleet)[:size].tolist()))] = None
    return list(drawn)


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
) -> torch.Tensor:
    """Make 8-bit images, uint8 (E, A, N, C, H, W), each within eps of its original."""
    classifiers = [member.classifier for member in surrogates]
    parts = [sample.part(rows) for rows in sample.batches(settings.effort.batch_size)]
    levels = [
        torch.cat([_attack_batch(classifiers, part, eps, settings, attacks) for part in parts], 1)
        for eps in settings.eps
    ]
    return torch.stack(levels)


def _attack_batch(
    classifiers: Sequence[Classifier],
    batch: Sample,
    eps: float,
    settings: CoalitionSettings,
    attacks: Sequence[JointName],
) -> torch.Tensor:
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
    surrogates: Sequence[Member], sample: Sample, images: torch.Tensor, settings: CoalitionSettings
) -> NDArray[np.intp]:
    """Number of the attack that the attacker sends, (E, N): they know the surrogates alone."""
    trials = [score_sets(member, sample, images, settings.effort) for member in surrogates]
    fooled = np.stack([trial.outcomes > 0 for trial in trials]).sum(axis=0)
    return np.asarray(fooled.argmax(axis=1))
