"""Draws the transfer audit as the paper's Figure 3: every protocol (columns) at every eps (rows).

One set of axes covers the page and is measured in inches from the top left corner, so that every
cell has the same size for 2 devices and for 16. A device's order stands beside its name as a strip
of small cells: the class at each slot of the number line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fleet.audit.core.result import AuditedDevice, Matrix
from fleet.audit.transfer.result import TransferAudit
from fleet.reports import drawing, wording
from fleet.reports.drawing import drawable
from fleet.reports.findings import protocols, rows
from fleet.reports.flags import flag
from fleet.reports.large import LARGE, MOST_PANELS
from fleet.reports.large_figure import draw_large
from fleet.reports.palette import ALARM, INK, MUTED, PAPER, ink_color

_LONGEST_NAME = 20
_LETTER = 0.0091  # inches of a letter's width for each point of its size
_HEADER = 1.3  # inches above the first panel


@dataclass(frozen=True)
class Layout:
    """Sizes of one panel in inches.

    Attributes:
        devices: In matrix order.
        names: Device names as drawn.
        strips: Their orders.
        cell: Side of a cell.
        digits: Decimals of the numbers in the cells; 0 for none.
        size: Of the names, points.
    """

    devices: tuple[AuditedDevice, ...]
    names: list[str]
    strips: Strips
    cell: float
    digits: int
    size: float

    @property
    def name_length(self) -> float:
        """Length of the longest name."""
        return max(map(len, self.names)) * self.size * _LETTER

    @property
    def upright(self) -> bool:
        """Whether the names of the columns stand upright."""
        return self.name_length > self.cell

    @property
    def left(self) -> float:
        """From the panel's left edge to the matrix: names, then strips."""
        return max(self.name_length, 1.15) + self.strips.length + 0.3

    @property
    def top(self) -> float:
        """From the panel's upper edge to the matrix: title, names, strips."""
        return 0.85 + (self.name_length if self.upright else 0.2) + self.strips.length + 0.1

    @property
    def side(self) -> float:
        """Width and height of the matrix."""
        return self.cell * len(self.names)

    @property
    def devices_side(self) -> float:
        """From the matrix's edge to the line that sets the controls apart."""
        return self.cell * sum(device.role == "device" for device in self.devices)

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
        figure: The figure.
        page: Axes over the whole figure, in inches from its top left corner.
        audit: The audit.
        layout: Sizes of a panel.
    """

    figure: Figure
    page: Axes
    audit: TransferAudit
    layout: Layout


def draw(audit: TransferAudit) -> Figure:
    """Heatmaps of the evade rate, surrogates as rows and victims as columns.

    Each device's order of classes stands on the axes. The same figures stand in the tables below.
    Of a large fleet: maps of tiles, like devices beside each other, and the distribution of rates.
    """
    if len(audit.devices) > LARGE:
        return draw_large(audit)
    grid = [(eps, protocols(audit, eps)) for eps in audit.eps]
    layout = _layout(audit)
    bar = 0.2 + max(len(names) for _, names in grid) * layout.width
    width, height = max(bar + 0.8, 6.2), _HEADER + len(grid) * layout.height
    figure = Figure(figsize=(width, height))
    page = figure.add_axes((0, 0, 1, 1))
    page.set_axis_off()
    sheet = Sheet(figure, page, audit, layout)
    _title(sheet)
    for row, (eps, names) in enumerate(grid):
        for column, protocol in enumerate(names):
            x, y = 0.2 + column * layout.width, _HEADER + row * layout.height
            _panel(sheet, x, y, audit.matrix(protocol, eps))
    drawing.color_bar(page, bar, _HEADER + layout.top, min(max(layout.side, 1.6), 4))
    page.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
    return figure


def _layout(audit: TransferAudit) -> Layout:
    count = len(audit.devices)
    labels = [wording.order_label(device) for device in audit.devices]
    if count <= MOST_PANELS:
        cell, digits, size = (0.62, 3, 9.0) if count <= 8 else (0.46, 2, 9.0)
    else:
        cell, digits, size = max(0.13, min(0.4, 9 / count)), 0, 6.5
    names = [_name(device) for device in audit.devices]
    return Layout(audit.devices, names, make_strips(labels, cell), cell, digits, size)


def _name(device: AuditedDevice) -> str:
    mark = wording.control_mark(device)
    return drawable(device.name, _LONGEST_NAME - len(mark)) + mark


def _title(sheet: Sheet) -> None:
    title = "Transfer audit: evade (flip or reject), worst case over the attacks"
    note = "Rows: surrogate. Columns: victim. Lighter = higher. Outlined: white-box."
    strips = "Grey strips: the class at each slot, slot 0 at the left or at the top."
    source = f"Run {drawable(sheet.audit.run, 40)}, {drawable(sheet.audit.created, 40)}."
    drawing.head(sheet.figure, title, (note, strips, source))


def _panel(sheet: Sheet, x: float, y: float, matrix: Matrix) -> None:
    layout = sheet.layout
    _panel_title(sheet, x, y, matrix)
    left, top = x + layout.left, y + layout.top
    for index in range(len(layout.names)):
        middle = (index + 0.5) * layout.cell
        _row_label(sheet, index, left, top + middle)
        _column_label(sheet, index, left + middle, top)
    _cells(sheet, left, top, matrix)
    if 0 < layout.devices_side < layout.side:
        _control_lines(sheet, left, top)
    _rows_below(sheet, left, top + layout.side, matrix.eps)


def _panel_title(sheet: Sheet, x: float, y: float, matrix: Matrix) -> None:
    counts = {cell.outcome.n for cell in matrix.cells}
    n = " to ".join(map(str, sorted({min(counts), max(counts)})))
    flagged = flag(sheet.audit, matrix.protocol)
    _write(sheet.page, x, y + 0.1, f"{matrix.protocol} protocol", size=11, weight="bold")
    _write(sheet.page, x, y + 0.33, f"eps {wording.format_eps(matrix.eps)}, n {n}", size=9)
    if flagged:
        words = f"{flagged.word.upper()}: {drawable(', '.join(flagged.ids), 24)} failed"
        _write(sheet.page, x, y + 0.54, words, size=9, weight="bold", color=ALARM)


def _row_label(sheet: Sheet, index: int, left: float, y: float) -> None:
    layout, page = sheet.layout, sheet.page
    edge = left - layout.strips.length - 0.1
    draw_strip(page, layout.strips, index, (edge, y), upright=False)
    roomy = layout.cell > 0.3
    name = {"size": layout.size, "ha": "right"}
    _write(page, edge - 0.08, y - (0.07 if roomy else 0), layout.names[index], **name)
    label = layout.strips.labels[index]
    if roomy and label.alpha:
        small: dict[str, Any] = {"size": 7, "ha": "right", "color": MUTED}
        _write(page, edge - 0.08, y + 0.09, label.brief, **small)


def _column_label(sheet: Sheet, index: int, x: float, top: float) -> None:
    layout, page = sheet.layout, sheet.page
    edge = top - layout.strips.length - 0.08
    draw_strip(page, layout.strips, index, (x, edge), upright=True)
    turn: dict[str, Any] = {"rotation": 90} if layout.upright else {}
    looks = {"size": layout.size, "ha": "center", "va": "bottom"}
    _write(page, x, edge - 0.07, layout.names[index], **looks, **turn)


def _cells(sheet: Sheet, left: float, top: float, matrix: Matrix) -> None:
    layout, page = sheet.layout, sheet.page
    rates = [[c.outcome.rate("evade") for c in row] for row in rows(sheet.audit, matrix)]

    def words(rate: float | None) -> str:
        return wording.format_rate(rate, layout.digits)

    drawing.heat_map(page, rates, (left, top), layout.cell, words if layout.digits else None)


def _control_lines(sheet: Sheet, left: float, top: float) -> None:
    layout = sheet.layout
    end = layout.devices_side
    looks: dict[str, Any] = {"color": INK, "lw": 2.2, "solid_capstyle": "butt"}
    sheet.page.plot([left - 0.05, left + layout.side], [top + end] * 2, **looks)
    sheet.page.plot([left + end] * 2, [top - 0.05, top + layout.side], **looks)


def _rows_below(sheet: Sheet, left: float, bottom: float, eps: float) -> None:
    noise, clean = bottom + 0.12, bottom + 0.62
    label: dict[str, Any] = {"size": 9, "ha": "right", "style": "italic"}
    _write(sheet.page, left - 0.08, noise + 0.17, "noise floor", **label)
    _write(sheet.page, left - 0.08, clean, "clean accuracy", **label)
    digits = sheet.layout.digits
    for index, device in enumerate(sheet.audit.devices):
        x = left + index * sheet.layout.cell
        floor = sheet.audit.noise_floor(device.name, eps).outcome
        _tile(sheet, (x, noise), 0.34, floor.rate("evade"))
        if digits:
            accuracy = wording.format_rate(device.clean_accuracy, digits)
            _write(sheet.page, x + sheet.layout.cell / 2, clean, accuracy, size=8.5, ha="center")
        else:
            _tile(sheet, (x, clean - 0.08), 0.2, device.clean_accuracy)


def _tile(sheet: Sheet, corner: tuple[float, float], height: float, rate: float | None) -> None:
    width, color = sheet.layout.cell, drawing.rate_color(rate)
    edge = {"edgecolor": PAPER, "lw": 1} if width > 0.3 else {"lw": 0}
    sheet.page.add_artist(Rectangle(corner, width, height, facecolor=color, **edge))
    if sheet.layout.digits:
        looks = {"size": 8.5, "ha": "center", "color": ink_color(color)}
        x, y = corner[0] + width / 2, corner[1] + height / 2
        _write(sheet.page, x, y, wording.format_rate(rate, sheet.layout.digits), **looks)


def _write(page: Axes, x: float, y: float, text: str, **looks: Any) -> None:
    page.text(x, y, text, **{"ha": "left", "va": "center", **looks})


_LIGHT, _DARK = 0xEE, 0x58  # greys: the colours beside them are rates
_WORDS = 6.5  # points of the words in the place of a strip
_MOST_DIGITS = 12  # classes up to which each cell of a strip holds its number


@dataclass(frozen=True)
class Strips:
    """How the strips of one figure are laid out.

    Attributes:
        labels: Of every device.
        step: Length of one slot along the strip, inches.
        thickness: Across it, inches.
    """

    labels: list[wording.OrderLabel]
    step: float
    thickness: float

    @property
    def length(self) -> float:
        """Length of the longest strip, or of the words in the place of one, inches."""
        slots = max((len(label.classes or ()) for label in self.labels), default=0) * self.step
        words = max(
            (len(self.words(label)) for label in self.labels if label.classes is None), default=0
        )
        return max(slots, words * _WORDS * _LETTER)

    @property
    def digits(self) -> bool:
        """Whether the cells hold their class's number."""
        longest = max((len(label.classes or ()) for label in self.labels), default=0)
        return longest <= _MOST_DIGITS and min(self.step, self.thickness) >= 0.1

    def words(self, label: wording.OrderLabel) -> str:
        """What stands in the place of a strip."""
        return label.order if self.digits else "–"


