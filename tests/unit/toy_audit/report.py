"""Report of the toy: ``fleet/reports/x.py`` of a real audit."""

from __future__ import annotations

from typing import Any

from fleet.audit.core.checks import flag
from fleet.audit.core.result import Outcome
from fleet.reports.ladder import rated
from fleet.reports.report import Figure, Report
from fleet.reports.tables import COUNT, Column, Table
from unit.toy_audit.audit import ToyAudit


def draw(audit: ToyAudit) -> Any:
    """A toy."""
    from matplotlib.figure import Figure as Drawing

    figure = Drawing()
    figure.text(0.5, 0.5, f"toy of {audit.run}")
    return figure


def found(audit: ToyAudit) -> Table[Outcome]:
    column = Column(lambda outcome: outcome.evade, COUNT, "evade", "evade", "evade")
    return Table("Toy found", [audit.outcome], (column,))


REPORT: Report[ToyAudit] = Report(
    heading="A toy",
    terminal=lambda audit: [found(audit).terminal()],
    lines=lambda audit: [f"toy found {audit.outcome.evade}"],
    page=lambda audit: [("banner", flag(audit)), ("figures",), ("described", found(audit))],
    tables={"toy.csv": found},
    figures=(Figure("toy-drawn", "unit.toy_audit.report:draw"),),
    rungs=lambda audit, eps: [rated("T1", "toy", [("a → b", audit.outcome)], flag(audit))],
)
