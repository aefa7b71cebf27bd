"""What a coalition audit found, image by image: the input of counting and of the checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fleet.audit.coalition import risk
from fleet.audit.coalition.result import PICKED, Choice, GreedyStep
from fleet.audit.coalition.risk import Bools, Floats
from fleet.audit.coalition.settings import CoalitionSettings
from fleet.audit.coalition.trials import Tried
from fleet.audit.core.evidence import Outcomes
from fleet.audit.core.result import AuditedDevice, NoiseFloor


@dataclass(frozen=True, eq=False)
class CoalitionEvidence:
    """Everything that is counted and checked.

    Attributes:
        devices: The fleet in order, then the controls.
        clean: Outcomes of the fleet without an attack, (devices, N).
        noise: The fleet's noise floors.
        noise_nonfinite: Noisy images whose output is NaN or infinite, all devices.
        repeatable: Whether two forward passes of the clean images gave the same bits, by name.
        tried: By size.
        greedy: Steps of the greedy choice.
        settings: Of the audit.
    """

    devices: tuple[AuditedDevice, ...]
    clean: Outcomes
    noise: tuple[NoiseFloor, ...]
    noise_nonfinite: int
    repeatable: dict[str, bool]
    tried: tuple[Tried, ...]
    greedy: tuple[GreedyStep, ...]
    settings: CoalitionSettings

    @property
    def fleet(self) -> tuple[str, ...]:
        """Names of the devices that are shipped."""
        return tuple(device.name for device in self.devices if device.role == "device")

    @property
    def controls(self) -> tuple[str, ...]:
        """Names of the control networks."""
        return tuple(device.name for device in self.devices if device.role == "control")

    @property
    def correct(self) -> Bools:
        """Which images each device of the fleet decodes correctly, (devices, N)."""
        return np.asarray(self.clean == 0)

    @property
    def joint(self) -> Bools:
        """Which images all devices of the fleet decode correctly, (N,)."""
        return np.asarray(self.correct.all(axis=0))

    @property
    def attacks(self) -> tuple[str, ...]:
        """Names of the attacks, and ``picked`` if there are several."""
        names = self.settings.attacks
        return (*names, PICKED) if len(names) > 1 else names

    def chosen(self, choice: Choice, size: int | None = None) -> list[Tried]:
        """Trials of one choice, of one size or of all."""
        return [
            tried
            for tried in self.tried
            if choice in tried.coalition.choices
            and (size is None or len(tried.coalition.owned) == size)
        ]

    def curves(self) -> list[tuple[Choice, int]]:
        """Every choice and size that was tried, in order."""
        pairs = {
            (choice, len(tried.coalition.owned)): None
            for tried in self.tried
            for choice in tried.coalition.choices
        }
        order: dict[Choice, int] = {"control": 0, "random": 1, "greedy": 2}
        return sorted(pairs, key=lambda pair: (order[pair[0]], pair[1]))

    def others(self, tried: Tried) -> list[int]:
        """Numbers of the devices that a coalition does not own."""
        return [i for i, name in enumerate(self.fleet) if name not in tried.coalition.owned]

    def views(self) -> Iterator[View]:
        """Every attack at every eps."""
        for attack in self.attacks:
            for level in range(len(self.settings.eps)):
                yield View(self, attack, level)


@dataclass(frozen=True, eq=False)
class View:
    """One attack at one eps.

    Attributes:
        evidence: All of the audit.
        attack: Name of the attack.
        level: Number of the eps.
    """

    evidence: CoalitionEvidence
    attack: str
    level: int

    @property
    def eps(self) -> float:
        """Radius in pixel units."""
        return self.evidence.settings.eps[self.level]

    def outcomes(self, tried: Tried) -> Outcomes:
        """Outcomes of one trial, (devices, N)."""
        return np.asarray(tried.outcomes[self.level, self.evidence.attacks.index(self.attack)])

    def rates(self, tried: Tried) -> Floats:
        """Evade rate of each device, (devices,)."""
        return risk.rates(self.outcomes(tried) > 0, self.evidence.correct)
