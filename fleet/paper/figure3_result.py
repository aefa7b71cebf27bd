"""The paper's Figure 3 made again, and what separates the effect of an encoding from a seed's.

All statistics are over networks, the unit that was randomised
(:mod:`fleet.audit.core.permutation`). The stored form is JSON; documents and figures are rendered
from it. Nothing in this module imports torch.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fleet.audit.core.document import Stored
from fleet.audit.core.permutation import LEVEL, RankTest
from fleet.audit.core.result import Check, Protocol

Kind = Literal["flip", "evade"]
Relation = Literal["same", "equivalent", "different"]
Varied = Literal["alpha", "beta"]
Measure = Literal["white-box", "onto victims"]
Quantity = Literal["transfer", "asymmetry"]

KINDS: tuple[Kind, ...] = ("flip", "evade")
RELATIONS: tuple[Relation, ...] = ("same", "equivalent", "different")
"""How two networks' encodings stand to each other: the same alpha and beta; the same
beta / (alpha + beta) by other numbers; another beta / (alpha + beta)."""

FOUR_OF_FIVE = 1.43
"""Effect, in half-widths of the 95 % interval, that is found in four experiments of five: (1.960 +
0.842) / 1.960 for a normal estimate. Simulated on 14 networks of the committed profiles, 400
matrices: 82 %, and 50 % for one half-width."""


@dataclass(frozen=True)
class Lengths:
    """An encoding of this experiment: slots in the order of the classes, s0 = 0.

    Attributes:
        alpha: Gap, above 0.
        beta: Interval length, 0 or more.
    """

    alpha: float
    beta: float

    @property
    def share(self) -> float:
        """The ratio beta / (alpha + beta); a last linear layer absorbs all else."""
        return self.beta / (self.alpha + self.beta)


@dataclass(frozen=True)
class Range:
    """One rate over several networks or pairs of networks.

    Attributes:
        count: How many.
        mean: Arithmetic mean.
        low: Smallest.
        high: Largest.
    """

    count: int
    mean: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if self.count < 1 or not self.low <= self.high:
            raise ValueError(f"{self.count} rates from {self.low} to {self.high}")

    @classmethod
    def of(cls, values: Sequence[float]) -> Range:
        """Summarise one or more values."""
        return cls(len(values), statistics.fmean(values), min(values), max(values))


@dataclass(frozen=True)
class Rates:
    """Attack success rates of the same networks or pairs, counted in two ways.

    Attributes:
        flip: Decoded as a wrong class.
        evade: Flip or reject.
    """

    flip: Range
    evade: Range

    @classmethod
    def over(cls, values: Sequence[tuple[float, float]]) -> Rates:
        """Summarise (flip, evade) of one or more networks or pairs."""
        flips, evades = zip(*values, strict=True)
        return cls(Range.of([float(v) for v in flips]), Range.of([float(v) for v in evades]))

    def of(self, kind: Kind) -> Range:
        """The rates of one kind."""
        return self.flip if kind == "flip" else self.evade


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

    fixed: Varied
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
class TrendLevel:
    """The networks at one value of what varies.

    Attributes:
        value: Of alpha or beta.
        rates: One rate for each network.
    """

    value: float
    rates: Range


@dataclass(frozen=True)
class Trend:
    """Whether a rate rises or falls with an encoding's length, over networks.

    Attributes:
        varied: ``alpha`` at the fixed beta, or ``beta`` at the fixed alpha.
        measure: A network's own white-box rate, or the mean rate onto it from all others of the
            sweep.
        protocol: ``paper`` or ``adaptive``.
        eps: Linf radius in pixel units.
        kind: What counts as success.
        levels: Ascending.
        test: Spearman's rank correlation with the length, over networks, with a permutation test;
            None where all networks have the same rate. Of transfer it ranks the networks' levels
            as victims (:func:`fleet.paper.figure3_tests.victim_levels`).
    """

    varied: Varied
    measure: Measure
    protocol: Protocol
    eps: float
    kind: Kind
    levels: tuple[TrendLevel, ...]
    test: RankTest | None

    @property
    def direction(self) -> Literal["falls", "rises", "none"]:
        """Where the rate goes as the length grows; ``none`` where p is above 0.05."""
        if self.test is None or self.test.p > LEVEL:
            return "none"
        return "rises" if self.test.rho > 0 else "falls"

    @property
    def words(self) -> str:
        """One sentence without its full stop."""
        networks = f"{sum(level.rates.count for level in self.levels)} networks"
        if self.test is None:
            return f"the same at every {self.varied}: all {networks} have one rate"
        found = f"rho {self.test.rho:+.2f}, p {self.test.p:.4f}, {networks}"
        if self.direction != "none":
            return f"{self.direction} as {self.varied} grows ({found})"
        least = self.test.smallest
        needed = f"|rho| {least:.2f} would show one" if least else "so few can show none"
        return f"no trend in {self.varied} can be shown ({found}; {needed})"


@dataclass(frozen=True)
class PairGroup:
    """All ordered pairs of different networks whose encodings stand in one relation.

    Attributes:
        relation: How the two encodings stand to each other.
        protocol: ``paper`` or ``adaptive``.
        eps: Linf radius in pixel units.
        rates: Transfer.
    """

    relation: Relation
    protocol: Protocol
    eps: float
    rates: Rates


@dataclass(frozen=True)
class Asymmetry:
    """How far M(i, j) lies from M(j, i), over unordered pairs of networks.

    Attributes:
        relation: How the two encodings stand to each other.
        protocol: ``paper`` or ``adaptive``.
        eps: Linf radius in pixel units.
        kind: What counts as success.
        gaps: Their distances.
        sampling: Mean gap if both cells had one true rate and differed by their images alone.
        upper: 95 % quantile of that mean.
    """

    relation: Relation
    protocol: Protocol
    eps: float
    kind: Kind
    gaps: Range
    sampling: float
    upper: float

    @property
    def beyond_sampling(self) -> bool:
        """Whether the pairs are less symmetric than sampling of images explains."""
        return self.gaps.mean > self.upper


@dataclass(frozen=True)
class Contrast:
    """Pairs of the same encoding against pairs of different ones: what the encoding adds to a seed.

    Attributes:
        quantity: ``transfer``: M(i, j); ``asymmetry``: the distance of M(i, j) from M(j, i).
        protocol: ``paper`` or ``adaptive``.
        eps: Linf radius in pixel units.
        kind: What counts as success.
        difference: Same minus different between networks of equal levels: the coefficient in a
            model with one term for each surrogate and each victim.
        p: Two-sided permutation p value of ``difference``.
        interval: 95 %, by inversion of that test; None if there are too few networks for one.
        arrangements: How many arrangements of the encodings p is a share of.
        exact: Whether these are all.
    """

    quantity: Quantity
    protocol: Protocol
    eps: float
    kind: Kind
    difference: float
    p: float
    interval: tuple[float, float] | None
    arrangements: int
    exact: bool

    @property
    def words(self) -> str:
        """The difference with its interval and p value."""
        points = [100 * bound for bound in self.interval] if self.interval else None
        bounds = f"95 % {points[0]:+.1f} to {points[1]:+.1f}, " if points else ""
        return f"{100 * self.difference:+.1f} points ({bounds}p {self.p:.4f})"


@dataclass(frozen=True)
class Figure3(Stored, schema="fleet.reproduction.figure3/2"):
    """Transfer between encodings, and what of it another seed alone would do.

    Attributes:
        title: What was run on what.
        run: Name of the audited run.
        created: ISO 8601 UTC time of the audit.
        same_data: Whether these are images of the paper; a stand-in decides no claim.
        images: Audited images.
        eps: The radii audited, ascending, pixel units.
        networks: In the order of the audit; without any that decodes no image correctly.
        sweeps: One for each fixed length, protocol and eps: the panels.
        trends: For each varied length, measure, protocol, eps and kind.
        groups: For each relation that occurs, protocol and eps.
        contrasts: By protocol, eps, kind and quantity, if the networks can tell the encoding from
            the seed.
        asymmetries: For each relation that occurs, by protocol, eps and kind.
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
    sweeps: tuple[Sweep, ...]
    trends: tuple[Trend, ...]
    groups: tuple[PairGroup, ...]
    contrasts: tuple[Contrast, ...]
    asymmetries: tuple[Asymmetry, ...]
    checks: tuple[Check, ...]
    settings: dict[str, Any]
    provenance: dict[str, Any]

    def effects(self, quantity: Quantity) -> list[Contrast]:
        """What the encoding adds to the seed at each eps (adaptive, evade)."""
        wanted = (quantity, "adaptive", "evade")
        return [c for c in self.contrasts if (c.quantity, c.protocol, c.kind) == wanted]

    def power(self, eps: float) -> str:
        """What these networks can tell about encodings (adaptive, evade), without a full stop."""
        for c in self.effects("transfer"):
            if c.eps == eps:
                if c.interval is None:
                    return f"{len(self.networks)} networks are too few for an interval"
                half = 50 * (c.interval[1] - c.interval[0])
                return (
                    f"{len(self.networks)} networks find an effect of the encoding on transfer of "
                    f"{half:.1f} points in one experiment of two, of "
                    f"{FOUR_OF_FIVE * half:.1f} points in four of five"
                )
        return "no two networks share an encoding: its effect cannot be told from that of the seed"
