"""Matrices of surrogate against victim, on a terminal and in the page."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from fleet.audit.core.result import Cell, Matrix, Outcome, Protocol
from fleet.audit.transfer.result import TransferAudit
from fleet.reports import wording
from fleet.reports.findings import beside, protocols, rows
from fleet.reports.flags import PROTOCOLS, Flag, flag
from fleet.reports.large import LARGE
from fleet.reports.report import Block
from fleet.reports.tables import STYLES

_WIDEST_NAME = 12  # of a column's title; a longer name folds onto further lines

Shown = tuple[float | None, list[str]]
"""A cell's rate and the lines of small print below it."""


@dataclass(frozen=True)
class Grid:
    """One matrix as the page shows it.

    Attributes:
        title: What the cells count.
        matrix: Where they come from.
        flag: The protocol's flag, or None.
        cells: One row for each surrogate: each cell and what the page shows of it.
        footer: Rows below it: a label, then for each victim a rate (coloured) or a text.
    """

    title: str
    matrix: Matrix
    flag: Flag | None
    cells: list[list[tuple[Cell, Shown]]]
    footer: list[tuple[str, list[float | str | None]]]


def footer(audit: TransferAudit, matrix: Matrix) -> list[tuple[str, list[float | str | None]]]:
    """What stands below a matrix for each victim: rates, and n in words."""
    devices = audit.devices
    floors = [audit.noise_floor(device.name, matrix.eps).outcome for device in devices]
    counts = [str(cell.outcome.n) for cell in rows(audit, matrix)[0]]
    return [
        ("noise floor", [floor.rate("evade") for floor in floors]),
        ("clean accuracy", [device.clean_accuracy for device in devices]),
        ("clean reject", [device.clean_reject_rate for device in devices]),
        ("n", [*counts]),
    ]


def matrix_table(audit: TransferAudit, protocol: Protocol, eps: float) -> RichTable:
    """One protocol's matrix: surrogates as rows, victims as columns, the white-box diagonal bold.

    Controls and the twin stand last, in rows of their own section. Below the matrix stand, for each
    victim, the noise floor, the clean accuracy, the clean reject rate and n.

    Raises:
        KeyError: The audit holds no such matrix.
    """
    title = f"{protocol} protocol, eps {wording.format_eps(eps)}: evade, surrogate × victim"
    table = RichTable(title=flagged_title(audit, protocol, title), title_justify="left")
    table.add_column("surrogate", overflow="fold", min_width=len("clean accuracy"))
    names = [
        wording.visible(device.name) + wording.control_mark(device) for device in audit.devices
    ]
    for name in names:
        width = min(len(name), _WIDEST_NAME)
        table.add_column(Text(name), justify="right", min_width=width, overflow="fold")
    matrix = audit.matrix(protocol, eps)
    shipped = len(audit.devices) - len(beside(audit))
    for number, row in enumerate(rows(audit, matrix)):
        if number == shipped > 0:
            table.add_section()
        shown = (
            Text(
                wording.format_rate(cell.outcome.rate("evade")),
                style="bold" if cell.surrogate == cell.victim else "",
                no_wrap=True,
            )
            for cell in row
        )
        table.add_row(Text(names[number]), *shown)
    table.add_section()
    for label, values in footer(audit, matrix):
        shown_below = (v if isinstance(v, str) else wording.format_rate(v) for v in values)
        table.add_row(Text(label, style="italic"), *shown_below)
    return table


def flagged_title(audit: TransferAudit, protocol: Protocol, title: str) -> Text:
    """A title for a terminal, below it the protocol's flag."""
    text, flagged = Text(title, style="bold"), flag(audit, protocol)
    return text.append(f"\n{flagged.sentence}", style=STYLES["fail"]) if flagged else text


