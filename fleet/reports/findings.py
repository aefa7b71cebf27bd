"""What a transfer audit says in words: its matrices boiled down to a few figures.

Everything here is plain values; terminal, HTML and figures only set them in type. A control (a
network that is shipped to nobody) never counts as a device of the fleet: it has figures of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fleet.audit.core.result import AuditedDevice, Cell, Matrix, Protocol, mean_rate
from fleet.audit.transfer.result import TransferAudit
from fleet.reports.flags import PROTOCOLS
from fleet.reports.wording import Success


@dataclass(frozen=True)
class Finding:
    """One matrix in a few figures: of the fleet, and in the last two of the controls.

    Attributes:
        protocol: Of the matrix.
        attack: Of the matrix.
        eps: Of the matrix, pixel units.
        worst: Off-diagonal cell of the highest rate, the first of equals; None with one device.
        mean: Mean rate off the diagonal, each pair counted once; None with one device.
        white_box: Lowest and highest rate on the diagonal.
        noise: Noise floor of the victim of ``worst``.
        nobody: Mean rate of the devices under images made on the controls, what an attacker
            without any device gets; None without a control.
        baseline: Lowest and highest white-box rate of the controls, the undefended networks.
    """

    protocol: Protocol
    attack: str
    eps: float
    worst: Cell | None
    mean: float | None
    white_box: tuple[float, float] | None
    noise: float | None
    nobody: float | None
    baseline: tuple[float, float] | None


def controls(audit: TransferAudit) -> tuple[AuditedDevice, ...]:
    """The networks that are shipped to nobody; they stand last in every matrix."""
    return tuple(device for device in audit.devices if device.role == "control")


def protocols(audit: TransferAudit, eps: float) -> tuple[Protocol, ...]:
    """Protocols that were audited at ``eps``, in the order of :data:`PROTOCOLS`."""
    present = {m.protocol for m in audit.matrices if (m.attack, m.eps) == ("worst", eps)}
    return tuple(protocol for protocol in PROTOCOLS if protocol in present)


def rows(audit: TransferAudit, matrix: Matrix) -> list[list[Cell]]:
    """Cells of a matrix as rows of surrogates, in device order."""
    found = {(cell.surrogate, cell.victim): cell for cell in matrix.cells}
    names = [device.name for device in audit.devices]
    return [[found[surrogate, victim] for victim in names] for surrogate in names]


def fleet_cells(audit: TransferAudit, matrix: Matrix) -> list[Cell]:
    """Cells between devices of the fleet, the diagonal left out."""
    outside = {device.name for device in controls(audit)}
    return [
        cell
        for cell in matrix.cells
        if cell.surrogate != cell.victim and not outside & {cell.surrogate, cell.victim}
    ]


def nobody_cells(audit: TransferAudit, matrix: Matrix) -> list[Cell]:
    """Cells from a control to a device of the fleet."""
    outside = {device.name for device in controls(audit)}
    return [c for c in matrix.cells if c.surrogate in outside and c.victim not in outside]


def lift(audit: TransferAudit, cell: Cell, eps: float, success: Success = "evade") -> float | None:
    """Rate of a cell less the noise floor of its victim; None where either is undefined."""
    rate = cell.outcome.rate(success)
    noise = _noise(audit, cell, eps, success)
    return None if rate is None or noise is None else rate - noise


def worst_pairs(
    audit: TransferAudit, matrix: Matrix, success: Success = "evade", top: int = 10
) -> list[Cell]:
    """The ``top`` cells between devices of the highest rate; equals stay in matrix order."""
    return worst_first(fleet_cells(audit, matrix), success)[:top]


def worst_first(cells: Iterable[Cell], success: Success = "evade") -> list[Cell]:
    """Cells by rate, highest first; those without a rate are left out."""
    rated = [(cell.outcome.rate(success), cell) for cell in cells]
    known = [(rate, cell) for rate, cell in rated if rate is not None]
    return [cell for _, cell in sorted(known, key=lambda pair: -pair[0])]


def find(audit: TransferAudit, matrix: Matrix, success: Success = "evade") -> Finding:
    """Boil a matrix down to a :class:`Finding`."""
    outside = {device.name for device in controls(audit)}
    diagonal = [cell for cell in matrix.cells if cell.surrogate == cell.victim]
    worst = next(iter(worst_pairs(audit, matrix, success, top=1)), None)
    return Finding(
        protocol=matrix.protocol,
        attack=matrix.attack,
        eps=matrix.eps,
        worst=worst,
        mean=mean_rate(cell.outcome.rate(success) for cell in fleet_cells(audit, matrix)),
        white_box=_extent((c for c in diagonal if c.victim not in outside), success),
        noise=None if worst is None else _noise(audit, worst, matrix.eps, success),
        nobody=mean_rate(cell.outcome.rate(success) for cell in nobody_cells(audit, matrix)),
        baseline=_extent((c for c in diagonal if c.victim in outside), success),
    )


def findings(audit: TransferAudit) -> list[Finding]:
    """One finding for each eps and protocol: the worst case over the protocol's attacks."""
    return [
        find(audit, audit.matrix(protocol, eps))
        for eps in audit.eps
        for protocol in protocols(audit, eps)
    ]


def _noise(audit: TransferAudit, cell: Cell, eps: float, success: Success) -> float | None:
    return audit.noise_floor(cell.victim, eps).outcome.rate(success)


def _extent(cells: Iterable[Cell], success: Success) -> tuple[float, float] | None:
    rates = [rate for cell in cells if (rate := cell.outcome.rate(success)) is not None]
    return (min(rates), max(rates)) if rates else None
