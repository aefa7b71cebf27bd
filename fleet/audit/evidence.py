"""What attacks and scoring found, example by example: the input of counting and of the checks.

Nothing in this module imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleet.audit.result import AuditedDevice, Matrix, NoiseFloor, Protocol

Outcomes = NDArray[np.int8]
"""One of ``fleet.attacks.CORRECT``, ``REJECT`` and ``FLIP`` (0, 1, 2) for each example."""


@dataclass(frozen=True)
class AttackName:
    """One set of adversarial images.

    Attributes:
        protocol: ``paper`` or ``adaptive``.
        attack: For example ``pgd`` or ``up``.
    """

    protocol: Protocol
    attack: str


@dataclass(frozen=True)
class GradientHealth:
    """Gradients of one device at the clean images that it decodes correctly.

    Attributes:
        device: Device name.
        n: Images looked at.
        loss_zero: How many have an exactly zero gradient of the paper protocol's loss.
        adaptive_zero: How many have one of the adaptive objective, in all its variants.
        output_zero: How many have one of the scalar (or of the true class's logit).
        nonfinite: How many have a NaN or an infinity in any of these gradients.
    """

    device: str
    n: int
    loss_zero: int
    adaptive_zero: int
    output_zero: int
    nonfinite: int


@dataclass(frozen=True, eq=False)
class VictimScores:
    """How one device decides the clean, the noisy and all adversarial images.

    Attributes:
        victim: Device name.
        clean: Outcomes without an attack, (N,).
        noise: Worst of the noise draws at each eps, (E, N).
        attacked: Outcomes of each surrogate's sets, (E, A, N) by surrogate name.
        nonfinite: Attacked or noisy images whose output is NaN or infinite.
        repeatable: Whether two forward passes of the clean images gave the same bits.
    """

    victim: str
    clean: Outcomes
    noise: Outcomes
    attacked: dict[str, Outcomes]
    nonfinite: int
    repeatable: bool


@dataclass(frozen=True)
class Reach:
    """Farthest pixel of a surrogate's saved images at one eps.

    Attributes:
        surrogate: Device name.
        eps: As asked for.
        allowed: Whole 8-bit levels inside eps.
        largest: Largest difference from the clean image, in 8-bit levels.
    """

    surrogate: str
    eps: float
    allowed: int
    largest: int


@dataclass(frozen=True)
class Effort:
    """What more work would have found: the adaptive attack on a device itself, twice as long.

    Attributes:
        device: Device name.
        eps: As asked for.
        n: Correctly decoded images among the first of the sample, which were attacked again.
        evade: How many of them the audit's own settings evade.
        more: How many others fall to twice the steps and twice the restarts.
    """

    device: str
    eps: float
    n: int
    evade: int
    more: int


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything that the checks look at.

    Attributes:
        devices: In matrix order.
        eps: Ascending.
        attacks: Names of each surrogate's sets, in the order of ``VictimScores.attacked``.
        scores: One for each device, in matrix order.
        matrices: Counted from ``scores``.
        noise: Counted from ``scores``.
        health: One for each device, in matrix order.
        reaches: One for each device and eps.
        efforts: One for each device and eps.
    """

    devices: tuple[AuditedDevice, ...]
    eps: tuple[float, ...]
    attacks: dict[str, tuple[AttackName, ...]]
    scores: tuple[VictimScores, ...]
    matrices: tuple[Matrix, ...]
    noise: tuple[NoiseFloor, ...]
    health: tuple[GradientHealth, ...]
    reaches: tuple[Reach, ...]
    efforts: tuple[Effort, ...]
