"""The audit on a terminal: rich renderables; ``fleet.cli`` prints them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fleet.audit.kind import Audit
from fleet.audit.result import AuditedDevice, Cell, Protocol, TransferAudit, Verdict
from fleet.reports.findings import (
    Kind,
    checks_with,
    controls,
    flag,
    lift,
    protocols,
    rows,
    summary_lines,
    verdict,
    worst_pairs,
)
from fleet.reports.orders import control_mark
from fleet.reports.wording import (
    format_eps,
    format_interval,
    format_lift,
    format_rate,
    visible,
)

_STYLES = {"fail": "bold red", "warn": "bold yellow", "pass": "green"}
_WIDEST_NAME = 12  # of a column's title; a longer name folds onto further lines


def transfer_table(
    audit: TransferAudit, protocol: Protocol, eps: float, kind: Kind = "evade"
) -> Table:
    """One protocol's matrix: surrogates as rows, victims as columns, the white-box diagonal bold.

    Controls stand last, in rows of their own section. Below the matrix stand, for each victim, the
    noise floor of the same ``kind``, the clean accuracy, the clean reject rate and n.

    Args:
        audit: The audit.
        protocol: Whose worst case over the attacks to show.
        eps: One of ``audit.eps``.
        kind: What counts as success.

    Raises:
        KeyError: The audit holds no such matrix.
    """
    table = _titled(audit, protocol, f"{_title(protocol, eps)}: {kind}, surrogate × victim")
    table.add_column("surrogate", overflow="fold", min_width=len("clean accuracy"))
    for device in audit.devices:
        name = Text(_column_name(device))
        width = min(len(name), _WIDEST_NAME)
        table.add_column(name, justify="right", min_width=width, overflow="fold")
    cells = rows(audit, audit.matrix(protocol, eps))
    shipped = len(audit.devices) - len(controls(audit))
    for number, (device, row) in enumerate(zip(audit.devices, cells, strict=True)):
        if number == shipped > 0:
            table.add_section()
        table.add_row(Text(_column_name(device)), *(_rate(cell, kind) for cell in row))
    table.add_section()
    for label, values in _footer(audit, eps, kind):
        table.add_row(Text(label, style="italic"), *values)
    table.add_row(Text("n", style="italic"), *(str(cell.outcome.n) for cell in cells[0]))
    return table


def worst_pairs_table(
    audit: TransferAudit, protocol: Protocol, eps: float, kind: Kind = "evade", top: int = 10
) -> Table:
    """The ``top`` surrogate-victim pairs of the highest rate, white-box attacks left out.

    Raises:
        KeyError: The audit holds no such matrix.
    """
    pairs = worst_pairs(audit, audit.matrix(protocol, eps), kind, top)
    table = _titled(audit, protocol, f"{_title(protocol, eps)}: {kind}, {len(pairs)} worst pairs")
    for title in ("surrogate", "victim"):
        table.add_column(title, overflow="fold", min_width=len(title))
    for title in (kind, "95 %", "n", "lift"):
        table.add_column(title, justify="right", no_wrap=True)
    for cell in pairs:
        table.add_row(
            Text(visible(cell.surrogate)),
            Text(visible(cell.victim)),
            format_rate(cell.outcome.rate(kind)),
            format_interval(cell.outcome.interval(kind)),
            str(cell.outcome.n),
            format_lift(lift(audit, cell, eps, kind)),
        )
    return table


@dataclass(frozen=True)
class TransferView:
    """Every protocol at one eps, fitted to the width at which it is printed.

    Side by side where there is room, else one under the other; a matrix wider than the terminal
    gives way to its worst pairs and a line that says where the whole is.

    Attributes:
        audit: The audit.
        eps: One of ``audit.eps``.
        kind: What counts as success.
    """

    audit: TransferAudit
    eps: float
    kind: Kind = "evade"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lay the tables out for ``options.max_width`` columns."""
        shown = protocols(self.audit, self.eps)
        tables = [transfer_table(self.audit, name, self.eps, self.kind) for name in shown]
        sizes = [Measurement.get(console, options.update(width=10_000), table) for table in tables]
        if sum(size.maximum + 2 for size in sizes) <= options.max_width:
            yield _beside(tables)
        elif all(size.minimum <= options.max_width for size in sizes):
            yield Group(*tables)
        else:
            for name in shown:
                yield worst_pairs_table(self.audit, name, self.eps, self.kind)
            count = len(self.audit.devices)
            yield Text(
                f"The {count} × {count} matrix is wider than this terminal; "
                "it is whole in report.html and transfer.csv.",
                style="italic",
            )


def checks_table(audit: Audit, verdicts: Sequence[Verdict] = ("fail", "warn", "pass")) -> Table:
    """Reliability checks that ended with one of ``verdicts``, in that order."""
    table = Table(title=Text("reliability checks", style="bold"), title_justify="left")
    table.add_column("check", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    for title in ("of", "finding"):
        table.add_column(title, overflow="fold")
    for check in checks_with(audit, *verdicts):
        table.add_row(
            Text(visible(f"{check.id} {check.title}")),
            Text(check.verdict.upper(), style=_STYLES[check.verdict]),
            Text(visible(check.subject)),
            Text(visible(check.finding)),
        )
    return table


def audit_view(audit: TransferAudit) -> Group:
    """The whole audit for a terminal: matrices, the checks that did not pass, the summary last."""
    views: list[RenderableType] = [TransferView(audit, eps) for eps in audit.eps]
    if checks_with(audit, "fail", "warn"):
        views.append(checks_table(audit, ("fail", "warn")))
    return Group(*views, summary_text(audit))


def summary_text(audit: TransferAudit) -> Text:
    """The lines of :func:`~fleet.reports.findings.summary_lines`, the verdict in its colour."""
    *lines, last = summary_lines(audit)
    return Text("\n").join([*map(Text, lines), Text(last, style=_STYLES[verdict(audit)[0]])])


def verdict_style(level: Verdict) -> str:
    """How a level is set in type."""
    return _STYLES[level]


def _column_name(device: AuditedDevice) -> str:
    return visible(device.name) + control_mark(device)


def _title(protocol: Protocol, eps: float) -> str:
    return f"{protocol} protocol, eps {format_eps(eps)}"


def _titled(audit: TransferAudit, protocol: Protocol, title: str) -> Table:
    flagged = flag(audit, protocol)
    text = Text(title, style="bold")
    if flagged:
        text.append(f"\n{flagged.sentence}", style=_STYLES["fail"])
    return Table(title=text, title_justify="left")


def _rate(cell: Cell, kind: Kind) -> Text:
    style = "bold" if cell.surrogate == cell.victim else ""
    return Text(format_rate(cell.outcome.rate(kind)), style=style, no_wrap=True)


def _footer(audit: TransferAudit, eps: float, kind: Kind) -> Iterable[tuple[str, list[str]]]:
    devices = audit.devices
    floors = [audit.noise_floor(device.name, eps).outcome for device in devices]
    yield "noise floor", [format_rate(floor.rate(kind)) for floor in floors]
    yield "clean accuracy", [format_rate(device.clean_accuracy) for device in devices]
    yield "clean reject", [format_rate(device.clean_reject_rate) for device in devices]


def _beside(tables: list[Table]) -> Table:
    grid = Table.grid()
    grid.add_row(*(Padding(table, (0, 2, 0, 0)) for table in tables))
    return grid
