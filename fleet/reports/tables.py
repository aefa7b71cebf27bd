"""Tables, described once and written for a terminal, for the page and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from markupsafe import Markup
from rich.table import Table as RichTable
from rich.text import Text

from fleet.audit.core.result import Outcome
from fleet.reports import wording
from fleet.reports.flags import Flag

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
    """

    title: str
    rows: Sequence[Row]
    columns: Sequence[Column[Row]]
    apart: Callable[[Row], bool] | None = None

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
        table = [
            {
                head + suffix: cell
                for head, column in columns
                for suffix, cell in _written(column, row).items()
            }
            for row in self.rows
        ]
        stream = io.StringIO()
        if table:
            writer = csv.DictWriter(stream, fieldnames=list(table[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
        return stream.getvalue()


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
