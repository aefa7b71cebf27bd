"""What the audit saw, image by image: the input of the checks, and its counting.

A wrong class (2) beats None (1) beats correct (0), so the worst case of an example over several
attacks is the maximum of its outcomes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fleet.audit.core import result
from fleet.vocabulary import Norm

WORST = "worst"
"""Name of the per-example worst case over a protocol's attacks."""

Outcomes = NDArray[np.int8]
"""One of ``fleet.attacks.CORRECT``, ``REJECT`` and ``FLIP`` (0, 1, 2) for each example."""


@dataclass(frozen=True)
class AttackName:
    """One set of adversarial images.

    Attributes:
        protocol: ``paper`` or ``adaptive``.
        attack: For example ``pgd`` or ``up``.
    """

    protocol: result.Protocol
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


Probe = Literal["flat", "uniform", "square", "iterates", "steps", "restarts"]
"""What was looked for in the images that a protocol did not evade.

``flat``: the protocol's objective kept one value in the whole attack (M2). ``uniform``: uniform
noise evades (M6). ``square``: a gradient-free attack evades (M7). ``iterates``: some iterate of the
attack was adversarial, rounded to 8 bits, though the returned images are not (M10). ``steps``,
``restarts``: twice as many evade (M9).
"""


@dataclass(frozen=True)
class Retry:
    """A second look at images that a protocol leaves standing on the device they were made on.

    Only those can change a rate, so only they are tried again: the first of the sample.

    Attributes:
        device: Device name.
        protocol: Whose images stand.
        eps: As asked for.
        probe: What was looked for.
        n: Images that the device decodes correctly.
        survivors: How many of them the protocol does not evade.
        examined: How many of those were tried again.
        found: In how many of these the probe found what it looked for.
    """

    device: str
    protocol: result.Protocol
    eps: float
    probe: Probe
    n: int
    survivors: int
    examined: int
    found: int

    @property
    def share(self) -> float:
        """Estimated share of the correct images in which it would be found; 0 if none stand."""
        if not self.examined:
            return 0.0
        return self.found / self.examined * self.survivors / self.n

    @property
    def bounds(self) -> tuple[float, float]:
        """95 % bounds of :attr:`share`; exact where every survivor was examined."""
        if self.examined == self.survivors:
            return self.share, self.share
        low, high = result.wilson_interval(self.found, self.examined)
        scale = self.survivors / self.n
        return max(low * scale, self.found / self.n), high * scale

    @property
    def one(self) -> float:
        """What one examined image is worth, as a share of the correct images."""
        return self.survivors / self.n / self.examined if self.examined else 0.0


@dataclass(frozen=True)
class Ordering:
    """Whether a protocol's objective is larger where its attacks succeed (M2).

    Attributes:
        device: Device name.
        protocol: Whose objective.
        eps: As asked for.
        pairs: Pairs of images of one original, one that evades and one that does not.
        ordered: How many of them have the larger objective where the image evades; ties half.
    """

    device: str
    protocol: result.Protocol
    eps: float
    pairs: int
    ordered: float


@dataclass(frozen=True)
class Decoding:
    """One device under both decode rules of Eq. 2 (M18).

    Attributes:
        device: Device name.
        eps: As asked for.
        images: Clean images.
        strict_correct: How many of them decode correctly if gaps are None.
        floor_correct: The same if a gap belongs to the class below it.
        strict: Adaptive worst case over the first images, of those then correct.
        floor: The same attacked images, decoded by floor.
    """

    device: str
    eps: float
    images: int
    strict_correct: int
    floor_correct: int
    strict: result.Outcome
    floor: result.Outcome


@dataclass(frozen=True)
class Binarization:
    """Attacks on heads for which an adversarial image exists by construction (check BT).

    Attributes:
        device: Whose features the heads read.
        eps: As asked for.
        n: Images for which such a head could be built.
        unbuilt: Images for which none could.
        paper: How many of the n heads the paper's protocol evades.
        adaptive: How many the adaptive protocol evades.
        random: How many uniform and sign noise evade, with two tries for each gradient step of the
            adaptive protocol.
    """

    device: str
    eps: float
    n: int
    unbuilt: int
    paper: int
    adaptive: int
    random: int


