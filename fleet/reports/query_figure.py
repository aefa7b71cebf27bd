"""Draws what an attacker without the victim's weights reaches by asking it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fleet.audit.query.result import QueryAudit, QueryCurve, QueryMethod
from fleet.reports import drawing
from fleet.reports.flags import flag
from fleet.reports.palette import ADAPTIVE, FLIP, GREEDY, INK, MASKED, PURPLE
from fleet.reports.query import hardest_hit
from fleet.reports.wording import short_eps

_COLUMNS = 4
_MOST_VICTIMS = 8
_LOOKS: dict[QueryMethod, tuple[str, str, str]] = {
    "noise": (MASKED, ":", "x"),
    "square": (ADAPTIVE, "-", "o"),
    "decision": (FLIP, "--", "s"),
    "extraction": (PURPLE, "-.", "^"),
    "transfer+queries": (GREEDY, "-", "D"),
}
_COUNTED = {"image": "queries on each image", "total": "queries in total"}


@dataclass(frozen=True)
class _Panel:
    title: str
    counted: str
    curves: tuple[QueryCurve, ...]
    ceiling: float | None


def draw(audit: QueryAudit) -> Figure:
    """Line charts, one for each victim and eps: evade rate against the number of queries.

    One line for each method; the victims hit hardest where there are many. The figures at the
    largest budget stand in the query table.
    """
    shown = _panels(audit)
    methods = [method for method in _LOOKS if method in audit.methods]
    figure, axes = drawing.panels(
        len(shown), columns=_COLUMNS, size=(1.95, 1.6), top=1.75, gap=(0.35, 1.0)
    )
    notes = ["Evade rate among the images that the victim decodes correctly; band: 95 %."]
    if len(audit.devices) > _MOST_VICTIMS:
        notes = [f"{notes[0]} The {_MOST_VICTIMS} of {len(audit.devices)} victims hit hardest."]
    drawing.head(figure, "Queries: what asking the victim gives", notes)
    drawing.legend(figure, _legend(methods), 0.7, columns=3)
    drawing.failed(figure, flag(audit), 1.4)
    for number, (axis, panel) in enumerate(zip(axes, shown, strict=True)):
        axis.set_title(panel.title)
        _draw_panel(axis, panel)
        drawing.rate_axis(axis, labelled=number % _COLUMNS == 0, label="evade")
        axis.set_xlabel(_COUNTED[panel.counted])
    return figure


def _draw_panel(axes: Axes, panel: _Panel) -> None:
    axes.set_xscale("log")
    for curve in panel.curves:
        color, style, marker = _LOOKS[curve.method]
        budgets = [point.queries for point in curve.points]
        bounds = [point.outcome.interval("evade") for point in curve.points]
        rates = [point.outcome.rate("evade") or 0.0 for point in curve.points]
        lows, highs = zip(*bounds, strict=True)
        if len(budgets) > 1:
            axes.fill_between(budgets, lows, highs, color=color, alpha=0.15, lw=0)
        else:
            axes.vlines(budgets, lows, highs, color=color, lw=1)
        axes.plot(budgets, rates, color=color, ls=style, marker=marker, ms=3.5, lw=1.5)
    if panel.ceiling is not None:
        axes.axhline(panel.ceiling, color=INK, lw=1, ls=(0, (6, 2)))
    _decades(axes, [point.queries for curve in panel.curves for point in curve.points])


def _decades(axes: Axes, budgets: Sequence[int]) -> None:
    low, high = min(budgets), max(budgets)
    axes.set_xlim(low / 1.3, high * 1.3)
    powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    ticks = [10**power for power in powers]
    ticks = ticks if len(ticks) > 1 else sorted({low, high})
    axes.set_xticks(ticks, [f"{tick:,}".replace(",", " ") for tick in ticks])
    axes.set_xticks([], minor=True)


def _panels(audit: QueryAudit) -> list[_Panel]:
    found = []
    for eps in audit.eps:
        for victim in (device.name for device in hardest_hit(audit, eps, _MOST_VICTIMS)):
            for counted in _COUNTED:
                curves = tuple(
                    curve
                    for curve in audit.curves
                    if (curve.victim, curve.eps, curve.counted) == (victim, eps, counted)
                )
                if curves:
                    title = f"{drawing.drawable(victim, 16)}, eps {short_eps(eps)}"
                    ceiling = audit.white_box_of(victim, eps).outcome.rate("evade")
                    found.append(_Panel(title, counted, curves, ceiling))
    return found


def _legend(methods: Sequence[QueryMethod]) -> list[Line2D]:
    lines = []
    for method in methods:
        color, style, marker = _LOOKS[method]
        lines.append(Line2D([], [], color=color, ls=style, marker=marker, ms=4, label=method))
    white_box = Line2D([], [], color=INK, lw=1, ls=(0, (6, 2)), label="white-box, same images")
    return [*lines, white_box]
