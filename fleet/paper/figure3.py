"""Boil a transfer audit down to the paper's Figure 3: panels, trends, encoding against seed.

What stands in the audit is one run of ``profiles/figure3-*.yaml``: encodings around the
paper's alpha 4 and beta 16, each with two seeds or more. Seeds of weights and of batches come from
the seed *and the device's name*, so no two networks share them and all are exchangeable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from fleet.audit.core.result import Protocol, TransferAudit
from fleet.paper.figure3_pairs import (
    SIMULATIONS,
    asymmetries,
    comparisons,
    contrasts,
    pair_groups,
    relate,
)
from fleet.paper.figure3_rates import (
    Coded,
    Transfer,
    rates_of,
    read_networks,
    read_transfer,
)
from fleet.paper.figure3_result import Figure3, Level, Sweep, SweepCell
from fleet.paper.figure3_statistics import (
    Range,
    Rates,
)
from fleet.paper.figure3_trends import ALPHA, BETA, noise_trends, transfer_trends
from fleet.paper.permutation import DRAWS, MOST_ARRANGEMENTS, arrange

PROTOCOLS: tuple[Protocol, ...] = ("adaptive", "paper")


def summarise(audit: TransferAudit, *, title: str, same_data: bool = True) -> Figure3:
    """Make Figure 3 of a transfer audit.

    Args:
        audit: Of interval devices that differ in alpha, beta and seed alone.
        title: What was run on what.
        same_data: Whether these are images of the paper.

    Raises:
        AuditError: The devices differ in more, or none decodes an image.
    """
    networks = read_networks(audit)
    present = {matrix.protocol for matrix in audit.matrices}
    transfers = [
        read_transfer(audit, networks, protocol, eps)
        for eps in audit.eps
        for protocol in PROTOCOLS
        if protocol in present
    ]
    relations = relate(networks)
    arrangements = arrange(tuple(coded.lengths for coded in networks))
    compared = comparisons(arrangements, relations)
    return Figure3(
        title=title,
        run=audit.run,
        created=audit.created,
        same_data=same_data,
        images=networks[0].network.images,
        eps=audit.eps,
        networks=tuple(coded.network for coded in networks),
        noise=tuple(audit.noise_floor(coded.name, eps) for eps in audit.eps for coded in networks),
        sweeps=tuple(s for transfer in transfers for s in _sweeps(audit, networks, transfer)),
        trends=(
            *(t for transfer in transfers for t in transfer_trends(networks, transfer)),
            *(t for eps in audit.eps for t in noise_trends(audit, networks, eps)),
        ),
        groups=tuple(g for transfer in transfers for g in pair_groups(transfer, relations)),
        contrasts=tuple(c for t in transfers for c in contrasts(t, arrangements, compared)),
        asymmetries=tuple(a for t in transfers for a in asymmetries(t, relations)),
        checks=audit.checks,
        settings={
            "audit": audit.settings,
            "unit": "network",
            "left_out": _left_out(audit, networks),
            "all_arrangements_up_to": MOST_ARRANGEMENTS,
            "random_arrangements": DRAWS,
            "asymmetry_simulations": SIMULATIONS,
        },
        provenance=audit.provenance,
    )


def _left_out(audit: TransferAudit, networks: Sequence[Coded]) -> list[str]:
    kept = {coded.name for coded in networks}
    return [device.name for device in audit.devices if device.name not in kept]


def _sweeps(audit: TransferAudit, networks: Sequence[Coded], transfer: Transfer) -> Iterator[Sweep]:
    fixings: tuple[tuple[Literal["alpha", "beta"], float], ...] = (("beta", BETA), ("alpha", ALPHA))
    for fixed, value in fixings:
        members = [k for k, c in enumerate(networks) if getattr(c.lengths, fixed) == value]
        if not members:
            continue
        kinds = {networks[k].lengths for k in members}
        order = sorted(kinds, key=lambda lengths: (lengths.alpha, lengths.beta))
        places = [[k for k in members if networks[k].lengths == lengths] for lengths in order]
        yield Sweep(
            fixed,
            value,
            transfer.protocol,
            transfer.attack,
            transfer.eps,
            tuple(_level(audit, networks, transfer, place) for place in places),
            tuple(
                SweepCell(row, column, transfer.over(rows, columns))
                for row, rows in zip(order, places, strict=True)
                for column, columns in zip(order, places, strict=True)
            ),
        )


def _level(
    audit: TransferAudit, networks: Sequence[Coded], transfer: Transfer, places: Sequence[int]
) -> Level:
    found = [networks[place] for place in places]
    return Level(
        found[0].lengths,
        rates_of([(transfer.flip[k, k], transfer.evade[k, k]) for k in places]),
        _noise(audit, found, transfer.eps),
        Range.of([coded.network.accuracy for coded in found]),
    )


def _noise(audit: TransferAudit, networks: Sequence[Coded], eps: float) -> Rates:
    outcomes = [audit.noise_floor(coded.name, eps).outcome for coded in networks]
    return rates_of([(o.flip / o.n, o.evade / o.n) for o in outcomes])
