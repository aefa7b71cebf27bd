"""What the paper's Figure 3 shows when it is made again, with what separates encoding from seed.

All statistics are over networks, the unit that was randomised (:mod:`.permutation`). The stored
form is JSON; documents and figures are rendered from it. Nothing in this module imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from fleet.audit.core.result import Check, NoiseFloor, Protocol
from fleet.audit.core.stored import Stored
from fleet.paper.figure3_statistics import (
    Asymmetry,
    Contrast,
    Kind,
    Lengths,
    PairGroup,
    Range,
    Rates,
    Trend,
)
from fleet.paper.permutation import LEVEL

SCHEMA = "fleet.reproduction.figure3/2"

FOUR_OF_FIVE = 1.43
"""Effect, in half-widths of the 95 % interval, that is found in four experiments of five: (1.960 +
0.842) / 1.960 for a normal estimate. Simulated on 14 networks of the committed profiles, 400
matrices: 82 %, and 50 % for one half-width."""


@dataclass(frozen=True)
class Network:
    """One trained network, clean.

    Attributes:
        name: Device name.
        lengths: Its encoding.
        images: Audited images.
        correct: Of them decoded correctly.
        rejected: Of them decoded as None.
    """

    name: str
    lengths: Lengths
    images: int
    correct: int
    rejected: int

    @property
    def accuracy(self) -> float:
        """Share decoded correctly, None counted as wrong."""
        return self.correct / self.images


@dataclass(frozen=True)
class Level:
    """All networks of one encoding, each by itself.

    Attributes:
        lengths: The encoding.
        white_box: Each network against itself.
        noise: Under random sign noise of the same eps.
        clean: Clean accuracy.
    """

    lengths: Lengths
    white_box: Rates
    noise: Rates
    clean: Range


@dataclass(frozen=True)
class SweepCell:
    """One encoding against one, over all ordered pairs of two *different* networks.

    Attributes:
        surrogate: Encoding of the networks that images are made on.
        victim: Encoding of the networks that they are tried on; where it is the surrogate's, the
            pairs differ in their seed alone.
        rates: None where there is but one network, hence no pair.
    """

    surrogate: Lengths
    victim: Lengths
    rates: Rates | None


@dataclass(frozen=True)
class Sweep:
    """One panel of the figure.

    Attributes:
        fixed: The length that all encodings share.
        value: Its value.
        protocol: ``paper`` or ``adaptive``.
        attack: ``pgd``, as the paper says, or ``worst`` over the protocol's attacks.
        eps: Linf radius in pixel units.
        levels: One for each encoding, the other length ascending.
        cells: Row by row, surrogates then victims in the order of ``levels``.

    Raises:
        ValueError: Cells are missing or in another order.
    """

    fixed: Literal["alpha", "beta"]
    value: float
    protocol: Protocol
    attack: str
    eps: float
    levels: tuple[Level, ...]
    cells: tuple[SweepCell, ...]

    def __post_init__(self) -> None:
        names = [level.lengths for level in self.levels]
        if [(c.surrogate, c.victim) for c in self.cells] != [(i, j) for i in names for j in names]:
            raise ValueError(f"cells of {self.fixed} {self.value}")


@dataclass(frozen=True)
class Figure3(Stored, schema=SCHEMA):
    """Transfer between encodings, and what of it another seed alone would do.

    Attributes:
        title: What was run on what.
        run: Name of the audited run.
        created: ISO 8601 UTC time of the audit.
        same_data: Whether these are images of the paper; a stand-in decides no claim.
        images: Audited images.
        eps: The radii audited, ascending, pixel units.
        networks: In the order of the audit; without any that decodes no image correctly.
        noise: One for each network and eps.
        sweeps: One for each fixed length, protocol and eps: the panels.
        trends: For each varied length, measure, protocol, eps and kind.
        groups: For each relation that occurs, protocol and eps.
        contrasts: For each two relations that the networks can tell apart.
        asymmetries: For all pairs and for each relation, by protocol, eps and kind.
        checks: The audit's reliability checks.
        settings: Of the audit, and of the statistics.
        provenance: The audit's.
    """

    title: str
    run: str
    created: str
    same_data: bool
    images: int
    eps: tuple[float, ...]
    networks: tuple[Network, ...]
    noise: tuple[NoiseFloor, ...]
    sweeps: tuple[Sweep, ...]
    trends: tuple[Trend, ...]
    groups: tuple[PairGroup, ...]
    contrasts: tuple[Contrast, ...]
    asymmetries: tuple[Asymmetry, ...]
    checks: tuple[Check, ...]
    settings: dict[str, Any]
    provenance: dict[str, Any]

    def tally(self) -> tuple[int, int]:
        """How many trends have p <= 0.05, and of how many that could vary.

        With no trend at all about one in twenty would. The tests share networks, so their errors
        come together.
        """
        found = [trend.test.p for trend in self.trends if trend.test]
        return sum(p <= LEVEL for p in found), len(found)

    def power(self, protocol: Protocol, eps: float, kind: Kind) -> str:
        """What these networks can tell about encodings, in words without a full stop."""
        wanted = ("transfer", "same", "different", protocol, eps, kind)
        for c in self.contrasts:
            if (c.quantity, c.first, c.second, c.protocol, c.eps, c.kind) == wanted:
                half = c.estimate.half_width
                if half is None:
                    return f"{len(self.networks)} networks are too few for an interval"
                return (
                    f"{len(self.networks)} networks find an effect of the encoding on transfer of "
                    f"{100 * half:.1f} points in one experiment of two, of "
                    f"{100 * FOUR_OF_FIVE * half:.1f} points in four of five"
                )
        return "no two networks share an encoding: its effect cannot be told from that of the seed"
