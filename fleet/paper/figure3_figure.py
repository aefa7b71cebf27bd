"""Draws Figure 3 made again: a panel for each sweep and protocol, all on one scale."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fleet.paper.figure3_result import Figure3, Kind, Lengths, Range, Sweep
from fleet.reports import drawing
from fleet.reports.drawing import drawable
from fleet.reports.flags import PROTOCOLS, flag
from fleet.reports.palette import ALARM, EDGE, INK, MUTED, PAPER, ink_color, ramp_color
from fleet.reports.wording import format_eps, format_rate

_KINDS = {"flip": "flip (wrong class)", "evade": "evade (flip or reject)"}
_EMPTY = "#eceef1"
_CELL = (0.98, 0.56)  # inches; two lines of numbers
_LEFT = 1.35  # inches from a panel's edge to its matrix: the surrogates' names
_TOP = 1.15  # and from its upper edge: titles, the victims' names
_BELOW = 1.75  # and from the matrix to the next panel: the rows that stand apart
_HEADER = 1.25
_LONGEST_TITLE = 120
_LETTER = 0.11  # inches of a bold letter's width in the title


def draw(result: Figure3, eps: float, kind: Kind = "evade") -> Figure:
    """The two sweeps (rows) under each protocol (columns) at one eps.

    Args:
        result: What was found.
        eps: One of ``result.eps``.
        kind: What counts as success.
    """
    found = [sweep for sweep in result.sweeps if sweep.eps == eps]
    columns = [name for name in PROTOCOLS if any(s.protocol == name for s in found)]
    sweeps = ([s for s in found if s.fixed == fixed] for fixed in ("beta", "alpha"))
    lines = [line for line in sweeps if line]
    widest = max(len(sweep.levels) for sweep in found)
    panel = _LEFT + widest * _CELL[0] + 0.5
    heights = [_TOP + len(line[0].levels) * _CELL[1] + _BELOW for line in lines]
    letters = min(len(result.title), _LONGEST_TITLE)
    width = max(len(columns) * panel + 1.0, letters * _LETTER + 0.4, 8.2)
    height = _HEADER + sum(heights)
    figure = Figure(figsize=(width, height))
    page = figure.add_axes((0, 0, 1, 1))
    page.set_axis_off()
    page.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
    _head(page, result, eps, kind)
    for row, line in enumerate(lines):
        for sweep in line:
            x, y = 0.2 + columns.index(sweep.protocol) * panel, _HEADER + sum(heights[:row])
            _panel(page, (x, y), result, sweep, kind)
    drawing.color_bar(page, len(columns) * panel + 0.1, _HEADER + _TOP, 3 * _CELL[1])
    return figure


def _head(page: Axes, result: Figure3, eps: float, kind: Kind) -> None:
    notes = (
        f"{_KINDS[kind].capitalize()} at eps {format_eps(eps)}. {len(result.networks)} networks, "
        f"{result.images} images. Run {drawable(result.run, 40)}, {drawable(result.created, 40)}.",
        "Rows: surrogate. Columns: victim. Lighter = higher. Mean over all pairs of different "
        "networks, below it lowest to highest.",
        "Outlined: same encoding, another seed. A network against itself is no transfer: "
        "it stands below, apart.",
    )
    _write(page, 0.2, 0.28, drawable(result.title, _LONGEST_TITLE), size=12, weight="bold")
    for number, note in enumerate(notes):
        _write(page, 0.2, 0.56 + 0.2 * number, note, size=9)


def _panel(
    page: Axes, corner: tuple[float, float], result: Figure3, sweep: Sweep, kind: Kind
) -> None:
    x, y = corner
    varied = "alpha" if sweep.fixed == "beta" else "beta"
    fixed = f"{sweep.fixed} fixed at {sweep.value:g}, {varied} varies"
    attack = "PGD" if sweep.attack == "pgd" else "worst case over the attacks"
    _write(page, x, y + 0.1, f"{sweep.protocol} protocol", size=11, weight="bold")
    _write(page, x, y + 0.32, f"{fixed}; {attack}", size=9)
    # ``flag`` reads the checks alone, which Figure3 carries over from its audit.
    flagged = flag(result, sweep.protocol)
    if flagged:
        words = f"{drawable(flagged.short, 44)} failed"
        _write(page, x, y + 0.53, words, size=9, weight="bold", color=ALARM)
    left, top = x + _LEFT, y + _TOP
    for place, level in enumerate(sweep.levels):
        name, share = _names(level.lengths)
        across, down = left + (place + 0.5) * _CELL[0], top + (place + 0.5) * _CELL[1]
        _write(page, across, top - 0.28, name, size=9, ha="center")
        _write(page, across, top - 0.11, share, size=7, ha="center", color=MUTED)
        _write(page, left - 0.1, down - 0.08, name, size=9, ha="right")
        _write(page, left - 0.1, down + 0.1, share, size=7, ha="right", color=MUTED)
    side = len(sweep.levels)
    for place, cell in enumerate(sweep.cells):
        row, column = divmod(place, side)
        tile = (left + column * _CELL[0], top + row * _CELL[1])
        _tile(page, tile, cell.rates.of(kind) if cell.rates else None, _CELL[1])
        if row == column:
            _outline(page, tile)
    _rows_below(page, left, top + side * _CELL[1] + 0.16, sweep, kind)


def _rows_below(page: Axes, left: float, top: float, sweep: Sweep, kind: Kind) -> None:
    height = 0.44
    label: dict[str, Any] = {"size": 9, "ha": "right", "style": "italic"}
    _write(page, left - 0.1, top + height / 2, "white-box", **label)
    _write(page, left - 0.1, top + 1.5 * height + 0.06, "noise floor", **label)
    _write(page, left - 0.1, top + 2 * height + 0.2, "clean accuracy", **label)
    _write(page, left - 0.1, top + 2 * height + 0.36, "networks", **label)
    for place, level in enumerate(sweep.levels):
        x = left + place * _CELL[0]
        _tile(page, (x, top), level.white_box.of(kind), height)
        _tile(page, (x, top + height + 0.06), level.noise.of(kind), height)
        middle = x + _CELL[0] / 2
        clean = format_rate(level.clean.mean)
        _write(page, middle, top + 2 * height + 0.2, clean, size=8.5, ha="center")
        count = str(level.clean.count)
        _write(page, middle, top + 2 * height + 0.36, count, size=8.5, ha="center")


def _tile(page: Axes, corner: tuple[float, float], rate: Range | None, height: float) -> None:
    color = ramp_color(rate.mean) if rate else _EMPTY
    place = Rectangle(corner, _CELL[0], height, facecolor=color, edgecolor=PAPER, lw=1)
    page.add_artist(place)
    looks: dict[str, Any] = {"ha": "center", "color": ink_color(color)}
    x, y = corner[0] + _CELL[0] / 2, corner[1] + height / 2
    _write(page, x, y - 0.08, format_rate(rate.mean if rate else None), size=9.5, **looks)
    if rate:
        spread = f"{format_rate(rate.low)}–{format_rate(rate.high)}"
        _write(page, x, y + 0.12, spread, size=7, **looks)


def _outline(page: Axes, corner: tuple[float, float]) -> None:
    place = (corner[0] + 0.025, corner[1] + 0.025)
    looks: dict[str, Any] = {"fill": False, "edgecolor": EDGE, "lw": 1.8}
    page.add_artist(Rectangle(place, _CELL[0] - 0.05, _CELL[1] - 0.05, **looks))


def _names(lengths: Lengths) -> tuple[str, str]:
    name = f"α {lengths.alpha:g}, β {lengths.beta:g}"
    return name, f"β/(α+β) {lengths.share:.3g}"


def _write(page: Axes, x: float, y: float, text: str, **looks: Any) -> None:
    page.text(x, y, text, **{"ha": "left", "va": "center", "color": INK, **looks})
