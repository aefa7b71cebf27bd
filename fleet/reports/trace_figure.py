"""Draws how well adversarial images are traced to the device that they were made on."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fleet.audit.trace.result import SCORES, TraceAudit, TraceRate
from fleet.reports import drawing
from fleet.reports.flags import flag
from fleet.reports.large import LARGE, MOST_PANELS
from fleet.reports.palette import ADAPTIVE, FLIP, GREEDY, INK
from fleet.reports.rate_map import tiles
from fleet.reports.wording import format_rate, short_eps

_TILES = 50
_LOOKS = {"deviation": (FLIP, "s"), "alignment": (ADAPTIVE, "o"), "combined": (GREEDY, "D")}


def draw(audit: TraceAudit) -> Figure:
    """Confusion matrix of the device on which images were made and the device named.

    Beside it the share named correctly by each score, against chance. The same shares stand in the
    trace table.
    """
    names = [drawing.drawable(device.name, 18) for device in audit.devices]
    names = names if len(names) <= LARGE else [""] * min(len(names), _TILES)
    cell = 0.42 if len(names) <= MOST_PANELS else 0.15 if names[0] else 3 / len(names)
    side = max(1.9, cell * len(names))
    named = 0.25 + max(map(len, names)) * 0.078
    top, line = 1.45, side + max(named, 0.6) + 0.7
    width = named + side + 1.1 + 3.4
    height = top + len(audit.eps) * line
    figure = Figure(figsize=(max(width, 6.6), height))
    notes = [
        "Left: device named (column) for one image made on each (row), combined score.",
        "Right: share that names its source, 95 % intervals; dashed: guessing.",
    ]
    if not names[0]:
        notes[0] = f"{notes[0][:-1]}; {len(audit.devices)} devices, means of tiles."
    drawing.head(figure, "Trace: on which device were the images made?", notes)
    drawing.legend(figure, _legend(), 0.85)
    drawing.failed(figure, flag(audit), 1.25)
    for number, eps in enumerate(audit.eps):
        low = height - top - number * line - side - 0.3
        box = (named / width, low / height, side / width, side / height)
        matrix = figure.add_axes(box)
        _confusion(matrix, audit.rate(eps, "combined"), names, eps)
        left = (named + side + 1.1) / width
        tall = min(side, 3.0)
        dots = figure.add_axes((left, (low + side - tall) / height, 3.2 / width, tall / height))
        _dots(dots, [rate for rate in audit.rates if rate.eps == eps])
    return figure


def _confusion(axes: Axes, rate: TraceRate, names: list[str], eps: float) -> None:
    count = len(names)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    found = [[hits / (sum(row.named) or 1) for hits in row.named] for row in rate.confusion]
    shares = found if names[0] else tiles(np.array(found), count)[0].tolist()
    count = len(shares)

    def words(share: float | None) -> str:
        return format_rate(share, 2).lstrip("0") if share and share < 1 else f"{share:.0f}"

    drawing.heat_map(axes, shares, (0, 0), 1, words if count <= MOST_PANELS else None)
    axes.set(xlim=(0, count), ylim=(count, 0))
    places = [k + 0.5 for k in range(count)]
    small = 8.5 if count <= MOST_PANELS else 6
    axes.set_xticks(places, names[:count], rotation=90, fontsize=small)
    axes.set_yticks(places, names[:count], fontsize=small)
    axes.tick_params(length=0)
    axes.set_title(f"eps {short_eps(eps)}: {rate.score}, top-1 {format_rate(rate.top1)}")


def _dots(axes: Axes, rates: list[TraceRate]) -> None:
    """Every amount of evidence and attacker is a place, every score a dot in it."""
    places = list(dict.fromkeys((rate.attacker, rate.evidence) for rate in rates))
    axes.axhline(rates[0].chance, color=INK, lw=1, ls="--")
    for rate in rates:
        color, marker = _LOOKS[rate.score]
        x = places.index((rate.attacker, rate.evidence)) + 0.22 * (SCORES.index(rate.score) - 1)
        low, high = rate.top1_interval
        axes.vlines(x, low, high, color=color, lw=1.5)
        axes.plot([x], [rate.top1 or 0.0], color=color, marker=marker, ms=5, ls="")
    labels = [f"{drawing.drawable(attacker, 14)}\nm = {m}" for attacker, m in places]
    turn = 0 if len(places) <= 4 else 90
    axes.set_xticks(range(len(places)), labels, rotation=turn, fontsize=8.5)
    axes.set_xlim(-0.6, len(places) - 0.4)
    axes.grid(visible=False, axis="x")
    drawing.rate_axis(axes, labelled=True, label="top-1")


def _legend() -> list[Line2D]:
    lines = [
        Line2D([], [], color=color, marker=marker, ls="", ms=5, label=score)
        for score, (color, marker) in _LOOKS.items()
    ]
    return [*lines, Line2D([], [], color=INK, lw=1, ls="--", label="chance")]
