"""Audits of any kind on a terminal, and in plain lines."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from fleet.audit.coalition.result import CoalitionAudit
from fleet.audit.query.result import QueryAudit
from fleet.audit.result import TransferAudit
from fleet.audit.whitebox.result import WhiteboxAudit
from fleet.reports import (
    coalition_terminal,
    findings,
    query_terminal,
    terminal,
    trace_terminal,
    whitebox_terminal,
)
from fleet.reports.kinds import TITLES, Audit, AuditReport


def report_view(report: AuditReport) -> RenderableType:
    """Every audit of a report for a terminal, one below the other."""
    if len(report.audits) == 1:
        return audit_view(*report.audits.values())
    views: list[RenderableType] = []
    for kind, audit in report.audits.items():
        views += [Text(f"{TITLES[kind]} audit", style="bold reverse"), audit_view(audit), ""]
    return Group(*views[:-1])


def audit_view(audit: Audit) -> RenderableType:
    """One audit for a terminal."""
    if isinstance(audit, WhiteboxAudit):
        return whitebox_terminal.whitebox_view(audit)
    if isinstance(audit, TransferAudit):
        return terminal.audit_view(audit)
    if isinstance(audit, CoalitionAudit):
        return coalition_terminal.coalition_view(audit)
    if isinstance(audit, QueryAudit):
        return query_terminal.query_view(audit)
    return trace_terminal.trace_view(audit)


def summary_lines(audit: Audit) -> list[str]:
    """One audit in plain lines: its figures, then how far they can be believed."""
    if isinstance(audit, WhiteboxAudit):
        return whitebox_terminal.summary_lines(audit)
    if isinstance(audit, TransferAudit):
        return findings.summary_lines(audit)
    if isinstance(audit, CoalitionAudit):
        return coalition_terminal.summary_lines(audit)
    if isinstance(audit, QueryAudit):
        return query_terminal.summary_lines(audit)
    return trace_terminal.summary_lines(audit)
