"""Draws a device's order as a strip of small cells: the class at each slot of the number line."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from fleet.reports.orders import OrderLabel
from fleet.reports.palette import MUTED
from fleet.reports.ramp import ink_color

_LIGHT, _DARK = 0xEE, 0x58  # greys: the colours beside them are rates
_MOST_DIGITS = 12  # classes up to which each cell of a strip holds its number


@dataclass(frozen=True)
class Strips:
    """How the strips of one figure are laid out.

    Attributes:
        labels: Of every device.
        step: Length of one slot along the strip, inches.
        thickness: Across it, inches.
    """

    labels: list[OrderLabel]
    step: float
    thickness: float

    @property
    def length(self) -> float:
        """Length of the longest strip, inches; 0 if no device shows its order."""
        return max((len(label.classes or ()) for label in self.labels), default=0) * self.step

    @property
    def digits(self) -> bool:
        """Whether the cells hold their class's number."""
        longest = max((len(label.classes or ()) for label in self.labels), default=0)
        return longest <= _MOST_DIGITS and min(self.step, self.thickness) >= 0.1


def make_strips(labels: list[OrderLabel], cell: float) -> Strips:
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
        words = label.order if strips.digits else "–"
        page.text(x, y, words, fontsize=6.5, color=MUTED, style="italic", **looks)
        return
    for slot, number in enumerate(label.classes):
        ahead, across = slot * strips.step, -strips.thickness / 2
        place = (x + across, y + ahead) if upright else (x + ahead, y + across)
        _cell(page, strips, place, number, len(label.classes), upright=upright)


def _cell(
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
