"""The transfer audit as one long table (CSV), for people who plot and for spreadsheets."""

from __future__ import annotations

import csv
import io
from typing import Any

from fleet.audit.kind import Audit
from fleet.audit.result import Cell, Matrix, Outcome, Protocol, TransferAudit
from fleet.reports.findings import lift
from fleet.reports.flags import flag
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
    return csv_text([_row(audit, m, cell) for m in audit.matrices for cell in m.cells])


def csv_text(table: list[Row]) -> str:
    """Write rows of the same columns below a header; no rows give an empty text."""
    stream = io.StringIO()
    if table:
        writer = csv.DictWriter(stream, fieldnames=list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    return stream.getvalue()


def _row(audit: TransferAudit, matrix: Matrix, cell: Cell) -> Row:
    floor = audit.noise_floor(cell.victim, matrix.eps)
    roles = {device.name: device.role for device in audit.devices}
    return {
        "protocol": matrix.protocol,
        "attack": plain(matrix.attack),
        "eps": matrix.eps,
        "surrogate": plain(cell.surrogate),
        "victim": plain(cell.victim),
        "surrogate_role": roles[cell.surrogate],
        "victim_role": roles[cell.victim],
        "white_box": int(cell.surrogate == cell.victim),
        **outcome_columns("", cell.outcome),
        **outcome_columns("joint_", cell.joint),
        **outcome_columns("given_success_", cell.given_success),
        **outcome_columns("noise_", floor.outcome),
        "noise_draws": floor.draws,
        "evade_lift": decimals(lift(audit, cell, matrix.eps)),
        "failed_checks": failed_checks(audit, matrix.protocol),
    }


def outcome_columns(prefix: str, outcome: Outcome) -> Row:
    """Counts, rates and Wilson 95 % bounds of one outcome."""
    row: Row = {f"{prefix}n": outcome.n}
    for kind in ("flip", "reject", "evade"):
        low, high = outcome.interval(kind)
        row[f"{prefix}{kind}"] = getattr(outcome, kind)
        row[f"{prefix}{kind}_rate"] = decimals(outcome.rate(kind))
        row[f"{prefix}{kind}_low"] = decimals(low)
        row[f"{prefix}{kind}_high"] = decimals(high)
    return row


def failed_checks(audit: Audit, protocol: Protocol | None = None) -> str:
    """Ids of the checks that flag figures, separated by blanks; empty if none does."""
    flagged = flag(audit, protocol)
    return " ".join(map(plain, flagged.ids)) if flagged else ""


def decimals(value: float | None) -> str:
    """A rate to six decimals; empty where there is none."""
    return "" if value is None else f"{value:.6f}"


def plain(name: str) -> str:
    """Keep a spreadsheet from running a name as a formula (OWASP, "CSV injection")."""
    return (
        f"'{visible(name)}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else visible(name)
    )
