"""How thoroughly a coalition audit works, and which coalitions it tries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, get_args

import numpy as np

from fleet.audit.coalition.result import CoalitionChoice
from fleet.audit.core.members import TransferSettings
from fleet.errors import AuditError
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
        for name in ("coalitions", "held_out", "bootstrap"):
            if getattr(self, name) < 1:
                raise AuditError(
                    f"{name} is {getattr(self, name)}", hint=f"{name} must be 1 or more"
                )

    @property
    def eps(self) -> tuple[float, ...]:
        """Radii, ascending, pixel units."""
        return self.effort.eps

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        effort = self.effort.to_dict()
        del effort["targets"]
        return {
            **effort,
            "attacks": list(self.attacks),
            "coalitions": self.coalitions,
            "held_out": self.held_out,
            "bootstrap": self.bootstrap,
        }


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
        choices: How it came about.
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
    fleet: Sequence[str],
    greedy: Sequence[str],
    settings: CoalitionSettings,
    *,
    controls: bool,
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
