"""The report of a query audit."""

from __future__ import annotations

from fleet.audit.query.result import QueryAudit
from fleet.audit.result import Outcome
from fleet.reports.csv_audits import query_csv
from fleet.reports.flags import flag
from fleet.reports.ladder import Rung, absent, rated
from fleet.reports.page_query import query_page
from fleet.reports.query_terminal import query_view, summary_lines
from fleet.reports.report import Figure, Report
from fleet.reports.wording import visible


def rungs(audit: QueryAudit, eps: float) -> list[Rung]:
    """Attackers who ask the victim: without a device, and with several."""
    if eps not in audit.eps:
        return [absent("T0+q"), absent("T3")]
    return [_asking(audit, eps, "T0+q"), _asking(audit, eps, "T3")]


def _asking(audit: QueryAudit, eps: float, level: str) -> Rung:
    owning = level == "T3"
    methods = [m for m in audit.methods if m != "noise" and (m == "transfer+queries") == owning]
    if not methods:
        return Rung(level, gap="no such method was audited")
    best: list[tuple[str, Outcome]] = []
    for device in audit.devices:
        if device.role == "device":
            curves = [audit.curve(device.name, eps, method) for method in methods]
            curve = max(curves, key=lambda found: found.last.outcome.rate("evade") or 0.0)
            total = " in total" if curve.counted == "total" else ""
            budget = f"{curve.last.queries} queries{total}"
            label = f"{curve.method}, {budget} → {visible(device.name)}"
            best.append((label, curve.last.outcome))
    return rated(level, "query", best, flag(audit))


REPORT = Report(
    view=query_view,
    summary=summary_lines,
    page=query_page,
    template="query.html.jinja",
    tables={"query.csv": query_csv},
    figures=(
        Figure(
            "query",
            "fleet.reports.query_figure:draw",
            "Line charts, one for each victim and eps: evade rate against the number of queries, "
            "one line for each method. The figures at the largest budget stand in the query table.",
        ),
    ),
    rungs=rungs,
)
