"""Tables, described once and written for a terminal, for the page and as CSV."""

from __future__ import annotations

import csv
import heapq
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from rich.table import Table as RichTable
from rich.text import Text

from fleet.audit.core.result import Outcome
from fleet.reports import wording
from fleet.reports.flags import Flag
from fleet.reports.large import FILE_ROWS, PAGE_ROWS, TERMINAL_ROWS

Row = TypeVar("Row")

STYLES = {"fail": "bold red", "warn": "bold yellow", "pass": "green"}
"""How a verdict is set in type on a terminal."""


@dataclass(frozen=True)
class Form:
    """How the values of a column are written.

    Attributes:
        show: For people; an absent value is a dash.
        write: For CSV: by what the column's heading ends with there; an absent value is empty.
        css: Class of its cells in the page; empty for numbers.
        fold: Whether a terminal may break its cells into lines.
        tag: Whether the page shows it as a tag, and a terminal in the style, of its verdict.
    """

    show: Callable[[Any], str] = str
    write: Callable[[Any], Mapping[str, Any]] = lambda value: {"": value}
    css: str = ""
    fold: bool = False
    tag: bool = False


def plain(name: str) -> str:
    """Keep a spreadsheet from running a name as a formula (OWASP, "CSV injection")."""
    return (
        f"'{wording.visible(name)}"
        if name.startswith(("=", "+", "-", "@", "\t", "\r"))
        else wording.visible(name)
    )


def decimals(value: float | None) -> str:
    """A rate to six decimals; empty where there is none."""
    return "" if value is None else f"{value:.6f}"


def _outcome(outcome: Outcome) -> Mapping[str, Any]:
    """Counts, rates and Wilson 95 % bounds."""
    row: dict[str, Any] = {"n": outcome.n}
    for kind in ("flip", "reject", "evade"):
        low, high = outcome.interval(kind)
        row[kind] = getattr(outcome, kind)
        row[f"{kind}_rate"] = decimals(outcome.rate(kind))
        row[f"{kind}_low"] = decimals(low)
        row[f"{kind}_high"] = decimals(high)
    return row


COUNT = Form()
NAME = Form(wording.visible, lambda value: {"": plain(value)}, css="names", fold=True)
WORD = replace(NAME, fold=False)
PROSE = replace(NAME, css="prose")
VERDICT = Form(tag=True)
EPS = Form(wording.format_eps)
RATE = Form(wording.format_rate, lambda value: {"": decimals(value)})
LIFT = replace(RATE, show=wording.format_lift)
INTERVAL = Form(
    wording.format_interval,
    lambda bounds: {"_low": decimals(bounds[0]), "_high": decimals(bounds[1])},
)
OUTCOME = Form(write=_outcome)


@dataclass(frozen=True)
class Column(Generic[Row]):
    """One column: what it holds, how it is written, and under which heading where.

    Attributes:
        get: The value of a row.
        form: How it is written.
        html: Heading in the page; empty if it is not shown there.
        terminal: Heading on a terminal, likewise.
        csv: Heading in CSV, to which the form may add; None if it is not written there.
        bold: Rows in which it stands out.
        flag: What a row's value carries as a tag in the page.
    """

    get: Callable[[Row], Any]
    form: Form
    html: str = ""
    terminal: str = ""
    csv: str | None = None
    bold: Callable[[Row], bool] | None = None
    flag: Callable[[Row], Flag | None] | None = None

    def show(self, row: Row) -> str:
        """A row's value for people."""
        value = self.get(row)
        return wording.ABSENT if value is None else self.form.show(value)


def rates(get: Callable[[Row], Outcome], *kinds: wording.Success) -> list[Column[Row]]:
    """For the page, a rate and its 95 % interval of each kind of success."""
    found: list[Column[Row]] = []
    for kind in kinds:
        found += [
            Column(lambda row, kind=kind: get(row).rate(kind), RATE, kind),  # type: ignore[misc]
            Column(lambda row, kind=kind: get(row).interval(kind), INTERVAL, "95 %"),  # type: ignore[misc]
        ]
    return found


