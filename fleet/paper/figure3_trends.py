"""Do larger alpha and beta help? Rates of networks against the lengths of their encodings.

The grid tests the paper's claim against itself. Only beta / (alpha + beta) matters
(:func:`fleet.encoding.equivalent`); a larger alpha makes it smaller, a larger beta larger. From
(1, 16) to (16, 16) and from (4, 64) to (4, 4) it is the same step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fleet.audit.core.result import Protocol, TransferAudit
from fleet.paper.figure3_rates import Coded, Floats, Transfer
from fleet.paper.figure3_statistics import (
    KINDS,
    Kind,
    Lengths,
    Measure,
    Range,
    Trend,
    TrendLevel,
    Varied,
)
from fleet.paper.permutation import rank_test

ALPHA, BETA = 4.0, 16.0
"""The paper's tables; while one length varies, the other is held there."""


def transfer_trends(networks: Sequence[Coded], transfer: Transfer) -> Iterator[Trend]:
    """White-box rates, transfer onto networks and from them, against each length."""
    for varied, members in _varied(networks):
        for kind in KINDS:
            rates = transfer.rates(kind)[np.ix_(members, members)]
            for measure, (shown, tested) in _measures(rates).items():
                yield _trend(
                    [networks[k].lengths for k in members],
                    shown.tolist(),
                    tested.tolist(),
                    varied=varied,
                    measure=measure,
                    protocol=transfer.protocol,
                    eps=transfer.eps,
                    kind=kind,
                )


def noise_trends(audit: TransferAudit, networks: Sequence[Coded], eps: float) -> Iterator[Trend]:
    """The noise floor against each length: a rate may rise with no attacker's help."""
    for varied, members in _varied(networks):
        found = [networks[k] for k in members]
        outcomes = [audit.noise_floor(coded.name, eps).outcome for coded in found]
        for kind in KINDS:
            values = [outcome.rate(kind) or 0.0 for outcome in outcomes]
            lengths = [coded.lengths for coded in found]
            yield _trend(
                lengths,
                values,
                values,
                varied=varied,
                measure="noise floor",
                protocol=None,
                eps=eps,
                kind=kind,
            )


def _varied(networks: Sequence[Coded]) -> Iterator[tuple[Varied, list[int]]]:
    """What varies, and the networks in which nothing else does."""
    lengths = [coded.lengths for coded in networks]
    groups: dict[Varied, list[int]] = {
        "alpha": [k for k, found in enumerate(lengths) if found.beta == BETA],
        "beta": [k for k, found in enumerate(lengths) if found.alpha == ALPHA],
        "share": list(range(len(lengths))),
    }
    for varied, members in groups.items():
        if len({getattr(lengths[k], varied) for k in members}) > 1:
            yield varied, members


def _measures(rates: Floats) -> dict[Measure, tuple[Floats, Floats]]:
    """What is shown of each network, and what is tested: float64 (networks,) each."""
    size = len(rates)
    others = rates * ~np.eye(size, dtype=bool)
    from_it, onto_it = others.sum(axis=1) / (size - 1), others.sum(axis=0) / (size - 1)
    own = np.diag(rates)
    return {
        "white-box": (own, own),
        "onto victims": (onto_it, network_levels(onto_it, from_it)),
        "from surrogates": (from_it, network_levels(from_it, onto_it)),
    }


def network_levels(means: Floats, others: Floats) -> Floats:
    """Each network's level as a victim, say, whatever the surrogates that it meets.

    The mean over all *other* networks will not do: no network meets itself, so the strongest
    surrogate meets weaker ones than all others do and would pass for the most robust victim. Least
    squares of M(i, j) = m + r(i) + c(j) off the diagonal removes that; in closed form (the social
    relations model's estimates, Warner, Kenny and Stoto 1979, but for a constant).

    Args:
        means: float64 (networks,): mean rate of each network in its one part, say onto it.
        others: float64 (networks,): in its other part, say from it.

    Returns:
        float64 (networks,), in the order of which a rank test is interested. With two networks
        there is nothing to remove.
    """
    size = len(means)
    return means if size < 3 else (size - 1) / (size * (size - 2)) * ((size - 1) * means + others)


def _trend(
    lengths: Sequence[Lengths],
    shown: Sequence[float],
    tested: Sequence[float],
    *,
    varied: Varied,
    measure: Measure,
    protocol: Protocol | None,
    eps: float,
    kind: Kind,
) -> Trend:
    labels = [round(float(getattr(found, varied)), 9) for found in lengths]
    at = {
        label: [v for of, v in zip(labels, shown, strict=True) if of == label] for label in labels
    }
    levels = tuple(TrendLevel(label, Range.of(at[label])) for label in sorted(at))
    return Trend(varied, measure, protocol, eps, kind, levels, rank_test(labels, tested))
