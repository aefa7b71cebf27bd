"""Audits of any kind on a terminal, and in plain lines; their checks."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table as RichTable
from rich.text import Text

from fleet.audit.core.kind import KINDS
from fleet.audit.core.result import AuditResult, Check, Verdict
from fleet.reports.answers import EXPLAINED, Answers, answers
from fleet.reports.flags import blind_checks, blind_line, checks_with, verdict
from fleet.reports.large import TERMINAL_ROWS
from fleet.reports.report import AuditReport, report_of
from fleet.reports.tables import NAME, PROSE, STYLES, VERDICT, WORD, Column, Table


def report_view(
    report: AuditReport, *, full: bool = False, whole: AuditReport | None = None
) -> RenderableType:
    """The verdict of a report for a terminal, below it its audits.

    Args:
        report: Audits of a run.
        full: Show both protocols and every check that did not pass, not the summary and one
            matrix for each eps.
        whole: All audits of the run, of which the verdict is, where ``report`` has only some.
    """
    views: list[RenderableType] = [verdict_box(answers(whole or report))]
    for kind, audit in report.audits.items():
        if len(report.audits) > 1:
            views.append(Text(f"{KINDS[kind].title} audit", style="bold reverse"))
        views += [audit_view(audit, full=full), ""]
    return Group(*views[:-1])


def verdict_box(found: Answers) -> Panel:
    """The verdict in a box."""
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    grid.add_column(ratio=1)
    grid.add_column(ratio=3)
    for question, words in found.grouped.items():
        grid.add_row(Text(question, style="bold"), Text("\n".join(words)))
    style = STYLES[found.level] if found.level != "pass" else ""
    grid.add_row(Text("Can this be believed?", style="bold"), Text("\n".join(found.believe), style))
    below = [*map(Text, found.paper), Text(EXPLAINED, style="dim")]
    return Panel(Group(grid, *below), title="verdict", title_align="left")


def audit_view(audit: AuditResult, *, full: bool = True) -> Group:
    """One audit for a terminal: tables, checks that did not pass, the summary last.

    Not ``full``: no table of the paper's protocol beside the adaptive one, and only those checks
    that speak against the figures shown.
    """
    shown = report_of(audit)
    tables = shown.terminal if full or shown.short is None else shown.short
    views = list(tables(audit))
    folded = [] if full else blind_checks(audit)
    levels: tuple[Verdict, ...] = ("fail", "warn") if full else ("fail",)
    raised = [("", check) for check in checks_with(audit, *levels) if check not in folded]
    if raised:
        table, *_ = checks_table(raised, "reliability checks").fitted(TERMINAL_ROWS)
        views.append(table.terminal())
    return Group(*views, summary_text(audit, full=full))


def summary_text(audit: AuditResult, *, full: bool = True) -> Text:
    """The lines of :func:`summary_lines`, the verdict in its colour."""
    *lines, last = summary_lines(audit)
    if not full:
        lines = (report_of(audit).brief or report_of(audit).lines)(audit)
        warned = dict.fromkeys(check.id for check in checks_with(audit, "warn"))
        last += f" `fleet report --full` shows {', '.join(warned)}." if warned else ""
    return Text("\n").join([*map(Text, lines), Text(last, style=STYLES[verdict(audit)[0]])])


def summary_lines(audit: AuditResult) -> list[str]:
    """One audit in plain lines: its figures, then how far they can be believed."""
    level, sentence = verdict(audit)
    last = sentence if level == "pass" else f"warning: {sentence}"
    return [*report_of(audit).lines(audit), *_blind(audit), last]


def _blind(audit: AuditResult) -> list[str]:
    return [line] if (line := blind_line(audit)) else []


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
