"""Encoding or seed? Pairs of networks compared by how their encodings stand to each other.

Two networks of one encoding differ in their seed alone; what they do to each other is what another
seed gives. Only what pairs of *different* encodings do beyond that is owed to the encoding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fleet.encoding import equivalent
from fleet.paper.figure3_rates import Coded, Floats, Transfer, rates_of
from fleet.paper.figure3_statistics import (
    KINDS,
    RELATIONS,
    Asymmetry,
    Contrast,
    Estimate,
    Kind,
    PairGroup,
    Quantity,
    Range,
    Relation,
)
from fleet.paper.permutation import LEVEL, Arrangements, interval, p_value
from fleet.seeding import derive_seed

SIMULATIONS = 2_000
"""Draws for the asymmetry that sampling gives; its 95 % quantile moves by 1 % with the seed."""

Relations = NDArray[np.str_]


@dataclass(frozen=True)
class Comparison:
    """Two relations, and all that a contrast between them needs of the networks.

    Attributes:
        first: Relation whose pairs are compared ...
        second: ... with the pairs of this one.
        pairs: bool (networks, networks): pairs of ``first``.
        against: bool (networks, networks): pairs of ``second``.
        weights: Of :func:`weights`.
        left_out: The same with one network left out in turn: float64 (at most networks, networks,
            networks).
        slopes: float64 (arrangements,): the statistic of ``pairs`` themselves.
        exact: Whether these are all arrangements.
    """

    first: Relation
    second: Relation
    pairs: NDArray[np.bool_]
    against: NDArray[np.bool_]
    weights: Floats
    left_out: Floats
    slopes: Floats
    exact: bool

    def estimate(self, values: Floats, permuted: Floats) -> Estimate:
        """Compare the values of the two relations' pairs.

        Args:
            values: float64 (networks, networks).
            permuted: The same in every arrangement, of :meth:`Arrangements.permuted`.
        """
        statistics = permuted @ self.weights.ravel()
        others = (self.left_out * values).sum(axis=(1, 2))
        return Estimate(
            plain=float(values[self.pairs].mean() - values[self.against].mean()),
            difference=float(statistics[0]),
            p=p_value(statistics),
            interval=interval(float(statistics[0]), statistics, self.slopes),
            leave_one_out=(float(others.min()), float(others.max())) if others.size else None,
            arrangements=len(statistics),
            exact=self.exact,
        )


def relate(networks: Sequence[Coded]) -> Relations:
    """How the encodings of each two networks stand to each other: a :data:`Relation` or ``self``.

    Returns:
        str (networks, networks).
    """
    return np.array([[_relation(first, second) for second in networks] for first in networks])


def pair_groups(transfer: Transfer, relations: Relations) -> list[PairGroup]:
    """Mean transfer of each relation that occurs."""
    groups = []
    for relation in RELATIONS:
        pairs = relations == relation
        if pairs.any():
            values = list(zip(transfer.flip[pairs], transfer.evade[pairs], strict=True))
            group = PairGroup(relation, transfer.protocol, transfer.eps, rates_of(values))
            groups.append(group)
    return groups


def comparisons(arrangements: Arrangements, relations: Relations) -> list[Comparison]:
    """Prepare every two relations that these networks can tell apart.

    Args:
        arrangements: Of the networks' encodings.
        relations: Of :func:`relate`.
    """
    found = []
    for first, second in combinations(RELATIONS, 2):
        weighed = weights(relations, first, second)
        if weighed is not None:
            pairs = relations == first
            found.append(
                Comparison(
                    first,
                    second,
                    pairs=pairs,
                    against=relations == second,
                    weights=weighed,
                    left_out=_left_out(relations, first, second),
                    slopes=arrangements.permuted(pairs.astype(np.float64)) @ weighed.ravel(),
                    exact=arrangements.exact,
                )
            )
    return found


def contrasts(
    transfer: Transfer, arrangements: Arrangements, compared: Sequence[Comparison]
) -> Iterator[Contrast]:
    """Every two relations against each other, in transfer and in asymmetry."""
    for kind in KINDS:
        rates = transfer.rates(kind)
        quantities: dict[Quantity, Floats] = {
            "transfer": rates,
            "asymmetry": np.abs(rates - rates.T),
        }
        for quantity, values in quantities.items():
            permuted = arrangements.permuted(values)
            for comparison in compared:
                yield Contrast(
                    quantity,
                    comparison.first,
                    comparison.second,
                    transfer.protocol,
                    transfer.eps,
                    kind,
                    comparison.estimate(values, permuted),
                )


def asymmetries(transfer: Transfer, relations: Relations) -> Iterator[Asymmetry]:
    """Observed gaps beside those that sampling alone gives, for all pairs and each relation.

    Sampling: both cells of a pair count successes with one probability, that of their pooled
    counts, independently. In truth they share their images, which makes gaps smaller; so a mean
    gap above ``upper`` is beyond sampling all the more.
    """
    upper = np.triu(np.ones(relations.shape, dtype=bool), 1)
    for kind in KINDS:
        rates = transfer.rates(kind)
        gaps = np.abs(rates - rates.T)
        chance = _sampled_gaps(transfer, kind)
        for relation in (None, *RELATIONS):
            pairs = upper if relation is None else upper & (relations == relation)
            if pairs.any():
                means = chance[:, pairs[upper]].mean(axis=1)
                yield Asymmetry(
                    relation,
                    transfer.protocol,
                    transfer.eps,
                    kind,
                    Range.of([float(gap) for gap in gaps[pairs]]),
                    float(means.mean()),
                    float(np.quantile(means, 1 - LEVEL)),
                )


def weights(relations: Relations, first: Relation, second: Relation) -> Floats | None:
    """Weights whose product with a matrix is the coefficient of ``first`` over ``second``.

    Ordinary least squares over the cells off the diagonal, with one term for each surrogate, one
    for each victim, and one for each relation but ``second``. Without the networks' own terms an
    encoding that is easy to attack would pass for a relation: half of all pairs with the same
    encoding belong to the encoding that was trained most often.

    Simulated on the 14 networks of the committed profiles, 400 matrices, networks' levels with
    standard deviation 0.06, pairs with 0.04, no relation at all: where encodings have levels of
    their own (0.1) the difference of plain means is significant at 0.05 in 25 %, this in 4.5 %;
    where they have none, in 5 and 6.5 %. The interval holds the truth in 93.5 to 97.8 %; a
    jackknife over networks would be 1.7 times as wide and hold it in 99 %.

    Returns:
        float64 (networks, networks), 0 on the diagonal; None where these networks cannot tell the
        two relations apart.
    """
    rows, columns = np.nonzero(relations != "self")
    cells = relations[rows, columns]
    others = [cells == relation for relation in RELATIONS if relation not in {first, second}]
    size = range(len(relations))
    terms = [cells == first, *others, *(rows == k for k in size), *(columns == k for k in size)]
    design = np.stack(terms, axis=1).astype(np.float64)
    solved = np.linalg.pinv(design)[0]
    told = np.zeros(len(terms))
    told[0] = 1
    if not (cells == second).any() or not np.allclose(solved @ design, told):
        return None
    found = np.zeros(relations.shape)
    found[rows, columns] = solved
    return found


def _left_out(relations: Relations, first: Relation, second: Relation) -> Floats:
    """Weights with each network left out in turn, where they exist: float64 (weights, n, n)."""
    found = []
    for network in range(len(relations)):
        kept = np.delete(np.arange(len(relations)), network)
        inner = weights(relations[np.ix_(kept, kept)], first, second)
        if inner is not None:
            outer = np.zeros(relations.shape)
            outer[np.ix_(kept, kept)] = inner
            found.append(outer)
    return np.array(found).reshape(-1, *relations.shape)


def _sampled_gaps(transfer: Transfer, kind: Kind) -> Floats:
    """float64 (simulations, pairs above the diagonal, row by row)."""
    i, j = np.triu_indices(len(transfer.trials), 1)
    n, m = transfer.trials[i, j], transfer.trials[j, i]
    rates = transfer.rates(kind)
    pooled = (rates[i, j] * n + rates[j, i] * m) / (n + m)
    seed = derive_seed("asymmetry", transfer.protocol, kind, f"{transfer.eps:.6f}")
    random = np.random.default_rng(seed)
    shape = (SIMULATIONS, len(i))
    return np.abs(random.binomial(n, pooled, shape) / n - random.binomial(m, pooled, shape) / m)


def _relation(first: Coded, second: Coded) -> str:
    if first is second:
        return "self"
    if first.lengths == second.lengths:
        return "same"
    return "equivalent" if equivalent(first.encoding, second.encoding) else "different"
