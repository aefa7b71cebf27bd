"""Audits of any kind on a terminal, and in plain lines."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from fleet.audit.kind import KINDS, Audit
from fleet.reports.kinds import AuditReport
from fleet.reports.report import report_of


def report_view(report: AuditReport) -> RenderableType:
    """Every audit of a report for a terminal, one below the other."""
    if len(report.audits) == 1:
        return audit_view(*report.audits.values())
    views: list[RenderableType] = []
    for kind, audit in report.audits.items():
        views += [Text(f"{KINDS[kind].title} audit", style="bold reverse"), audit_view(audit), ""]
    return Group(*views[:-1])


def audit_view(audit: Audit) -> RenderableType:
    """One audit for a terminal."""
    return report_of(audit).view(audit)


def summary_lines(audit: Audit) -> list[str]:
    """One audit in plain lines: its figures, then how far they can be believed."""
    return report_of(audit).summary(audit)