@dataclass(frozen=True)
class MatrixView:
    """Every protocol at one eps, fitted to the width at which it is printed.

    Side by side where there is room, else one under the other; a matrix wider than a terminal
    gives way to its worst pairs and a line that says where the whole is. A pipe gets it whole.
    That of a large fleet gives way everywhere.

    Attributes:
        audit: The audit.
        eps: One of ``audit.eps``.
        narrow: The worst pairs of a protocol at one eps, and the distribution of all, which
            stand for the matrix of a large fleet.
        most: Protocols shown at most, those that can be believed first.
    """

    audit: TransferAudit
    eps: float
    narrow: Callable[[TransferAudit, Protocol, float], list[RichTable]]
    most: int = len(PROTOCOLS)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lay the tables out for ``options.max_width`` columns."""
        shown = protocols(self.audit, self.eps)[: self.most]
        if len(self.audit.devices) > LARGE:
            yield from (part for name in shown for part in self.narrow(self.audit, name, self.eps))
            return
        tables = [matrix_table(self.audit, name, self.eps) for name in shown]
        sizes = [Measurement.get(console, options.update(width=10_000), table) for table in tables]
        if sum(size.maximum + 2 for size in sizes) <= options.max_width:
            grid = RichTable.grid()
            grid.add_row(*(Padding(table, (0, 2, 0, 0)) for table in tables))
            yield grid
        elif not console.is_terminal or max(s.minimum for s in sizes) <= options.max_width:
            yield Group(*tables)
        else:
            yield from (self.narrow(self.audit, name, self.eps)[0] for name in shown)
            count = len(self.audit.devices)
            yield Text(
                f"The {count} × {count} matrix is wider than this terminal; "
                "it is whole in report.html and transfer.csv.",
                style="italic",
            )


def matrices(audit: TransferAudit) -> Iterator[Block]:
    """Every matrix for the page, each once: that which can be believed open, the others folded."""
    for name in PROTOCOLS:
        grids = [
            (eps, [_grid(audit, audit.matrix(name, eps), _EVADE, _evaded, whole=True)])
            for eps in audit.eps
            if name in protocols(audit, eps)
        ]
        if not grids:
            continue
        block: Block = ("grids", audit.devices, grids)
        if name == protocols(audit, audit.eps[0])[0]:
            yield ("legend",)
            yield block
        else:
            yield "details", f"The matrices of the {name} protocol", [("legend",), block]
    others = [
        (
            eps,
            [
                _grid(audit, audit.matrix(name, eps), title, _counted(field), whole=False)
                for title, field in _DENOMINATORS
                for name in protocols(audit, eps)
            ],
        )
        for eps in audit.eps
    ]
    words = "Other denominators: both devices correct; attack on the surrogate succeeded"
    yield "details", words, [("grids", audit.devices, others)]


_EVADE = "evade (flip or reject), its 95 % interval, and the flips of it"
_DENOMINATORS = (
    ("evade, among images that surrogate and victim both decode correctly", "joint"),
    ("evade, among those whose attack evades the surrogate", "given_success"),
)


def _grid(
    audit: TransferAudit, matrix: Matrix, title: str, show: Callable[[Cell], Shown], *, whole: bool
) -> Grid:
    cells = [[(cell, show(cell)) for cell in row] for row in rows(audit, matrix)]
    below = footer(audit, matrix) if whole else []
    return Grid(title, matrix, flag(audit, matrix.protocol), cells, below)


def _evaded(cell: Cell) -> Shown:
    outcome = cell.outcome
    small = [
        wording.format_interval(outcome.interval("evade")),
        f"flip {wording.format_rate(outcome.rate('flip'))}",
    ]
    return outcome.rate("evade"), small


def _counted(field: str) -> Callable[[Cell], Shown]:
    """Here n differs from cell to cell, and a rate over few images says little."""

    def show(cell: Cell) -> Shown:
        outcome: Outcome = getattr(cell, field)
        interval = wording.format_interval(outcome.interval("evade"))
        return outcome.rate("evade"), [f"{outcome.evade} of {outcome.n}", interval]

    return show
