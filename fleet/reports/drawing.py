"""What all figures share: fonts, colours, panels measured in inches, and their encoding.

Only modules named ``*_figure`` or ``*_figures`` and this one import matplotlib, and only through
its objects: pyplot keeps figures alive and picks a screen backend.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib import font_manager, style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fleet.reports import palette
from fleet.reports.flags import Flag
from fleet.reports.large import MOST_PANELS
from fleet.reports.wording import short_eps, visible

_FONT = "DejaVu Sans"  # comes with matplotlib, so every machine sets the same letters
_STYLE: dict[str, Any] = {
    "font.family": _FONT,
    "font.size": 9,
    "text.color": palette.INK,
    "text.parse_math": False,  # a name with two dollar signs is a name, not mathematics
    "svg.fonttype": "none",
    "svg.hashsalt": "fleet",
    "figure.facecolor": palette.PAPER,
    "axes.facecolor": "none",
    "axes.edgecolor": palette.MUTED,
    "axes.labelcolor": palette.INK,
    "axes.titlecolor": palette.INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": palette.LINE,
    "grid.linewidth": 0.6,
    "xtick.color": palette.MUTED,
    "ytick.color": palette.MUTED,
    "xtick.labelcolor": palette.INK,
    "ytick.labelcolor": palette.INK,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
}
_METADATA: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}
_BAR_STEPS = 50
_BOLD_LETTER = 0.095  # inches, rather wide
_EMPTY = "#eceef1"  # a cell without a rate
_LONGEST_SIDE = 8000  # pixels of a PNG; a fleet of 64 would be larger than viewers open

FileFormat = Literal["png", "svg"]


@contextmanager
def drawing() -> Iterator[None]:
    """Draw with our style, whatever the user's; their settings come back afterwards."""
    with matplotlib.rc_context(), style.context(["default", _STYLE]):
        yield


def encode(figure: Figure, form: FileFormat) -> bytes:
    """Encode a figure; the same figure gives the same bytes on the same matplotlib."""
    FigureCanvasAgg(figure)
    stream = io.BytesIO()
    dpi = min(160, _LONGEST_SIDE / max(figure.get_size_inches()))
    figure.savefig(stream, format=form, dpi=dpi, metadata=_METADATA[form])
    return stream.getvalue()


