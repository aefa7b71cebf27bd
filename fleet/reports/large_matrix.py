"""Tables in the place of a matrix that is too large to show: distributions, and single devices."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fleet.audit.core import result
from fleet.audit.transfer.result import TransferAudit
from fleet.reports import wording
from fleet.reports.findings import protocols
from fleet.reports.rate_map import RateMap, order_by_likeness
from fleet.reports.tables import COUNT, EPS, NAME, RATE, Column, Spread, Table


@dataclass(frozen=True)
class End:
    """One device of a large fleet as one end of its pairs with the others.

    Attributes:
        device: Its name.
        part: ``surrogate`` or ``victim``.
        protocol: Of the matrix.
        eps: Of the matrix, pixel units.
        spread: Of the rates of its pairs.
        other: The other device of the pair with the highest rate.
    """

    device: str
    part: str
    protocol: str
    eps: float
    spread: Spread
    other: str


def ends(audit: TransferAudit) -> Table[End]:
    """Each device as surrogate and as victim, instead of N x N cells."""

    def quantile(place: int) -> Callable[[End], float]:
        return lambda end: end.spread.quantiles[place]

    return Table(
        "Each device as one end of its pairs with the others: evade rate, worst case over the "
        "attacks",
        [end for matrix in worst_cases(audit) for end in _ends(audit, matrix)],
        (
            Column(lambda e: e.device, NAME, "device", csv="device"),
            Column(lambda e: e.part, NAME, "as", csv="as"),
            Column(lambda e: e.protocol, NAME, "protocol", csv="protocol"),
            Column(lambda e: e.eps, EPS, "eps", csv="eps"),
            Column(lambda e: e.spread.n, COUNT, "pairs", csv="pairs"),
            Column(quantile(0), RATE, "lowest", csv="lowest"),
            Column(quantile(2), RATE, "median", csv="median"),
            Column(quantile(5), RATE, "highest", csv="highest"),
            Column(lambda e: e.other, NAME, "highest with", csv="highest_with"),
        ),
        worst=lambda end: end.spread.quantiles[-1],
    )


def worst_cases(audit: TransferAudit) -> list[result.Matrix]:
    """The worst case over the attacks, for each eps and protocol."""
    return [audit.matrix(name, eps) for eps in audit.eps for name in protocols(audit, eps)]


def _ends(audit: TransferAudit, matrix: result.Matrix) -> Iterator[End]:
    fleet = set(audit.fleet)
    names = [name for name in RateMap.of(matrix).names if name in fleet]
    rates = RateMap.of(matrix).between(fleet)
    for part, lines in (("surrogate", rates), ("victim", rates.T)):
        for name, line in zip(names, lines, strict=True):
            if not np.isnan(line).all():
                other = names[int(np.nanargmax(line))]
                found = Spread.over("evade", name, line)
                yield End(name, part, matrix.protocol, matrix.eps, found, other)


def distribution(audit: TransferAudit, matrices: Sequence[result.Matrix]) -> Table[Spread]:
    """How the transfer rates between devices of the fleet are distributed."""
    fleet = set(audit.fleet)
    found = [
        Spread.over("evade", f"{m.protocol} protocol, eps {wording.format_eps(m.eps)}", rates)
        for m in matrices
        if not np.isnan(rates := RateMap.of(m).between(fleet)).all()
    ]
    return Spread.table("Transfer between all pairs of devices of the fleet", found)


def guide(audit: TransferAudit) -> result.Matrix:
    """The matrix that gives the maps their order: largest eps of what can be believed most."""
    first, *_ = matrices = worst_cases(audit)
    return [matrix for matrix in matrices if matrix.protocol == first.protocol][-1]


def ordered(audit: TransferAudit) -> list[str]:
    """Devices of the fleet in the order of the maps: by likeness of their transfer rates."""
    found = RateMap.of(guide(audit))
    names = [name for name in found.names if name in set(audit.fleet)]
    return [names[place] for place in order_by_likeness(found.between(set(audit.fleet)))]
