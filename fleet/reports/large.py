"""What changes in a report when a fleet is large: the one place that says when and how much.

Views of single networks and pairs are whole up to :data:`LARGE` networks. Beyond, matrices become
a map of tiles in an order that brings like devices together, with the distribution of rates and
the worst pairs, and what has a place for each device shows the worst. Tables of any kind are cut
by their rows: their worst rows, and how the rest is distributed. ``audit.json`` holds everything.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from fleet.reports.wording import visible

LARGE = 24
"""Networks up to which every view of single ones is whole."""

MOST_PANELS = 20
"""Networks that get a panel each in a figure, and numbers in the cells of a matrix."""

MOST_CELLS = 12
"""Networks up to which the page shows matrices as tables; a figure shows larger ones."""

PAGE_ROWS = (500, 25)
"""Rows up to which the page shows a table whole, and how many it shows of a longer one."""

TERMINAL_ROWS = (200, 20)
"""The same for a terminal."""

FILE_ROWS = (50_000, 1000)
"""The same for CSV; a file that was cut has ``-worst`` in its name."""

MOST_LINES = 50
"""Items of a list, such as checks that failed, that a page shows."""

MOST_TILES = 125
"""Tiles along a side of the map of a matrix; beyond, each is of several devices."""

Item = TypeVar("Item")


def worst_of(
    items: Iterable[Item], badness: Callable[[Item], float | None], most: int = LARGE
) -> list[Item]:
    """The ``most`` items of the highest badness in the order they came; all if no more."""
    known = list(items)
    if len(known) <= most:
        return known
    ranked = sorted(range(len(known)), key=lambda k: -(badness(known[k]) or 0.0))
    return [known[k] for k in sorted(ranked[:most])]


def named(names: Sequence[str]) -> str:
    """Names of a coalition; of one larger than :data:`LARGE` the first and how many follow."""
    shown = list(map(visible, names[: LARGE if len(names) <= LARGE else 3]))
    rest = len(names) - len(shown)
    return "+".join(shown) + (f" and {rest} more" if rest else "")
