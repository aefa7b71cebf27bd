"""The trace audit on a terminal: rich renderables; ``fleet.cli`` prints them."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fleet.audit.trace.result import TraceAudit, TraceRate, Tracing
from fleet.reports.flags import checks_with, verdict
from fleet.reports.terminal import checks_table, verdict_style
from fleet.reports.wording import (
    format_count,
    format_eps,
    format_interval,
    format_rate,
    visible,
)

CAVEAT = (
    "Figures hold for naive attackers and for the one hiding attacker tried here; an attacker who "
    "optimises against the scores, or who attacks several devices at once, is not covered."
)


def trace_view(audit: TraceAudit) -> Group:
    """The whole audit for a terminal: a table for each eps, checks that did not pass, summary."""
    views: list[RenderableType] = [rate_table(audit, eps) for eps in audit.eps]
    if checks_with(audit, "fail", "warn"):
        views.append(checks_table(audit, ("fail", "warn")))
    *lines, last = summary_lines(audit)
    style = verdict_style(verdict(audit)[0])
    return Group(*views, Text("\n").join([*map(Text, lines), Text(last, style=style)]))


def rate_table(audit: TraceAudit, eps: float) -> Table:
    """Top-1, and what the threshold leaves of it, at one eps.

    ``accused``: share of the evidence that names its source above the threshold. ``wrongly``:
    share that names another device above it. ``outsiders``: share of outsiders' evidence that
    accuses anybody.
    """
    rates = [rate for rate in audit.rates if rate.eps == eps]
    title = f"tracing, eps {format_eps(eps)}, guessing {format_rate(rates[0].chance)}"
    table = Table(title=Text(title, style="bold"), title_justify="left")
    for words in ("attacker", "score"):
        table.add_column(words, no_wrap=True)
    for words in ("images", "top-1", "95 %", "n", "accused", "wrongly", "outsiders"):
        table.add_column(words, justify="right", no_wrap=True)
    for rate in rates:
        table.add_row(*_row(rate))
    return table


def tracing_view(tracing: Tracing) -> Group:
    """Images of unknown origin: all suspects, then the answer."""
    words = f"{format_count(tracing.images, 'image')}, up to {tracing.distance:.4g} changed"
    table = Table(title=Text(words, style="bold"), title_justify="left")
    table.add_column("device", overflow="fold")
    for title in ("combined", "deviation", "alignment", "votes"):
        table.add_column(title, justify="right")
    for suspect in tracing.ranking:
        scores = (suspect.combined, suspect.deviation, suspect.alignment)
        table.add_row(
            Text(visible(suspect.name)), *(f"{score:+.2f}" for score in scores), str(suspect.votes)
        )
    best = tracing.ranking[0]
    answer = f"Made on {visible(best.name)}"
    if tracing.named is None:
        answer = f"Made on none of ours; likeliest is {visible(best.name)}"
    facts = f"score {best.combined:+.2f}, threshold {tracing.threshold:+.2f}"
    return Group(table, Text(f"{answer} ({facts})."))


def summary_lines(audit: TraceAudit) -> list[str]:
    """The audit in plain lines: single images, what hiding costs, how far to believe them."""
    lines = []
    for eps in audit.eps:
        rate = audit.rate(eps, "combined")
        accused, outsiders = rate.false_positives
        lines.append(
            f"eps {format_eps(eps)}: one image names its device in {format_rate(rate.top1)} "
            f"(95 % {format_interval(rate.top1_interval)}, n {rate.n}, guessing "
            f"{format_rate(rate.chance)}); {accused} of {outsiders} outsiders' images accuse one"
        )
        naive, hiding = (
            next(p for p in audit.prices if (p.eps, p.attacker) == (eps, attacker))
            for attacker in ("naive", "hiding")
        )
        hidden = audit.rate(eps, "combined", attacker="hiding")
        lines.append(
            f"eps {format_eps(eps)}: who hides is named in {format_rate(hidden.top1)}, and his "
            f"images evade {format_rate(hiding.transfers / max(hiding.pairs, 1))} of the other "
            f"devices instead of {format_rate(naive.transfers / max(naive.pairs, 1))}"
        )
    level, sentence = verdict(audit)
    return [*lines, CAVEAT, sentence if level == "pass" else f"warning: {sentence}"]


def _row(rate: TraceRate) -> list[str]:
    accused, outsiders = rate.false_positives
    return [
        rate.attacker,
        rate.score,
        str(rate.evidence),
        format_rate(rate.top1),
        format_interval(rate.top1_interval),
        str(rate.n),
        format_rate(rate.convicted / rate.n if rate.n else None),
        format_rate(rate.wrongly_accused / rate.n if rate.n else None),
        format_rate(accused / outsiders if outsiders else None),
    ]
