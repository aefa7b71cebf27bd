"""The report of a transfer audit."""

from __future__ import annotations

from collections.abc import Iterable

from fleet.audit.result import Cell, Outcome, TransferAudit
from fleet.reports.csv_table import render_csv
from fleet.reports.findings import fleet_cells, nobody_cells, summary_lines
from fleet.reports.flags import audited_protocols, flag
from fleet.reports.ladder import Rung, absent, noise_rung, rated
from fleet.reports.page_transfer import transfer_page
from fleet.reports.report import Figure, Report
from fleet.reports.terminal import audit_view
from fleet.reports.wording import visible


def rungs(audit: TransferAudit, eps: float) -> list[Rung]:
    """The noise floor, and attackers with nobody's device, with one, and with the victim."""
    if eps not in audit.eps:
        return [absent(level) for level in ("T0", "T1", "T4")]
    found = [noise_rung("transfer", audit, eps)]
    if "adaptive" not in audited_protocols(audit):
        return [*found, Rung("T0", gap="no control was audited")]
    matrix = audit.matrix("adaptive", eps)
    fleet = {device.name for device in audit.devices if device.role == "device"}
    own = [c for c in matrix.cells if c.surrogate == c.victim and c.victim in fleet]
    flagged = flag(audit, "adaptive")
    for level, cells, gap in (
        ("T0", nobody_cells(audit, matrix), "no control was audited"),
        ("T1", fleet_cells(audit, matrix), "the fleet has one device"),
    ):
        gone = Rung(level, gap=gap)
        found.append(rated(level, "transfer", _pairs(cells), flagged) if cells else gone)
    return [*found, rated("T4", "transfer", [(c.victim, c.outcome) for c in own], flagged)]


def _pairs(cells: Iterable[Cell]) -> list[tuple[str, Outcome]]:
    return [(f"{visible(c.surrogate)} → {visible(c.victim)}", c.outcome) for c in cells]


REPORT = Report(
    view=audit_view,
    summary=summary_lines,
    page=transfer_page,
    template="transfer.html.jinja",
    tables={"transfer.csv": render_csv},
    figures=(
        Figure(
            "transfer",
            "fleet.reports.heatmap_figure:draw",
            "Heatmaps of the evade rate, surrogates as rows and victims as columns, with each "
            "device's order of classes on the axes. The same figures stand in the tables below.",
        ),
    ),
    rungs=rungs,
)
