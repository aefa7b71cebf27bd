"""What the page shows of a transfer audit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fleet.audit.result import Cell, Matrix, Outcome, TransferAudit
from fleet.audit.statistics import wilson_interval
from fleet.reports.findings import (
    Kind,
    controls,
    find,
    findings,
    lift,
    protocols,
    rows,
    worst_pairs,
)
from fleet.reports.flags import PROTOCOLS, Flag, flag
from fleet.reports.own_rates import MOST_PANELS
from fleet.reports.wording import format_eps, format_interval, format_lift, format_rate

_MOST_PAIRS = 20

Shown = tuple[float | None, list[str]]
"""A cell's rate and the lines of small print below it."""

Show = Callable[[Cell], Shown]


@dataclass(frozen=True)
class Grid:
    """One matrix as the page shows it.

    Attributes:
        title: What the cells count.
        matrix: Where they come from.
        flag: The protocol's flag, or None.
        cells: One row for each surrogate: each cell and what the page shows of it.
        whole: Whether to print the noise floor, the clean rates and n below the matrix.
    """

    title: str
    matrix: Matrix
    flag: Flag | None
    cells: list[list[tuple[Cell, Shown]]]
    whole: bool


def transfer_page(audit: TransferAudit) -> dict[str, Any]:
    """Values for ``transfer.html.jinja``; matrices only where they are small enough to read."""
    small = len(audit.devices) <= MOST_PANELS
    return {
        "controls": controls(audit),
        "flags": {protocol: flag(audit, protocol) for protocol in PROTOCOLS},
        "findings": findings(audit),
        "panels": [(eps, _panels(audit, eps)) for eps in audit.eps] if small else [],
        "worst": [] if small else [_worst(audit, eps, p) for eps, p in _audited(audit)],
        "attacks": [find(audit, matrix) for matrix in _single_attacks(audit)],
        "clean": [_clean(audit, index) for index in range(len(audit.devices))],
        "noise": [
            (
                floor.victim,
                format_eps(floor.eps),
                floor.draws,
                floor.outcome.n,
                *rate_and_interval(floor.outcome, "flip"),
                *rate_and_interval(floor.outcome, "reject"),
                *rate_and_interval(floor.outcome, "evade"),
            )
            for floor in audit.noise
        ],
    }


def rate_and_interval(outcome: Outcome, kind: Kind) -> tuple[str, str]:
    """A rate and its Wilson 95 % interval in words."""
    return format_rate(outcome.rate(kind)), format_interval(outcome.interval(kind))


def _audited(audit: TransferAudit) -> list[tuple[float, Any]]:
    return [(eps, protocol) for eps in audit.eps for protocol in protocols(audit, eps)]


def _worst(audit: TransferAudit, eps: float, protocol: Any) -> tuple[Grid, list[tuple[Any, ...]]]:
    matrix = audit.matrix(protocol, eps)
    lines = [
        (
            cell.surrogate,
            cell.victim,
            *rate_and_interval(cell.outcome, "evade"),
            format_rate(cell.outcome.rate("flip")),
            format_rate(cell.outcome.rate("reject")),
            cell.outcome.n,
            format_lift(lift(audit, cell, eps)),
        )
        for cell in worst_pairs(audit, matrix, top=_MOST_PAIRS)
    ]
    return Grid("evade", matrix, flag(audit, protocol), [], whole=False), lines


def _single_attacks(audit: TransferAudit) -> list[Matrix]:
    found = [matrix for matrix in audit.matrices if matrix.attack != "worst"]
    return sorted(found, key=lambda matrix: PROTOCOLS.index(matrix.protocol))


def _panels(audit: TransferAudit, eps: float) -> dict[str, list[Grid]]:
    """Matrices at one eps, by the part of the section that shows them."""
    kinds: dict[str, list[tuple[str, Show]]] = {
        "evade": [("evade (flip or reject)", _by_kind("evade"))],
        "split": [("flip", _by_kind("flip")), ("reject", _by_kind("reject"))],
        "joint": [
            (
                "evade, among images that surrogate and victim both decode correctly",
                lambda cell: _counted(cell.joint),
            ),
            (
                "evade, among those whose attack evades the surrogate",
                lambda cell: _counted(cell.given_success),
            ),
        ],
    }
    names = protocols(audit, eps)
    return {
        section: [
            _grid(audit, audit.matrix(name, eps), title, show, whole=section == "evade")
            for title, show in shown
            for name in names
        ]
        for section, shown in kinds.items()
    }


def _grid(audit: TransferAudit, matrix: Matrix, title: str, show: Show, *, whole: bool) -> Grid:
    cells = [[(cell, show(cell)) for cell in row] for row in rows(audit, matrix)]
    return Grid(title, matrix, flag(audit, matrix.protocol), cells, whole)


def _by_kind(kind: Kind) -> Show:
    def show(cell: Cell) -> Shown:
        outcome = cell.outcome
        return outcome.rate(kind), [format_interval(outcome.interval(kind))]

    return show


def _counted(outcome: Outcome) -> Shown:
    """Here n differs from cell to cell, and a rate over few images says little."""
    interval = format_interval(outcome.interval("evade"))
    return outcome.rate("evade"), [f"{outcome.evade} of {outcome.n}", interval]


def _clean(audit: TransferAudit, index: int) -> tuple[Any, ...]:
    device = audit.devices[index]
    return (
        device.name,
        device.images,
        device.correct,
        format_rate(device.clean_accuracy),
        format_interval(wilson_interval(device.correct, device.images)),
        device.rejected,
        format_rate(device.clean_reject_rate),
        format_interval(wilson_interval(device.rejected, device.images)),
    )
