"""Draws the transfer audit of a large fleet: maps of tiles, and the distribution of rates."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from fleet.audit.core.result import Matrix
from fleet.audit.transfer.result import TransferAudit
from fleet.reports import drawing, wording
from fleet.reports.flags import flag
from fleet.reports.large_matrix import guide, worst_cases
from fleet.reports.palette import ADAPTIVE, ramp_color
from fleet.reports.rate_map import Floats, RateMap, order_by_likeness, tiles

_SIDE, _LINE, _TOP = 2.6, 3.6, 1.35
_BINS = 40


def draw_large(audit: TransferAudit) -> Figure:
    """Maps of mean and highest rate, like devices beside each other, and all rates by frequency."""
    shown = worst_cases(audit)
    count, height = len(audit.fleet), _TOP + len(shown) * _LINE
    figure = Figure(figsize=(10.6, height))
    last = RateMap.of(guide(audit)).between(set(audit.fleet))
    order = np.array(order_by_likeness(last))
    step = tiles(last)[2]
    size = "a device" if step == 1 else f"{step} × {step} devices"
    notes = [
        f"Rows: surrogate. Columns: victim. Lighter = higher. {count} devices, a tile is {size};",
        "those alike as surrogate and victim stand together, in one order on all maps. "
        "The bars have the maps' colours.",
        f"Run {drawing.drawable(audit.run, 40)}, {drawing.drawable(audit.created, 40)}.",
    ]
    drawing.head(figure, "Transfer audit: evade, worst case over the attacks", notes)
    for row, matrix in enumerate(shown):
        rates = RateMap.of(matrix).between(set(audit.fleet))[np.ix_(order, order)]
        bottom = height - _TOP - row * _LINE - _SIDE - 0.45
        places = [0.55 + k * (_SIDE + 0.7) for k in range(3)]
        axes = [
            figure.add_axes((left / 10.6, bottom / height, _SIDE / 10.6, _SIDE / height))
            for left in places
        ]
        means, highest, _ = tiles(rates)
        _map(axes[0], means, count, f"{_words(matrix)}: mean")
        _map(axes[1], highest, count, "highest of each tile")
        _frequencies(axes[2], rates[~np.isnan(rates)])
        drawing.failed(figure, flag(audit, matrix.protocol), height - bottom - _SIDE - 0.4, 0.55)
    return figure


def _words(matrix: Matrix) -> str:
    return f"{matrix.protocol}, eps {wording.short_eps(matrix.eps)}"


def _map(axes: Axes, rates: Floats, count: int, title: str) -> None:
    pixels = [[drawing.rate_color(None if np.isnan(r) else r) for r in row] for row in rates]
    colors = np.array([[to_rgb(color) for color in row] for row in pixels])
    axes.imshow(colors, extent=(0, count, count, 0), interpolation="nearest", aspect="auto")
    axes.grid(visible=False)
    axes.set_title(title)


def _frequencies(axes: Axes, rates: Floats) -> None:
    heights, edges = np.histogram(rates, bins=_BINS, range=(0, 1))
    colors = [ramp_color((k + 0.5) / _BINS) for k in range(_BINS)]
    axes.bar(edges[:-1], heights, width=1 / _BINS, align="edge", color=colors, lw=0)
    axes.step(edges, [*heights, heights[-1]], where="post", color=ADAPTIVE, lw=1)
    axes.set_yscale("symlog", linthresh=1)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 2 * max(heights))
    ticks = [0, *(10**power for power in range(len(str(max(heights)))))]
    axes.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_yticks([], minor=True)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
    axes.set_title(f"{len(rates):,} pairs by rate (log scale)")
