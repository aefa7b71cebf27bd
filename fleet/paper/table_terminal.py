"""The paper's Tables 1 and 2 on a terminal, ours beside it."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table as Grid
from rich.text import Text

from fleet.paper.published import ATTACKS
from fleet.paper.table_result import Spread, Table, TableRow
from fleet.reports.wording import ABSENT, format_eps, format_rate


def table_view(table: Table) -> Group:
    """One grid for each eps, the accuracies in all of them, and what the columns mean."""
    grids = [_grid(table, level) for level in range(len(table.eps))]
    words = (
        f"{table.images} test images attacked; shares of those that the network decodes correctly. "
        "Paper | ours: wrong classes under the paper's protocol. Adaptive: worst case over these "
        "and attacks that ascend the output itself. Noise: random signs of the same eps.\n"
        "A paper-protocol figure with failed checks is masked: it is no evidence of safety."
    )
    return Group(*grids, Text(words))


def _grid(table: Table, level: int) -> Grid:
    title = Text(f"{table.title}, eps {format_eps(table.eps[level])}", style="bold")
    grid = Grid(title=title, title_justify="left")
    for words in ("network", "task"):
        grid.add_column(words, no_wrap=True)
    heads = ("LEG\npaper | ours", "FGSM\npaper | ours", "PGD\npaper | ours")
    for words in (*heads, "adaptive\nflip", "adaptive\nevade", "noise\nfloor", "masked by"):
        grid.add_column(words, justify="right")
    for row in table.rows:
        grid.add_row(*_line(row, level))
    return grid


def _line(row: TableRow, level: int) -> list[str]:
    levels = len(row.honest)
    cells = [row.cells[number * levels + level] for number in range(len(ATTACKS))]
    honest = row.honest[level]
    return [
        row.backbone,
        row.words,
        f"{row.published_clean:.3f} | {_spread(row.clean)}",
        *(f"{cell.published:.3f} | {_spread(cell.flip)}" for cell in cells),
        _spread(honest.flip),
        _spread(honest.evade),
        format_rate(honest.noise.mean),
        ", ".join(row.masked) or ABSENT,
    ]


def _spread(found: Spread) -> str:
    """Mean, and the standard deviation over the seeds where there are several."""
    mean = format_rate(found.mean)
    return mean if found.sd is None else f"{mean} ± {found.sd:.3f}"
