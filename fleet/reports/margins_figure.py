"""Draws how far the images of each device lie from its decision boundary, to first order."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fleet.audit.whitebox.result import WhiteboxAudit
from fleet.reports import drawing
from fleet.reports.own_rates import grouped
from fleet.reports.palette import ADAPTIVE, INK
from fleet.reports.wording import ABSENT, format_rate, short_eps

_COLUMNS = 4
_BINS = 36
_MOST_MARKS = 3


def draw(audit: WhiteboxAudit) -> Figure:
    """One panel for each device, or for each group of devices where there are many."""
    values = {margins.device: margins for margins in audit.margins}
    groups = grouped(audit.devices)
    edges = _edges([v for margins in audit.margins for v in margins.values], audit.eps)
    figure, axes = drawing.panels(
        len(groups), columns=_COLUMNS, size=(2.05, 1.45), top=1.35, gap=(0.3, 1.0)
    )
    norm = {"linf": "Linf", "l2": "L2"}[audit.margins[0].norm]
    notes = [
        f"First-order distance to the nearest boundary in pixel units ({norm}), log scale.",
        "Vertical lines: eps, with the share of images that lie closer. "
        "The outer bars hold what lies beyond.",
    ]
    drawing.head(figure, "Margins of correctly decoded images", notes)
    marks = _marks(audit.eps)
    for number, (panel, (title, names)) in enumerate(zip(axes, groups.items(), strict=True)):
        found = [value for name in names for value in values[name].values]
        panel.set_title(drawing.drawable(title, 29), pad=20)
        _panel(panel, found, edges, marks)
        panel.set_xlabel(f"n {len(found)}", fontsize=8.5)
        if number % _COLUMNS == 0:
            panel.set_ylabel("share of images")
    return figure


def _panel(
    axes: Axes, values: Sequence[float], edges: Sequence[float], marks: Sequence[float]
) -> None:
    axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    _decades(axes, edges[0], edges[-1])
    axes.set_yticks([])
    if values:
        weights = [1 / len(values)] * len(values)
        kept = [min(max(value, edges[0]), edges[-1]) for value in values]
        axes.hist(kept, bins=list(edges), weights=weights, color=ADAPTIVE, alpha=0.75, lw=0)
    else:
        axes.text(0.5, 0.5, "no image", transform=axes.transAxes, ha="center", va="center")
    for number, eps in enumerate(marks):
        axes.axvline(eps, color=INK, lw=1, ls="--")
        share = sum(value < eps for value in values) / len(values) if values else None
        words = f"{short_eps(eps)}: {ABSENT if share is None else format_rate(share, 2)}"
        axes.text(0.36 * number, 1.03, words, fontsize=8, va="bottom", transform=axes.transAxes)


def _marks(eps: Sequence[float]) -> list[float]:
    if len(eps) <= _MOST_MARKS:
        return list(eps)
    return [eps[0], eps[len(eps) // 2], eps[-1]]


def _edges(values: Sequence[float], eps: Sequence[float]) -> list[float]:
    """Bins of one width on a log scale that hold every eps and nearly all margins."""
    positive = sorted(value for value in values if value > 0)
    low = min([eps[0] / 2, *positive[len(positive) // 200 :][:1]])
    high = max([eps[-1] * 2, *positive[-1 - len(positive) // 200 :][:1]])
    first, last = math.log10(low), math.log10(high)
    return [10 ** (first + k * (last - first) / _BINS) for k in range(_BINS + 1)]


def _decades(axes: Axes, low: float, high: float) -> None:
    """Ticks at 1, or at 1, 2 and 5, of each decade, written out."""
    steps = (1, 2, 5) if high / low < 60 else (1,)
    ticks = [
        base * 10.0**power
        for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for base in steps
    ]
    kept = [tick for tick in ticks if low <= tick <= high]
    axes.set_xticks(kept, [f"{tick:g}" for tick in kept])
    axes.set_xticks([], minor=True)
