"""Tests over networks by permutation: the unit that was randomised is the network, not the image.

A cell of a transfer matrix counts a thousand images, and two cells that share a network share its
luck. Errors that treat images, or pairs of networks, as independent are therefore far too small.
Here the labels of whole networks are permuted, rows and columns of a matrix together (Mantel 1967;
Krackhardt 1988), so that everything a network brings with it moves with it. If labels do not
matter, each arrangement of them is as likely as the one that was trained, and the share of
arrangements at least as extreme as that one is an exact p value.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from fleet.seeding import derive_seed

LEVEL = 0.05
"""Two-sided level of every test and of the intervals."""

MOST_ARRANGEMENTS = 20_000
"""Up to so many arrangements are all looked at."""

DRAWS = 9_999
"""Random arrangements beside the trained one where there are more; a p value of 0.05 then has a
standard error of 0.002."""

Floats = NDArray[np.float64]
_CLOSE = 1e-9  # statistics of one arrangement, summed in another order, differ by about 1e-16
_DIGITS = 9


@dataclass(frozen=True)
class Arrangements:
    """Ways to deal the labels to the networks.

    Attributes:
        orders: int (arrangements, networks); entry (a, i) is the network whose label network i
            gets in arrangement a. The first row leaves all labels where they are.
        exact: Whether these are all distinct arrangements, each once.
    """

    orders: NDArray[np.intp]
    exact: bool

    @cached_property
    def _holders(self) -> NDArray[np.intp]:
        return np.argsort(self.orders, axis=1)

    def permuted(self, matrix: Floats) -> Floats:
        """A matrix of the networks, each arrangement's in the order of the labels it deals.

        Args:
            matrix: float64 (networks, networks).

        Returns:
            float64 (arrangements, networks * networks); entry (i, j) of an arrangement is that of
            the networks that hold the labels of networks i and j.
        """
        places = self._holders[:, :, None] * len(matrix) + self._holders[:, None, :]
        return np.take(matrix, places.reshape(len(places), -1))


@dataclass(frozen=True)
class RankTest:
    """Spearman's rank correlation and its permutation test.

    Attributes:
        rho: In [-1, 1].
        p: Two-sided.
        smallest: Smallest |rho| that these networks could have shown at :data:`LEVEL`; None if no
            arrangement of so few is rare enough.
        arrangements: How many arrangements p is a share of.
        exact: Whether these are all.
    """

    rho: float
    p: float
    smallest: float | None
    arrangements: int
    exact: bool


@lru_cache(maxsize=16)
def arrange(labels: tuple[Hashable, ...]) -> Arrangements:
    """Deal labels to networks in every distinct way, or in :data:`DRAWS` random ones.

    Args:
        labels: One for each network.
    """
    networks = len(labels)
    number = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    codes = np.array([number[label] for label in labels])
    distinct = math.factorial(networks) // math.prod(map(math.factorial, Counter(labels).values()))
    if distinct > MOST_ARRANGEMENTS:
        random = np.random.default_rng(derive_seed("permutation", "arrangements", networks))
        same = np.arange(networks)
        drawn = [same, *(random.permutation(networks) for _ in range(DRAWS))]
        return Arrangements(np.stack(drawn), exact=False)
    dealt = np.array([codes, *(deal for deal in _deals(codes) if deal != tuple(codes))])
    owners = np.argsort(codes, kind="stable")
    orders = np.empty_like(dealt, dtype=np.intp)
    np.put_along_axis(orders, np.argsort(dealt, axis=1, kind="stable"), owners[None], axis=1)
    return Arrangements(orders, exact=True)


def p_value(statistics: Floats) -> float:
    """Share of arrangements whose |statistic| reaches that of the first.

    Args:
        statistics: float64 (arrangements,), that of the trained arrangement first.

    Returns:
        In (0, 1].
    """
    sizes = np.abs(statistics)
    return float(np.mean(sizes >= sizes[0] - _CLOSE))


def rank_test(labels: Sequence[float], values: Sequence[float]) -> RankTest | None:
    """Test whether values rise or fall with the labels of their networks.

    Args:
        labels: For example each network's alpha; ties are ranked by their mean rank.
        values: One rate for each network.

    Returns:
        None where all labels or all values are equal: there is nothing to correlate.
    """
    x, y = _standard(_ranks(labels)), _standard(_ranks(values))
    if x is None or y is None:
        return None
    arrangements = arrange(tuple(labels))
    rhos = x[arrangements.orders] @ y
    sizes = np.sort(np.abs(rhos))[::-1]
    # The first size that at least LEVEL of the arrangements reach is too common.
    rare = sizes[sizes > sizes[int(LEVEL * len(sizes))] + _CLOSE]
    smallest = float(rare[-1]) if rare.size else None
    return RankTest(float(rhos[0]), p_value(rhos), smallest, len(rhos), arrangements.exact)


def interval(observed: float, statistics: Floats, slopes: Floats) -> tuple[float, float] | None:
    """Invert a permutation test: every shift that the test would not reject.

    A shift d of some cells changes the statistic t of an arrangement to t - d * s. The arrangement
    accepts d if ``|t - d * s| >= |observed - d|``, which for |s| < 1 is the stretch between
    ``(observed - t) / (1 - s)`` and ``(observed + t) / (1 + s)``; all stretches contain
    ``observed``, and a shift is rejected where at most :data:`LEVEL` of them reach.

    Args:
        observed: Statistic of the trained arrangement.
        statistics: float64 (arrangements,): t.
        slopes: float64 (arrangements,): s, what the shifted cells alone give; 1 for the first.

    Returns:
        Lower and upper bound; None if so few arrangements reject no shift at all.
    """
    inner = np.abs(slopes) < 1 - _CLOSE
    t, s = statistics[inner], slopes[inner]
    ends = np.sort(np.stack([(observed - t) / (1 - s), (observed + t) / (1 + s)]), axis=0)
    endless = np.full(len(slopes) - len(t), np.inf)
    low = np.sort(np.concatenate([ends[0], -endless]))[int(LEVEL * len(slopes))]
    high = np.sort(np.concatenate([ends[1], endless]))[::-1][int(LEVEL * len(slopes))]
    return (float(low), float(high)) if np.isfinite([low, high]).all() else None


def least_squares(
    matrix: Floats, terms: Sequence[NDArray[np.bool_]]
) -> tuple[Floats, Floats | None]:
    """Fit a matrix of networks off its diagonal: one term a row, one a column, and the given ones.

    Rows and columns are what a network is as surrogate and as victim. Without them an encoding that
    is easy to attack would pass for a relation of pairs.

    Args:
        matrix: float64 (networks, networks); the diagonal is not looked at.
        terms: bool (networks, networks): pairs that each further term is about.

    Returns:
        What the fit leaves, float64 (networks, networks), 0 on the diagonal; and weights whose
        product with a matrix is the coefficient of the first term, float64 (networks, networks), 0
        on the diagonal, None where these networks cannot tell it from the other terms.
    """
    size = len(matrix)
    rows, columns = np.nonzero(~np.eye(size, dtype=bool))
    every = [*(term[rows, columns] for term in terms)]
    every += [*(rows == k for k in range(size)), *(columns == k for k in range(size))]
    design = np.stack(every, axis=1).astype(np.float64)
    inverse = np.linalg.pinv(design)
    left, weights = np.zeros(matrix.shape), np.zeros(matrix.shape)
    cells = matrix[rows, columns]
    left[rows, columns] = cells - design @ (inverse @ cells)
    weights[rows, columns] = inverse[0]
    told = bool(terms) and np.allclose(inverse[0] @ design, np.eye(len(every))[0])
    return left, weights if told else None


def _deals(codes: NDArray[np.intp]) -> Iterator[tuple[int, ...]]:
    """Every distinct arrangement of a multiset, in lexicographic order (Knuth's algorithm L)."""
    deal = sorted(codes.tolist())
    while True:
        yield tuple(deal)
        k = len(deal) - 2
        while k >= 0 and deal[k] >= deal[k + 1]:
            k -= 1
        if k < 0:
            return
        swap = max(i for i in range(k + 1, len(deal)) if deal[i] > deal[k])
        deal[k], deal[swap] = deal[swap], deal[k]
        deal[k + 1 :] = deal[:k:-1]


def _ranks(values: Sequence[float]) -> Floats:
    """Ranks from 1, equal values at the mean of their ranks."""
    rounded = np.round(np.asarray(values), _DIGITS)
    _, place, count = np.unique(rounded, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count - 1) / 2)[place], dtype=np.float64)


def _standard(ranks: Floats) -> Floats | None:
    centred = ranks - ranks.mean()
    length = float(np.linalg.norm(centred))
    return centred / length if length else None
