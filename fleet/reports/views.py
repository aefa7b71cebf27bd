"""Audits of any kind on a terminal, and in plain lines; their checks."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from fleet.audit.core.kind import KINDS
from fleet.audit.core.result import AuditResult, Check, Verdict
from fleet.reports.flags import checks_with, verdict
from fleet.reports.kinds import AuditReport
from fleet.reports.report import report_of
from fleet.reports.tables import NAME, PROSE, STYLES, VERDICT, WORD, Column, Table


def report_view(report: AuditReport) -> RenderableType:
    """Every audit of a report for a terminal, one below the other."""
    if len(report.audits) == 1:
        return audit_view(*report.audits.values())
    views: list[RenderableType] = []
    for kind, audit in report.audits.items():
        views += [Text(f"{KINDS[kind].title} audit", style="bold reverse"), audit_view(audit), ""]
    return Group(*views[:-1])


def audit_view(audit: AuditResult) -> Group:
    """One audit for a terminal: tables, checks that did not pass, the summary last."""
    views = list(report_of(audit).terminal(audit))
    raised = [("", check) for check in checks_with(audit, "fail", "warn")]
    if raised:
        views.append(checks_table(raised, "reliability checks").terminal())
    return Group(*views, summary_text(audit))


def summary_text(audit: AuditResult) -> Text:
    """The lines of :func:`summary_lines`, the verdict in its colour."""
    *lines, last = summary_lines(audit)
    return Text("\n").join([*map(Text, lines), Text(last, style=STYLES[verdict(audit)[0]])])


def summary_lines(audit: AuditResult) -> list[str]:
    """One audit in plain lines: its figures, then how far they can be believed."""
    level, sentence = verdict(audit)
    last = sentence if level == "pass" else f"warning: {sentence}"
    return [*report_of(audit).lines(audit), last]


def checks_table(checks: Sequence[tuple[str, Check]], title: str) -> Table[tuple[str, Check]]:
    """Reliability checks, each with the kind of its audit."""
    return Table(
        title,
        checks,
        (
            Column(lambda found: f"{found[1].id} {found[1].title}", NAME, "check", "check"),
            Column(lambda found: found[0], WORD, "audit"),
            Column(lambda found: found[1].verdict, VERDICT, "verdict", "verdict"),
            Column(lambda found: found[1].subject or "all", WORD, "subject"),
            Column(lambda found: found[1].subject, NAME, terminal="of"),
            Column(lambda found: found[1].finding, PROSE, "finding", "finding"),
            Column(lambda found: found[1].threshold, PROSE, "rule"),
        ),
    )


def all_checks(report: AuditReport, *verdicts: Verdict) -> list[tuple[str, Check]]:
    """Checks of every audit that ended with one of ``verdicts``, in the order asked for."""
    return [
        (kind, check)
        for wanted in verdicts
        for kind, audit in report.audits.items()
        for check in checks_with(audit, wanted)
    ]
