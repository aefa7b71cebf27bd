"""Draws validation accuracy against epochs for each way to train."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fleet.paper.rows import Row, Rows
from fleet.reports import drawing
from fleet.reports.palette import ADAPTIVE, FLIP, GREEDY, MASKED, MUTED

_LOOKS = {
    "tra": (MASKED, "--"),
    "ordinal": (GREEDY, "-."),
    "scaled": (ADAPTIVE, "-"),
    "paper": (FLIP, ":"),
}


def draw(found: Rows) -> Figure:
    """One panel for each learning rate, one line for each seed."""
    rates = sorted({float(row.names["learning_rate"]) for row in found.rows})
    goal = found.settings["goal"]
    figure, axes = drawing.panels(len(rates), columns=2, size=(2.8, 2.1), top=1.75, gap=(0.6, 0.75))
    notes = (f"{found.title}; validation accuracy, one line for each seed",)
    drawing.head(figure, f"Epochs to {goal:.0%}", notes)
    handles = [
        Line2D([], [], color=_LOOKS[name][0], ls=_LOOKS[name][1], label=words)
        for name, words in found.words
    ]
    drawing.legend(figure, handles, 0.68, columns=1)
    for number, (panel, rate) in enumerate(zip(axes, rates, strict=True)):
        panel.set_title(f"learning rate {rate:g}")
        for row in found.where(learning_rate=rate):
            _lines(panel, row)
        panel.axhline(goal, color=MUTED, lw=0.8)
        panel.set_ylim(0.8, 1.0)
        panel.set_xlim(left=0)
        panel.set_xlabel("epochs")
        if number == 0:
            panel.set_ylabel("validation accuracy")
    return figure


def _lines(axes: Axes, row: Row) -> None:
    color, style = _LOOKS[str(row.names["variant"])]
    for points in row.curves.values():
        epochs, accuracy = zip(*points, strict=True)
        axes.plot(epochs, accuracy, color=color, ls=style, lw=1.3)
