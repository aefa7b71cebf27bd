"""The coalition audit on a terminal: rich renderables; ``fleet.cli`` prints them."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fleet.audit.coalition.result import CoalitionAudit, CurvePoint
from fleet.audit.result import Check
from fleet.reports.wording import ABSENT, format_eps, format_interval, format_rate, visible

_STYLES = {"fail": "bold red", "warn": "bold yellow", "pass": "green"}


def coalition_view(audit: CoalitionAudit) -> Group:
    """The whole audit for a terminal: curves, devices, checks that did not pass, the summary."""
    views: list[RenderableType] = []
    for eps in audit.eps:
        views += [curve_table(audit, eps), device_table(audit, eps)]
    if any(check.verdict != "pass" for check in audit.checks):
        views.append(coalition_checks_table(audit))
    return Group(*views, Text("\n".join(summary_lines(audit))))


def curve_table(audit: CoalitionAudit, eps: float) -> Table:
    """The collusion curve of the headline attack at one eps, one line for each choice and size.

    ``others`` is the share of the devices that are not owned, with its interval and the part of it
    that flips; ``fleet`` counts the owned devices too. The line of size 0 attacks the controls.
    """
    words = f"{audit.headline} attack, eps {format_eps(eps)}: who falls"
    table = Table(title=Text(words, style="bold"), title_justify="left")
    for title in ("owned", "coalitions"):
        table.add_column(title, no_wrap=True)
    for title in ("others", "95 %", "flip", "owned fall", "fleet"):
        table.add_column(title, justify="right", no_wrap=True)
    for point in _points(audit, eps):
        table.add_row(*_line(point))
    return table


def device_table(audit: CoalitionAudit, eps: float) -> Table:
    """Each device at one eps: what losing it costs the others, and how easily it falls."""
    table = Table(title=Text(f"devices, eps {format_eps(eps)}", style="bold"), title_justify="left")
    table.add_column("device", overflow="fold")
    for title in ("blast radius", "95 %", "exposure", "95 %", "noise floor"):
        table.add_column(title, justify="right", no_wrap=True)
    strongest = audit.strongest(audit.headline, eps).device
    weakest = audit.weakest(audit.headline, eps).device
    for risk in audit.risks_of(audit.headline, eps):
        table.add_row(
            Text(visible(risk.device)),
            Text(format_rate(risk.blast_radius), style="bold" * (risk.device == strongest)),
            format_interval((risk.blast_low, risk.blast_high)),
            Text(format_rate(risk.exposure), style="bold" * (risk.device == weakest)),
            format_interval((risk.exposure_low, risk.exposure_high)),
            format_rate(audit.noise_floor(risk.device, eps).outcome.rate("evade")),
        )
    return table


def coalition_checks_table(audit: CoalitionAudit) -> Table:
    """Checks that failed or warned."""
    table = Table(title=Text("reliability checks", style="bold"), title_justify="left")
    table.add_column("check", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    table.add_column("finding", overflow="fold")
    for check in _found(audit):
        subject = f" ({check.subject})" if check.subject else ""
        table.add_row(
            Text(visible(f"{check.id} {check.title}{subject}")),
            Text(check.verdict.upper(), style=_STYLES[check.verdict]),
            Text(visible(check.finding)),
        )
    return table


def summary_lines(audit: CoalitionAudit) -> list[str]:
    """What an operator should remember: for each eps one line, then the checks."""
    lines = [_sentence(audit, eps) for eps in audit.eps]
    failed = sorted({check.id for check in audit.checks if check.verdict == "fail"})
    passed = sum(check.verdict == "pass" for check in audit.checks)
    verdict = f"FAILED: {', '.join(failed)}" if failed else "none failed"
    lines.append(f"checks: {passed} of {len(audit.checks)} passed; {verdict}")
    return lines


def _sentence(audit: CoalitionAudit, eps: float) -> str:
    headline, fleet = audit.headline, len(audit.fleet)
    half = next(h for h in audit.half if (h.attack, h.eps, h.choice) == (headline, eps, "random"))
    effective = next(e for e in audit.effective if (e.attack, e.eps) == (headline, eps))
    strongest, weakest = audit.strongest(headline, eps), audit.weakest(headline, eps)
    reached = (
        f"half of the rest falls with {half.size} owned"
        if half.size is not None
        else ("no audited coalition brings down half of the rest")
    )
    worth = "" if effective.size is None else f"; {fleet} devices are worth {effective.size:.1f}"
    return (
        f"eps {format_eps(eps)}: {reached}; worst to lose: {visible(strongest.device)} "
        f"({format_rate(strongest.blast_radius)} of the others); falls most: "
        f"{visible(weakest.device)} ({format_rate(weakest.exposure)}){worth}"
    )


def _points(audit: CoalitionAudit, eps: float) -> list[CurvePoint]:
    return [p for p in audit.curve if (p.attack, p.eps) == (audit.headline, eps)]


def _line(point: CurvePoint) -> tuple[str, ...]:
    drawn = "greedy" if point.choice == "greedy" else f"{point.coalitions} {point.choice}"
    return (
        str(point.size),
        f"all {point.coalitions}" if point.exhaustive and point.size else drawn,
        format_rate(point.share),
        format_interval((point.low, point.high)),
        format_rate(point.flip_share),
        ABSENT if point.owned_share is None else format_rate(point.owned_share),
        format_rate(point.whole_share),
    )


def _found(audit: CoalitionAudit) -> list[Check]:
    order = {"fail": 0, "warn": 1}
    found = [check for check in audit.checks if check.verdict in order]
    return sorted(found, key=lambda check: order[check.verdict])
