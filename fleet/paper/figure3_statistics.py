"""The statistics of Figure 3 as values: trends, contrasts, asymmetries. No torch here."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fleet.audit.core.result import Protocol
from fleet.paper.permutation import LEVEL, RankTest

Kind = Literal["flip", "evade"]
Relation = Literal["same", "equivalent", "different"]
Varied = Literal["alpha", "beta", "share"]
Measure = Literal["white-box", "onto victims", "from surrogates", "noise floor"]
Quantity = Literal["transfer", "asymmetry"]

KINDS: tuple[Kind, ...] = ("flip", "evade")
RELATIONS: tuple[Relation, ...] = ("same", "equivalent", "different")
"""How two networks' encodings stand to each other: the same alpha and beta; the same
beta / (alpha + beta) by other numbers; another beta / (alpha + beta)."""


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

    def of(self, kind: Kind) -> Range:
        """The rates of one kind."""
        return self.flip if kind == "flip" else self.evade


@dataclass(frozen=True)
class TrendLevel:
    """The networks at one value of what varies.

    Attributes:
        value: Of alpha, beta or beta / (alpha + beta).
        rates: One rate for each network.
    """

    value: float
    rates: Range


@dataclass(frozen=True)
class Trend:
    """Whether a rate rises or falls with an encoding's length, over networks.

    Attributes:
        varied: ``alpha`` at the fixed beta, ``beta`` at the fixed alpha, or ``share`` =
            beta / (alpha + beta) over all networks.
        measure: A network's own white-box rate; the mean rate onto it from all other networks of
            the group; from it onto them; or its noise floor.
        protocol: None for the noise floor.
        eps: Linf radius in pixel units.
        kind: What counts as success.
        levels: Ascending.
        test: Spearman's rank correlation with the length, over networks, with a permutation test;
            None where all networks have the same rate. Of transfer it ranks the networks' levels
            as victims or as surrogates, with the other part removed
            (:func:`fleet.paper.figure3_trends.network_levels`). An encoding that was
            trained more often than others still meets itself more often.
    """

    varied: Varied
    measure: Measure
    protocol: Protocol | None
    eps: float
    kind: Kind
    levels: tuple[TrendLevel, ...]
    test: RankTest | None

    @property
    def networks(self) -> int:
        """How many networks it is over."""
        return sum(level.rates.count for level in self.levels)

    @property
    def direction(self) -> Literal["falls", "rises", "none"]:
        """Where the rate goes as the length grows; ``none`` where p is above 0.05."""
        if self.test is None or self.test.p > LEVEL:
            return "none"
        return "rises" if self.test.rho > 0 else "falls"

    @property
    def words(self) -> str:
        """One sentence without its full stop."""
        what = "beta/(alpha+beta)" if self.varied == "share" else self.varied
        if self.test is None:
            return f"the same at every {what}: all {self.networks} networks have one rate"
        found = f"rho {self.test.rho:+.2f}, p {self.test.p:.4f}, {self.networks} networks"
        if self.direction != "none":
            return f"{self.direction} as {what} grows ({found})"
        least = self.test.smallest
        needed = f"|rho| {least:.2f} would show one" if least else "so few can show none"
        return f"no trend in {what} can be shown ({found}; {needed})"


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
        relation: How the two encodings stand to each other; None for all pairs.
        protocol: ``paper`` or ``adaptive``.
        eps: Linf radius in pixel units.
        kind: What counts as success.
        gaps: Their distances.
        sampling: Mean gap if both cells had one true rate and differed by their images alone.
        upper: 95 % quantile of that mean.
    """

    relation: Relation | None
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
class Estimate:
    """What one relation adds over another.

    Attributes:
        plain: Difference of the two means. Mixes the relation with the levels of the networks that
            happen to stand in it.
        difference: The same between networks of equal levels: the coefficient in a model with one
            term for each surrogate and each victim.
        p: Two-sided permutation p value of ``difference``.
        interval: 95 %, by inversion of that test; None if there are too few networks for one.
        leave_one_out: Smallest and largest ``difference`` with any one network left out; None if
            none can be.
        arrangements: How many arrangements of the encodings p is a share of.
        exact: Whether these are all.
    """

    plain: float
    difference: float
    p: float
    interval: tuple[float, float] | None
    leave_one_out: tuple[float, float] | None
    arrangements: int
    exact: bool

    @property
    def half_width(self) -> float | None:
        """Half the interval: an effect of this size has even chances of p <= 0.05."""
        return (self.interval[1] - self.interval[0]) / 2 if self.interval else None


@dataclass(frozen=True)
class Contrast:
    """One relation between encodings against another.

    Attributes:
        quantity: ``transfer``: M(i, j); ``asymmetry``: the distance of M(i, j) from M(j, i).
        first: Relation whose pairs are compared ...
        second: ... with the pairs of this one.
        protocol: ``paper`` or ``adaptive``.
        eps: Linf radius in pixel units.
        kind: What counts as success.
        estimate: First minus second.
    """

    quantity: Quantity
    first: Relation
    second: Relation
    protocol: Protocol
    eps: float
    kind: Kind
    estimate: Estimate

    @property
    def words(self) -> str:
        """One sentence without its full stop."""
        found = self.estimate
        points = [100 * bound for bound in found.interval] if found.interval else None
        bounds = f"95 % {points[0]:+.1f} to {points[1]:+.1f}, " if points else ""
        names = f"{self.first} minus {self.second} encoding"
        return f"{names}: {100 * found.difference:+.1f} points ({bounds}p {found.p:.4f})"
