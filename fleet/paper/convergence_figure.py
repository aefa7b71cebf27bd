"""Draws validation accuracy against epochs for each way to train."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fleet.paper.convergence_result import VARIANTS, Convergence, Speed, Variant
from fleet.reports import drawing
from fleet.reports.palette import ADAPTIVE, FLIP, GREEDY, MASKED, MUTED

WORDS: dict[Variant, str] = {
    "tra": "TRA",
    "ordinal": "INT, ordinal head",
    "scaled": "INT, scaled loss, outputs that start in the range",
    "paper": "INT as in the paper: Eq. 3, outputs that start at 0",
}
"""What each variant is called."""

_LOOKS: dict[Variant, tuple[str, str]] = {
    "tra": (MASKED, "--"),
    "ordinal": (GREEDY, "-."),
    "scaled": (ADAPTIVE, "-"),
    "paper": (FLIP, ":"),
}


def draw(found: Convergence) -> Figure:
    """One panel for each learning rate, one line for each seed."""
    rates = sorted({speed.learning_rate for speed in found.speeds})
    figure, axes = drawing.panels(len(rates), columns=2, size=(2.8, 2.1), top=1.75, gap=(0.6, 0.75))
    notes = (f"{found.title}; validation accuracy, one line for each seed",)
    drawing.head(figure, f"Epochs to {found.goal:.0%}", notes)
    handles = [
        Line2D([], [], color=color, ls=style, label=WORDS[variant])
        for variant, (color, style) in _LOOKS.items()
    ]
    drawing.legend(figure, handles, 0.68, columns=1)
    for number, (panel, rate) in enumerate(zip(axes, rates, strict=True)):
        panel.set_title(f"learning rate {rate:g}")
        for variant in VARIANTS:
            for speed in found.speeds:
                if (speed.variant, speed.learning_rate) == (variant, rate):
                    _lines(panel, speed)
        panel.axhline(found.goal, color=MUTED, lw=0.8)
        panel.set_ylim(0.8, 1.0)
        panel.set_xlim(left=0)
        panel.set_xlabel("epochs")
        if number == 0:
            panel.set_ylabel("validation accuracy")
    return figure


def _lines(axes: Axes, speed: Speed) -> None:
    color, style = _LOOKS[speed.variant]
    for curve in speed.curves:
        epochs, accuracy = zip(*curve.points, strict=True)
        axes.plot(epochs, accuracy, color=color, ls=style, lw=1.3)