@dataclass(frozen=True)
class Table(Generic[Row]):
    """A table.

    Attributes:
        title: What it shows, in words.
        rows: In order.
        columns: In order, for all that write it.
        apart: Rows that stand in a section of their own on a terminal, from the first on.
        worst: How bad a row is, by which a table that is too long is cut; None: the first stay.
        instead: What is written beside the worst rows in the place of all, by file name.
    """

    title: str
    rows: Sequence[Row]
    columns: Sequence[Column[Row]]
    apart: Callable[[Row], bool] | None = None
    worst: Callable[[Row], float | None] | None = None
    instead: Mapping[str, Callable[[], Table[Any]]] = field(default_factory=dict)

    def cut(self, shown: int) -> Table[Row]:
        """The worst rows, worst first, with a title that says so."""
        words, first = "first", list(self.rows[:shown])
        if self.worst:
            badness = [self.worst(row) for row in self.rows]
            known = [k for k, bad in enumerate(badness) if bad is not None]
            ranked = heapq.nsmallest(shown, known, key=lambda k: (-(badness[k] or 0.0), k))
            words, first = "worst", [self.rows[k] for k in ranked]
        title = f"{self.title.rstrip('.')}. The {words} {shown} of {len(self.rows):,} rows."
        return replace(self, rows=first, title=title, apart=None)

    def fitted(self, limits: tuple[int, int] = PAGE_ROWS) -> list[Table[Any]]:
        """The table where it is short enough, else its worst rows and how the rates spread.

        Args:
            limits: Rows up to which it is whole, and how many are shown of a longer one.
        """
        if len(self.rows) <= limits[0]:
            return [self]
        spread = self.spread()
        return [self.cut(limits[1]), *([spread] if spread.rows else [])]

    def printed(self, title: Text | None = None) -> Iterator[RichTable]:
        """:meth:`fitted` for a terminal, the first table below ``title``."""
        first, *others = self.fitted(TERMINAL_ROWS)
        yield first.terminal(title)
        yield from (other.terminal() for other in others)

    def spread(self) -> Table[Spread]:
        """How the rates of all rows are distributed, those of each eps and kind apart."""
        columns = [c for c in self.columns if c.html or c.terminal]
        kinds = [column for column in columns if column.form in (EPS, WORD)]
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in self.rows:
            groups.setdefault(tuple(column.show(row) for column in kinds), []).append(row)
        found = []
        for column in columns:
            for group, rows in groups.items() if column.form in (RATE, LIFT) else ():
                values = [value for row in rows if (value := column.get(row)) is not None]
                if values:
                    found.append(
                        Spread.over(column.html or column.terminal, ", ".join(group), values)
                    )
        return Spread.table(f"How the rates of all {len(self.rows):,} rows are distributed", found)

    def files(self, name: str) -> dict[str, str]:
        """CSV by file name: the table where it is short enough, else what stands for it."""
        if len(self.rows) <= FILE_ROWS[0]:
            return {name: self.csv()}
        stem, _, end = name.rpartition(".")
        beside = {file: table().csv() for file, table in self.instead.items()}
        return {f"{stem}-worst.{end}": self.cut(FILE_ROWS[1]).csv(), **beside}

    def of(self, rows: Sequence[Row], title: str = "") -> Table[Row]:
        """The same table of other rows, with another title if one is given."""
        return replace(self, rows=rows, title=title or self.title)

    def html(self) -> tuple[str, list[tuple[str, str]], list[list[str]]]:
        """Caption; heading and class of each column; cells."""
        columns = [column for column in self.columns if column.html]
        heads = [(column.html, column.form.css) for column in columns]
        return self.title, heads, [[_cell(c, row) for c in columns] for row in self.rows]

    def terminal(self, title: Text | None = None) -> RichTable:
        """Lay it out for a terminal, below ``title`` if that says more than its own."""
        columns = [column for column in self.columns if column.terminal]
        table = RichTable(title=title or Text(self.title, style="bold"), title_justify="left")
        for column in columns:
            form, words = column.form, column.terminal
            number = not form.css and not form.tag
            least = max((len(column.show(row)) for row in self.rows), default=1) if number else 0
            table.add_column(
                Text(words),
                justify="right" if number else "left",
                overflow="fold" if form.fold else "ellipsis",
                no_wrap=not form.fold and (not number or form is INTERVAL),
                min_width=len(words) if form is NAME else 0 if form is INTERVAL else least,
            )
        began = False
        for row in self.rows:
            if not began and self.apart and self.apart(row):
                table.add_section()
                began = True
            table.add_row(*(_text(column, row) for column in columns))
        return table

    def csv(self) -> str:
        """Write the rows below a header, lines ending with a line feed; no rows, no text."""
        columns = [(c.csv, c) for c in self.columns if c.csv is not None]
        stream = io.StringIO()
        writer = csv.DictWriter(stream, list[str](), lineterminator="\n")
        for row in self.rows:
            cells = {
                head + suffix: cell
                for head, column in columns
                for suffix, cell in _written(column, row).items()
            }
            if not writer.fieldnames:
                writer.fieldnames = list(cells)
                writer.writeheader()
            writer.writerow(cells)
        return stream.getvalue()


@dataclass(frozen=True)
class Spread:
    """How some rates are distributed.

    Attributes:
        figure: What was counted.
        of: Of what, in words.
        n: How many rates.
        quantiles: Lowest, 10 %, median, 90 %, 99 % and highest.
    """

    figure: str
    of: str
    n: int
    quantiles: tuple[float, ...]

    @classmethod
    def over(cls, figure: str, of: str, rates: Sequence[float] | NDArray[np.float64]) -> Spread:
        """The distribution of one rate at least; NaN is left out."""
        known = np.asarray(rates, np.float64)
        known = known[~np.isnan(known)]
        shares = np.quantile(known, (0, 0.1, 0.5, 0.9, 0.99, 1), method="inverted_cdf")
        return cls(figure, of, len(known), tuple(map(float, shares)))

    @staticmethod
    def table(title: str, found: Sequence[Spread]) -> Table[Spread]:
        """Distributions beside each other."""
        heads = ("lowest", "10 %", "median", "90 %", "99 %", "highest")
        return Table(
            title,
            found,
            (
                Column(lambda s: s.figure, NAME, "figure", "figure"),
                Column(lambda s: s.of, NAME, "of", "of"),
                Column(lambda s: s.n, COUNT, "rows", "rows"),
                *(
                    Column[Spread](lambda s, k=k: s.quantiles[k], RATE, head, head)  # type: ignore[misc]
                    for k, head in enumerate(heads)
                ),
            ),
        )


def _written(column: Column[Row], row: Row) -> Mapping[str, Any]:
    value = column.get(row)
    return {"": ""} if value is None else column.form.write(value)


def _cell(column: Column[Row], row: Row) -> str:
    shown, flag = column.show(row), column.flag and column.flag(row)
    if column.form.tag:
        return Markup('<span class="tag {0}">{0}</span>').format(shown)
    if column.bold and column.bold(row):
        shown = Markup("<b>{}</b>").format(shown)
    if flag:
        return Markup('{} <span class="tag fail">{}</span>').format(shown, flag.short)
    return shown


def _text(column: Column[Row], row: Row) -> Text:
    shown = column.show(row)
    if column.form.tag:
        return Text(shown.upper(), style=STYLES[shown])
    return Text(shown, style="bold" if column.bold and column.bold(row) else "")
