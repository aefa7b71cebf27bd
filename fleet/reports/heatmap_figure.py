"""Draws the figure of :mod:`fleet.reports.heatmap`; the only module that imports matplotlib.

One set of axes covers the page and is measured in inches from the top left corner, so that every
cell has the same size for 2 devices and for 16. Uses matplotlib's objects and never pyplot, which
keeps figures alive and picks a screen backend.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
from matplotlib import font_manager, style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fleet.audit.result import Cell, Matrix, TransferAudit
from fleet.reports.findings import Kind, flag, protocols, rows
from fleet.reports.ramp import ink_color, ramp_color
from fleet.reports.wording import format_eps, format_rate, visible

_FONT = "DejaVu Sans"  # comes with matplotlib, so every machine sets the same letters
_STYLE = {"font.family": _FONT, "svg.fonttype": "none", "svg.hashsalt": "fleet"}
_METADATA: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}
_EMPTY, _RED, _EDGE = "#eceef1", "#9c1420", "#e0402f"
_KINDS = {"flip": "flip (wrong class)", "reject": "reject", "evade": "evade (flip or reject)"}
_LONGEST_NAME = 20
_LETTER = 0.082  # inches, the width of a letter of a name
_HEADER = 1.1  # inches above the first panel
_BAR_STEPS = 50


@dataclass(frozen=True)
class Layout:
    """Sizes of one panel in inches.

    Attributes:
        names: Device names as drawn.
        cell: Side of a cell.
        digits: Decimals of the numbers in the cells.
        left: From the panel's left edge to the matrix; the names of the rows stand here.
        top: From the panel's upper edge to the matrix; title and names of the columns stand here.
        upright: Whether the names of the columns stand upright.
    """

    names: list[str]
    cell: float
    digits: int
    left: float
    top: float
    upright: bool

    @property
    def side(self) -> float:
        """Width and height of the matrix."""
        return self.cell * len(self.names)

    @property
    def width(self) -> float:
        """Width of a panel; its title needs some, however few devices there are."""
        return max(self.left + self.side + 0.35, 3.8)

    @property
    def height(self) -> float:
        """Height of a panel, the two rows below the matrix included."""
        return self.top + self.side + 1.1


@dataclass(frozen=True)
class Sheet:
    """What every part of the drawing needs.

    Attributes:
        page: Axes over the whole figure, in inches from its top left corner.
        audit: The audit.
        kind: What counts as success.
        layout: Sizes of a panel.
    """

    page: Axes
    audit: TransferAudit
    kind: Kind
    layout: Layout


def draw(audit: TransferAudit, kind: Kind, file_format: Literal["png", "svg"]) -> bytes:
    """Draw the figure and encode it."""
    stream = io.BytesIO()
    with matplotlib.rc_context(), style.context(["default", _STYLE]):
        figure = _figure(audit, kind)
        figure.savefig(stream, format=file_format, dpi=160, metadata=_METADATA[file_format])
    return stream.getvalue()


def _figure(audit: TransferAudit, kind: Kind) -> Figure:
    grid = [(eps, protocols(audit, eps)) for eps in audit.eps]
    layout = _layout([device.name for device in audit.devices])
    bar = 0.2 + max(len(names) for _, names in grid) * layout.width
    width, height = max(bar + 0.8, 6.2), _HEADER + len(grid) * layout.height
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    page = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    page.set_axis_off()
    sheet = Sheet(page, audit, kind, layout)
    _title(sheet)
    for row, (eps, names) in enumerate(grid):
        for column, protocol in enumerate(names):
            x, y = 0.2 + column * layout.width, _HEADER + row * layout.height
            _panel(sheet, x, y, audit.matrix(protocol, eps))
    _color_bar(page, bar, _HEADER + layout.top, max(layout.side, 1.6))
    return figure


def _layout(names: list[str]) -> Layout:
    shown = [_drawable(name, _LONGEST_NAME) for name in names]
    few = len(names) <= 8
    cell = 0.62 if few else 0.46
    longest = max(map(len, shown)) * _LETTER
    upright = longest > cell
    left = max(longest, 14 * _LETTER) + 0.15  # "clean accuracy" is a row too
    top = 0.85 + (longest if upright else 0.2)
    return Layout(shown, cell, 3 if few else 2, left, top, upright)


def _title(sheet: Sheet) -> None:
    title = f"Transfer audit: {_KINDS[sheet.kind]}, worst case over the attacks"
    note = "Rows: surrogate. Columns: victim. Lighter = higher. Outlined: white-box."
    source = f"Run {_drawable(sheet.audit.run, 40)}, {_drawable(sheet.audit.created, 40)}."
    _write(sheet.page, 0.2, 0.28, title, size=12, weight="bold")
    _write(sheet.page, 0.2, 0.56, note, size=9)
    _write(sheet.page, 0.2, 0.76, source, size=9)


def _panel(sheet: Sheet, x: float, y: float, matrix: Matrix) -> None:
    layout, page = sheet.layout, sheet.page
    cells = rows(sheet.audit, matrix)
    _panel_title(sheet, x, y, matrix)
    left, top = x + layout.left, y + layout.top
    for index, name in enumerate(layout.names):
        middle = (index + 0.5) * layout.cell
        _write(page, left - 0.08, top + middle, name, size=9, ha="right")
        turn: dict[str, Any] = {"rotation": 90} if layout.upright else {}
        _write(page, left + middle, top - 0.07, name, size=9, ha="center", va="bottom", **turn)
    for i, row in enumerate(cells):
        for j, cell in enumerate(row):
            _cell(sheet, left + j * layout.cell, top + i * layout.cell, cell)
    _rows_below(sheet, left, top + layout.side, matrix.eps)


def _panel_title(sheet: Sheet, x: float, y: float, matrix: Matrix) -> None:
    counts = {cell.outcome.n for cell in matrix.cells}
    n = " to ".join(map(str, sorted({min(counts), max(counts)})))
    flagged = flag(sheet.audit, matrix.protocol)
    _write(sheet.page, x, y + 0.1, f"{matrix.protocol} protocol", size=11, weight="bold")
    _write(sheet.page, x, y + 0.33, f"eps {format_eps(matrix.eps)}, n {n}", size=9)
    if flagged:
        ids = _drawable(", ".join(flagged.ids), 24)
        words = f"{flagged.word.upper()}: {ids} failed"
        _write(sheet.page, x, y + 0.54, words, size=9, weight="bold", color=_RED)


def _cell(sheet: Sheet, x: float, y: float, cell: Cell) -> None:
    white_box = cell.surrogate == cell.victim
    side = sheet.layout.cell
    weight = "bold" if white_box else "normal"
    _tile(sheet, (x, y), side, cell.outcome.rate(sheet.kind), weight=weight)
    if white_box:
        looks: dict[str, Any] = {"fill": False, "edgecolor": _EDGE, "lw": 1.8}
        sheet.page.add_patch(Rectangle((x + 0.025, y + 0.025), side - 0.05, side - 0.05, **looks))


def _rows_below(sheet: Sheet, left: float, bottom: float, eps: float) -> None:
    noise, clean = bottom + 0.12, bottom + 0.62
    label: dict[str, Any] = {"size": 9, "ha": "right", "style": "italic"}
    _write(sheet.page, left - 0.08, noise + 0.17, "noise floor", **label)
    _write(sheet.page, left - 0.08, clean, "clean accuracy", **label)
    for index, device in enumerate(sheet.audit.devices):
        x = left + index * sheet.layout.cell
        floor = sheet.audit.noise_floor(device.name, eps).outcome
        _tile(sheet, (x, noise), 0.34, floor.rate(sheet.kind))
        accuracy = format_rate(device.clean_accuracy, sheet.layout.digits)
        _write(sheet.page, x + sheet.layout.cell / 2, clean, accuracy, size=8.5, ha="center")


def _tile(
    sheet: Sheet,
    corner: tuple[float, float],
    height: float,
    rate: float | None,
    *,
    weight: str = "normal",
) -> None:
    width = sheet.layout.cell
    color = _EMPTY if rate is None else ramp_color(rate)
    sheet.page.add_patch(Rectangle(corner, width, height, facecolor=color, edgecolor="white", lw=1))
    looks = {"size": 8.5, "ha": "center", "color": ink_color(color), "weight": weight}
    x, y = corner[0] + width / 2, corner[1] + height / 2
    _write(sheet.page, x, y, format_rate(rate, sheet.layout.digits), **looks)


def _color_bar(page: Axes, x: float, y: float, height: float) -> None:
    step = height / _BAR_STEPS
    for index in range(_BAR_STEPS):
        color = ramp_color((index + 0.5) / _BAR_STEPS)
        corner = (x, y + height - (index + 1) * step)
        page.add_patch(Rectangle(corner, 0.18, step, color=color, lw=0.5))
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        _write(page, x + 0.25, y + height * (1 - share), f"{share:.2f}", size=8.5)
    _write(page, x, y - 0.15, "rate", size=9)


def _write(page: Axes, x: float, y: float, text: str, **looks: Any) -> None:
    # A name with two dollar signs is a name, not mathematics.
    page.text(x, y, text, parse_math=False, **{"ha": "left", "va": "center", **looks})


def _drawable(text: str, longest: int) -> str:
    """Cut a text to ``longest`` letters, all of which the font has."""
    font = font_manager.get_font(font_manager.findfont(_FONT))
    known = "".join(c if font.get_char_index(ord(c)) else "\ufffd" for c in visible(text))
    return known if len(known) <= longest else known[: longest - 1] + "…"
