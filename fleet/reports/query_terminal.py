"""The query audit on a terminal: rich renderables; ``fleet.cli`` prints them."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fleet.audit.query.result import QueryAudit, QueryCurve, QueryMethod
from fleet.audit.statistics import mean_rate
from fleet.reports.flags import checks_with, verdict
from fleet.reports.terminal import checks_table, verdict_style
from fleet.reports.wording import (
    ABSENT,
    format_eps,
    format_interval,
    format_rate,
    visible,
)


def query_view(audit: QueryAudit) -> Group:
    """The whole audit for a terminal: a table for each eps, checks that did not pass, summary."""
    views: list[RenderableType] = [curve_table(audit, eps) for eps in audit.eps]
    if audit.fidelity:
        views.append(fidelity_table(audit))
    if checks_with(audit, "fail", "warn"):
        views.append(checks_table(audit, ("fail", "warn")))
    *lines, last = summary_lines(audit)
    style = verdict_style(verdict(audit)[0])
    return Group(*views, Text("\n").join([*map(Text, lines), Text(last, style=style)]))


def curve_table(audit: QueryAudit, eps: float) -> Table:
    """Evade rates against the queries on each image at one eps, the victim's white-box rate last.

    Of the budgets only 1, 10, 100 and so on and the largest are shown. ``median`` is the query with
    which half of the images have fallen.
    """
    table = Table(
        title=Text(f"evade rate by queries, eps {format_eps(eps)}", style="bold"),
        title_justify="left",
    )
    table.add_column("victim, method", overflow="fold", min_width=len("  transfer+queries"))
    every = sorted({p.queries for c in audit.curves if c.counted == "image" for p in c.points})
    budgets = [most for most in every if most in {1, 10, 100, 1000, 10_000, every[-1]}]
    for words in (*map(str, budgets), "95 %", "flip", "median", "n"):
        table.add_column(words, justify="right", no_wrap=True)
    for device in audit.devices:
        role = " (control)" if device.role == "control" else ""
        table.add_row(Text(visible(device.name) + role, style="bold"))
        for method in audit.methods:
            curve = audit.curve(device.name, eps, method)
            if curve.counted == "image":
                table.add_row(*_row(curve, budgets))
        own = audit.white_box_of(device.name, eps).outcome
        table.add_row(
            "  white-box",
            *[""] * (len(budgets) - 1),
            format_rate(own.rate("evade")),
            format_interval(own.interval("evade")),
            format_rate(own.rate("flip")),
            "",
            str(own.n),
            style="dim",
        )
        table.add_section()
    return table


def fidelity_table(audit: QueryAudit) -> Table:
    """Surrogates trained on answers: how alike they are, and what their images are worth."""
    table = Table(title=Text("extraction, queries in total", style="bold"), title_justify="left")
    table.add_column("victim", overflow="fold")
    for words in ("queries", "agrees", *(f"evade, eps {format_eps(eps)}" for eps in audit.eps)):
        table.add_column(words, justify="right")
    for found in audit.fidelity:
        rates = []
        for eps in audit.eps:
            points = audit.curve(found.victim, eps, "extraction").points
            outcome = next(p.outcome for p in points if p.queries == found.queries)
            rates.append(format_rate(outcome.rate("evade")))
        agrees = format_rate(found.agree / found.n)
        table.add_row(Text(visible(found.victim)), str(found.queries), agrees, *rates)
    return table


def summary_lines(audit: QueryAudit) -> list[str]:
    """The audit in plain lines: the best attacker at each eps, then how far to believe it."""
    lines = [_line(audit, eps, method) for eps in audit.eps for method in audit.methods]
    level, sentence = verdict(audit)
    return [*lines, sentence if level == "pass" else f"warning: {sentence}"]


def _row(curve: QueryCurve, budgets: list[int]) -> list[Text]:
    rates = {point.queries: point.outcome.rate("evade") for point in curve.points}
    last = curve.last.outcome
    figures = [
        f"  {curve.method}",
        *(format_rate(rates.get(budget)) for budget in budgets),
        format_interval(last.interval("evade")),
        format_rate(last.rate("flip")),
        ABSENT if curve.median_queries is None else str(curve.median_queries),
        str(curve.n),
    ]
    return [Text(figure) for figure in figures]


def _line(audit: QueryAudit, eps: float, method: QueryMethod) -> str:
    shipped = [device.name for device in audit.devices if device.role == "device"]
    curves = [audit.curve(name, eps, method) for name in shipped]
    rates = [curve.last.outcome.rate("evade") for curve in curves]
    known = [rate for rate in rates if rate is not None]
    if not known:
        return f"{method}, eps {format_eps(eps)}: no image is decoded correctly"
    spent = curves[0].last.queries
    words = "queries in total" if curves[0].counted == "total" else "queries on each image"
    return (
        f"{method}, eps {format_eps(eps)}, {spent} {words}: evade mean "
        f"{format_rate(mean_rate(rates))}, worst {format_rate(max(known))}"
    )
