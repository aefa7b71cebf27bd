"""The audit as one long table (CSV), for people who plot and for spreadsheets."""

from __future__ import annotations

import csv
import io
from typing import Any

from fleet.audit.result import Cell, Matrix, Outcome, TransferAudit
from fleet.reports.findings import flag, lift
from fleet.reports.wording import visible

Row = dict[str, Any]


def render_csv(audit: TransferAudit) -> str:
    """Write every cell of every matrix as one row.

    Counts are integers; rates and Wilson 95 % bounds are shares of [0, 1] to six decimals, and a
    rate over no examples is empty. ``joint_*`` is over the images that surrogate and victim both
    decode correctly, ``given_success_*`` over those of them whose attack evades the surrogate.
    ``evade_lift`` is ``evade_rate`` less ``noise_evade_rate``. ``failed_checks`` holds the
    reliability checks that make the row's protocol unfit to be read as safety.

    Returns:
        Text with a header row; lines end with a single line feed.
    """
    table = [_row(audit, matrix, cell) for matrix in audit.matrices for cell in matrix.cells]
    stream = io.StringIO()
    if table:
        writer = csv.DictWriter(stream, fieldnames=list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    return stream.getvalue()


def _row(audit: TransferAudit, matrix: Matrix, cell: Cell) -> Row:
    floor = audit.noise_floor(cell.victim, matrix.eps)
    flagged = flag(audit, matrix.protocol)
    return {
        "protocol": matrix.protocol,
        "attack": _text(matrix.attack),
        "eps": matrix.eps,
        "surrogate": _text(cell.surrogate),
        "victim": _text(cell.victim),
        "white_box": int(cell.surrogate == cell.victim),
        **_outcome("", cell.outcome),
        **_outcome("joint_", cell.joint),
        **_outcome("given_success_", cell.given_success),
        **_outcome("noise_", floor.outcome),
        "noise_draws": floor.draws,
        "evade_lift": _decimals(lift(audit, cell, matrix.eps)),
        "failed_checks": " ".join(map(_text, flagged.ids)) if flagged else "",
    }


def _outcome(prefix: str, outcome: Outcome) -> Row:
    row: Row = {f"{prefix}n": outcome.n}
    for kind in ("flip", "reject", "evade"):
        low, high = outcome.interval(kind)
        row[f"{prefix}{kind}"] = getattr(outcome, kind)
        row[f"{prefix}{kind}_rate"] = _decimals(outcome.rate(kind))
        row[f"{prefix}{kind}_low"] = _decimals(low)
        row[f"{prefix}{kind}_high"] = _decimals(high)
    return row


def _decimals(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _text(name: str) -> str:
    """Keep a spreadsheet from running a name as a formula (OWASP, "CSV injection")."""
    return (
        f"'{visible(name)}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else visible(name)
    )
