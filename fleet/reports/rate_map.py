"""A matrix of surrogate against victim as arrays: rates, an order by likeness, and tiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleet.audit.core.result import Matrix
from fleet.reports.large import MOST_TILES

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RateMap:
    """A matrix as arrays.

    Attributes:
        names: Its networks, in matrix order.
        places: Place in the matrix's cells of each surrogate (row) and victim (column), (N, N);
            -1 where a pair was not tried.
        rates: Evade rate of each pair, (N, N); NaN where it was not tried, or where the victim
            decodes no image correctly.
    """

    names: tuple[str, ...]
    places: NDArray[np.int64]
    rates: Floats

    @classmethod
    def of(cls, matrix: Matrix) -> RateMap:
        """Read a matrix; what was read is kept with it."""
        found: RateMap | None = matrix.__dict__.get("_rate_map")
        if found is None:
            found = matrix.__dict__["_rate_map"] = cls._read(matrix)
        return found

    @classmethod
    def _read(cls, matrix: Matrix) -> RateMap:
        seen = dict.fromkeys(cell.surrogate for cell in matrix.cells)
        names = tuple(seen | dict.fromkeys(cell.victim for cell in matrix.cells))
        number = {name: place for place, name in enumerate(names)}
        places = np.full((len(names), len(names)), -1, np.int64)
        for place, cell in enumerate(matrix.cells):
            places[number[cell.surrogate], number[cell.victim]] = place
        evaded = (cell.outcome.rate("evade") for cell in matrix.cells)
        flat = np.array([np.nan if rate is None else rate for rate in evaded], np.float64)
        return cls(names, places, np.where(places < 0, np.nan, flat[places]))

    def worst(self, among: set[str], top: int) -> list[int]:
        """Places in the matrix's cells of the pairs of :meth:`between` with the highest rates.

        Equals stay in matrix order; pairs without a rate are left out.
        """
        rates = self.between(among).ravel()
        places = self._places(among)
        ranked = np.lexsort((places, -rates))
        return [int(places[k]) for k in ranked[: min(top, int((~np.isnan(rates)).sum()))]]

    def listed(self, among: set[str]) -> list[float]:
        """The rates of :meth:`between` in matrix order."""
        rates = self.between(among).ravel()[self._places(among).argsort()]
        found: list[float] = rates[~np.isnan(rates)].tolist()
        return found

    def _places(self, among: set[str]) -> NDArray[np.int64]:
        kept = [place for place, name in enumerate(self.names) if name in among]
        return self.places[np.ix_(kept, kept)].ravel()

    def between(self, among: set[str]) -> Floats:
        """Rates between networks of ``among``, (A, A), in matrix order; the diagonal is NaN."""
        kept = [place for place, name in enumerate(self.names) if name in among]
        found = self.rates[np.ix_(kept, kept)]
        np.fill_diagonal(found, np.nan)
        return found


def order_by_likeness(rates: Floats) -> list[int]:
    """Order networks so that those stand together whose rows and columns are alike.

    Average linkage over the Euclidean distance of a network's rates as surrogate and as victim
    (nearest-neighbour chains, N^2 operations of arrays); of two branches the one with lower rates
    comes first.

    Args:
        rates: (N, N); what is NaN counts as the mean.
    """
    count = len(rates)
    filled = np.where(np.isnan(rates), np.nanmean(rates) if count > 1 else 0.0, rates)
    features = np.hstack([filled, filled.T])
    squares = (features**2).sum(1)
    apart = np.maximum(squares[:, None] + squares - 2 * features @ features.T, 0.0) ** 0.5
    np.fill_diagonal(apart, np.inf)
    sizes = np.ones(count)
    leaves = {place: [place] for place in range(count)}
    chain_of: list[int] = []
    while len(leaves) > 1:
        if not chain_of:
            chain_of = [next(iter(leaves))]
        last = chain_of[-1]
        nearest = int(apart[last].argmin())
        if len(chain_of) > 1 and apart[last, chain_of[-2]] <= apart[last, nearest]:
            one, other = sorted(chain_of[-2:])
            del chain_of[-2:]
            share = sizes[one] / (sizes[one] + sizes[other])
            joined = share * apart[one] + (1 - share) * apart[other]
            halves = sorted([leaves[one], leaves.pop(other)], key=lambda ls: _mean(filled, ls))
            leaves[one] = halves[0] + halves[1]
            sizes[one] += sizes[other]
            apart[one], apart[:, one] = joined, joined
            apart[other], apart[:, other] = np.inf, np.inf
            apart[one, one] = np.inf
        else:
            chain_of.append(nearest)
    return next(iter(leaves.values()))


def _mean(rates: Floats, places: list[int]) -> float:
    return float(rates[places].mean() + rates[:, places].mean())


def tiles(rates: Floats, most: int = MOST_TILES) -> tuple[Floats, Floats, int]:
    """Gather neighbours into tiles, at most ``most`` along a side.

    Args:
        rates: (N, N); NaN counts nowhere.
        most: Tiles along a side.

    Returns:
        Mean and highest rate of each tile, NaN without any; devices along a tile's side.
    """
    step = -(-len(rates) // most)
    edges = np.arange(0, len(rates), step)
    known = ~np.isnan(rates)

    def gather(reduce: np.ufunc, values: NDArray[np.generic]) -> Floats:
        rows = reduce.reduceat(values, edges, axis=0)
        return np.asarray(reduce.reduceat(rows, edges, axis=1), np.float64)

    counts = gather(np.add, known.astype(np.float64))
    empty = counts == 0
    sums = gather(np.add, np.where(known, rates, 0.0))
    means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=~empty)
    highest = gather(np.maximum, np.where(known, rates, -1.0))
    return means, np.where(empty, np.nan, highest), step