@dataclass(frozen=True)
class Probes:
    """What the cheap extra attacks on one device found (``fleet.audit.core.probes``)."""

    retries: tuple[Retry, ...] = ()
    orderings: tuple[Ordering, ...] = ()
    decodings: tuple[Decoding, ...] = ()
    binarization: Binarization | None = None


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
        probes: One for each device, in matrix order; none if they were not run.
        norm: How eps is measured.
        brief: Whether few of the standing images were tried again.
    """

    devices: tuple[result.AuditedDevice, ...]
    eps: tuple[float, ...]
    attacks: dict[str, tuple[AttackName, ...]]
    scores: tuple[VictimScores, ...]
    matrices: tuple[result.Matrix, ...]
    noise: tuple[result.NoiseFloor, ...]
    health: tuple[GradientHealth, ...]
    reaches: tuple[Reach, ...]
    probes: tuple[Probes, ...] = ()
    norm: Norm = "linf"
    brief: bool = False

    def worst_matrix(self, protocol: result.Protocol, eps: float) -> result.Matrix:
        """Per-example worst case of a protocol at one eps."""
        return result.pick(self.matrices, protocol=protocol, attack=WORST, eps=eps)

    def retries(self, probe: Probe, protocol: result.Protocol) -> list[Retry]:
        """Second looks of one kind at what one protocol left standing, of devices with images."""
        return [
            retry
            for probes in self.probes
            for retry in probes.retries
            if (retry.probe, retry.protocol) == (probe, protocol) and retry.n
        ]


_REJECT, _FLIP = 1, 2


def count(outcomes: Outcomes, counted: NDArray[np.bool_]) -> result.Outcome:
    """Count flips and rejects among the examples that are ``counted``; both (N,)."""
    chosen = outcomes[counted]
    return result.Outcome(len(chosen), int((chosen == _FLIP).sum()), int((chosen == _REJECT).sum()))


def attack_rows(
    names: Sequence[AttackName], protocol: result.Protocol = "adaptive", attack: str = WORST
) -> list[int]:
    """Numbers of the sets that make up one attack, or the worst case; empty if there is none.

    Args:
        names: A surrogate's sets.
        protocol: ``paper`` or ``adaptive``.
        attack: A name, or ``worst``.
    """
    return [
        row
        for row, name in enumerate(names)
        if name.protocol == protocol and attack in {WORST, name.attack}
    ]


def worst_case(
    outcomes: Outcomes, names: Sequence[AttackName], protocol: result.Protocol = "adaptive"
) -> Outcomes:
    """Worst outcome of each example over a protocol's sets: (..., A, N) to (..., N)."""
    worst: Outcomes = outcomes[..., attack_rows(names, protocol), :].max(axis=-2)
    return worst


def count_matrices(
    scores: Sequence[VictimScores], attacks: dict[str, tuple[AttackName, ...]], eps: Sequence[float]
) -> tuple[result.Matrix, ...]:
    """Count every cell of every attack and of each protocol's worst case.

    An attack that only some surrogates have gives rows for these alone; ``worst`` has all rows.
    """
    matrices = []
    for level, radius in enumerate(eps):
        for protocol in get_args(result.Protocol):
            for attack in (WORST, *_names(attacks, protocol)):
                cells: list[result.Cell] = []
                for surrogate, names in attacks.items():
                    if rows := attack_rows(names, protocol, attack):
                        cells += _row(scores, surrogate, level, rows)
                matrices.append(result.Matrix(protocol, attack, radius, tuple(cells)))
    return tuple(matrices)


def count_noise(
    scores: Sequence[VictimScores], eps: Sequence[float], draws: int
) -> tuple[result.NoiseFloor, ...]:
    """Count the noise floor of each victim at each eps."""
    return tuple(
        result.NoiseFloor(
            victim.victim, radius, count(victim.noise[level], victim.clean == 0), draws
        )
        for victim in scores
        for level, radius in enumerate(eps)
    )


def _names(
    attacks: dict[str, tuple[AttackName, ...]], protocol: result.Protocol
) -> tuple[str, ...]:
    names = [name for sets in attacks.values() for name in sets if name.protocol == protocol]
    return tuple(dict.fromkeys(name.attack for name in names))


def _row(
    scores: Sequence[VictimScores], surrogate: str, level: int, rows: list[int]
) -> Iterator[result.Cell]:
    """One surrogate against every victim it was tried on, worst case over the sets ``rows``."""
    source = next(score for score in scores if score.victim == surrogate)
    at_home = source.attacked[surrogate][level, rows].max(axis=0)
    for victim in scores:
        if surrogate not in victim.attacked:
            continue
        there = victim.attacked[surrogate][level, rows].max(axis=0)
        correct = victim.clean == 0
        joint = correct & (source.clean == 0)
        yield result.Cell(
            surrogate=surrogate,
            victim=victim.victim,
            outcome=count(there, correct),
            joint=count(there, joint),
            given_success=count(there, joint & (at_home > 0)),
        )