def panels(
    count: int,
    *,
    columns: int,
    size: tuple[float, float],
    top: float,
    gap: tuple[float, float] = (0.6, 0.75),
    margin: tuple[float, float] = (0.65, 0.55),
) -> tuple[Figure, list[Axes]]:
    """Lay out equal panels.

    Args:
        count: Panels.
        columns: At most so many beside each other.
        size: Width and height of a panel, inches.
        top: Room above the first row for title and legend, inches.
        gap: Between panels, inches.
        margin: Left of the first column, and below the last row, inches.
    """
    columns = min(columns, count)
    lines = -(-count // columns)
    width = margin[0] + columns * size[0] + (columns - 1) * gap[0] + 0.25
    width = max(width, 6.6)  # titles and legends need some, however few panels there are
    height = top + lines * size[1] + (lines - 1) * gap[1] + margin[1]
    figure = Figure(figsize=(width, height))
    axes = []
    for index in range(count):
        row, column = divmod(index, columns)
        left = margin[0] + column * (size[0] + gap[0])
        bottom = height - top - (row + 1) * size[1] - row * gap[1]
        box = (left / width, bottom / height, size[0] / width, size[1] / height)
        axes.append(figure.add_axes(box))
    return figure, axes


def head(figure: Figure, title: str, notes: Sequence[str]) -> None:
    """Write a figure's title and the lines below it into its top left corner."""
    _, height = figure.get_size_inches()
    write(figure, 0.2, height - 0.26, title, size=12, weight="bold")
    for number, note in enumerate(notes):
        write(figure, 0.2, height - 0.52 - 0.19 * number, note, size=9)


def failed(figure: Figure, flagged: Flag | None, below: float, x: float = 0.2) -> None:
    """Say which checks failed, ``x`` and ``below`` inches from a figure's upper left corner."""
    if flagged:
        width, height = figure.get_size_inches()
        words = f"{drawable(flagged.short, int((width - x) / _BOLD_LETTER) - 8)} failed"
        write(figure, x, height - below, words, weight="bold", color=palette.ALARM)


def rate_color(rate: float | None) -> str:
    """Colour of a heat map's cell."""
    return _EMPTY if rate is None else palette.ramp_color(rate)


def heat_map(
    axes: Axes,
    rates: Sequence[Sequence[float | None]],
    corner: tuple[float, float],
    cell: float,
    words: Callable[[float | None], str] | None = None,
) -> None:
    """Draw a square of rates, y pointing down; the diagonal is outlined.

    Args:
        axes: Where to draw.
        rates: Row by row, in [0, 1]; None stays empty.
        corner: The upper left one.
        cell: Side of a cell.
        words: What stands in a cell, bold on the diagonal; None for no words.
    """
    left, top = corner
    side = cell * len(rates)
    if words is None:  # one picture: thousands of tiles make a slow file
        pixels = np.array([[to_rgb(rate_color(rate)) for rate in row] for row in rates])
        extent = (left, left + side, top + side, top)
        axes.imshow(pixels, extent=extent, interpolation="nearest", aspect="auto")
    for i, row in enumerate(rates):
        for j, rate in enumerate(row if words else ()):
            place, color = (left + j * cell, top + i * cell), rate_color(rate)
            axes.add_artist(
                Rectangle(place, cell, cell, facecolor=color, edgecolor=palette.PAPER, lw=1)
            )
            looks: dict[str, Any] = {"ha": "center", "va": "center", "size": 8.5}
            looks |= {"color": palette.ink_color(color), "weight": "bold" if i == j else "normal"}
            text = words(rate) if words else ""
            axes.text(place[0] + cell / 2, place[1] + cell / 2, text, **looks)
        inner = cell / 25
        place, size = (left + i * cell + inner, top + i * cell + inner), cell - 2 * inner
        lw = 1.8 if len(rates) <= MOST_PANELS else 0.8
        axes.add_artist(Rectangle(place, size, size, fill=False, edgecolor=palette.EDGE, lw=lw))


def legend(
    figure: Figure, handles: Sequence[Artist], below: float, columns: int | None = None
) -> None:
    """Put a legend in lines ``below`` so many inches from the upper edge."""
    width, height = figure.get_size_inches()
    figure.legend(
        handles=list(handles),
        loc="upper left",
        bbox_to_anchor=(0.12 / width, 1 - below / height),
        ncols=columns or len(handles),
        fontsize=9,
        handlelength=2.2,
        columnspacing=1.6,
        borderaxespad=0,
    )


def write(figure: Figure, x: float, y: float, text: str, **looks: Any) -> None:
    """Write a text ``x`` and ``y`` inches from a figure's bottom left corner."""
    width, height = figure.get_size_inches()
    figure.text(x / width, y / height, text, **{"ha": "left", "va": "center", **looks})


def rate_axis(axes: Axes, *, labelled: bool, label: str = "rate") -> None:
    """Make y a rate from 0 to 1; a little room shows marks at both ends whole."""
    axes.set_ylim(-0.03, 1.03)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
    if labelled:
        axes.set_ylabel(label)


def line_axis(axes: Axes, labels: Sequence[str]) -> None:
    """Make y lines of a dot chart, the first on top, each with its label."""
    axes.set_yticks(range(len(labels)), list(labels))
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def dot(
    axes: Axes, y: float, value: float, interval: tuple[float, float], *, hollow: bool = False
) -> None:
    """Draw a figure and its interval on a line of a dot chart."""
    axes.hlines(y, *interval, color=palette.ADAPTIVE, lw=4, alpha=0.35)
    axes.plot(
        [value],
        [y],
        color=palette.ADAPTIVE,
        marker="o",
        ms=6,
        ls="",
        mfc=palette.PAPER if hollow else None,
    )


def eps_axis(axes: Axes, eps: Sequence[float], *, labelled: bool) -> None:
    """Make x the radii audited, each with its tick; crowded labels are left out."""
    low, high = min(eps), max(eps)
    room = (high - low) * 0.08 or high * 0.5
    axes.set_xlim(max(0.0, low - room), high + room)
    shown: list[float] = []
    for value in eps:
        if not shown or value - shown[-1] > 0.17 * (high - low):
            shown.append(value)
    labels = [short_eps(value) if value in shown else "" for value in eps]
    axes.set_xticks(list(eps), labels)
    if labelled:
        axes.set_xlabel("eps (Linf, pixel range 1)")


def color_bar(page: Axes, x: float, y: float, height: float) -> None:
    """Draw the ramp of rates from 0 at the bottom to 1, in the units of a page whose y points down.

    Args:
        page: Where to draw.
        x: Left edge.
        y: Upper edge.
        height: Of the bar.
    """
    step = height / _BAR_STEPS
    for index in range(_BAR_STEPS):
        color = palette.ramp_color((index + 0.5) / _BAR_STEPS)
        corner = (x, y + height - (index + 1) * step)
        page.add_artist(Rectangle(corner, 0.18, step, color=color, lw=0.5))
    looks: dict[str, Any] = {"ha": "left", "va": "center"}
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        page.text(x + 0.25, y + height * (1 - share), f"{share:.2f}", size=8.5, **looks)
    page.text(x, y - 0.15, "rate", size=9, **looks)


def drawable(text: str, longest: int) -> str:
    """Cut a text to ``longest`` letters, all of which the font has."""
    font = font_manager.get_font(font_manager.findfont(_FONT))
    known = "".join(c if font.get_char_index(ord(c)) else "\ufffd" for c in visible(text))
    return known if len(known) <= longest else known[: longest - 1] + "…"