def make_strips(labels: list[wording.OrderLabel], cell: float) -> Strips:
    """Fit strips to a matrix whose cells are ``cell`` inches wide."""
    classes = max((len(label.classes or ()) for label in labels), default=0)
    step = 0.13 if classes <= _MOST_DIGITS else 1.6 / classes
    return Strips(labels, step if cell > 0.3 else min(step, 0.09), min(0.17, cell * 0.8))


def draw_strip(
    page: Axes, strips: Strips, index: int, corner: tuple[float, float], *, upright: bool
) -> None:
    """Draw one device's strip.

    Args:
        page: Axes in inches from the top left corner.
        strips: Of the figure.
        index: Which device.
        corner: Where slot 0 begins: the left end of the middle line of a strip that runs to the
            right, the upper end of one that runs down.
        upright: Whether it runs down.
    """
    label = strips.labels[index]
    x, y = corner
    if label.classes is None:
        looks = {"rotation": 90, "ha": "center", "va": "bottom"} if upright else {"va": "center"}
        y = y + strips.length if upright else y
        page.text(x, y, strips.words(label), fontsize=_WORDS, color=MUTED, style="italic", **looks)
        return
    for slot, number in enumerate(label.classes):
        ahead, across = slot * strips.step, -strips.thickness / 2
        place = (x + across, y + ahead) if upright else (x + ahead, y + across)
        _slot(page, strips, place, number, len(label.classes), upright=upright)


def _slot(
    page: Axes,
    strips: Strips,
    place: tuple[float, float],
    number: int,
    count: int,
    *,
    upright: bool,
) -> None:
    size = (strips.thickness, strips.step) if upright else (strips.step, strips.thickness)
    grey = round(_LIGHT + (_DARK - _LIGHT) * number / (count - 1))
    color = f"#{grey:02x}{grey:02x}{grey:02x}"
    page.add_artist(Rectangle(place, *size, facecolor=color, lw=0))
    if strips.digits:
        middle = (place[0] + size[0] / 2, place[1] + size[1] / 2)
        looks = {"fontsize": 6, "ha": "center", "va": "center"}
        page.text(*middle, str(number), color=ink_color(color), **looks)  # type: ignore[arg-type]
