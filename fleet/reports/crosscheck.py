"""The cross-check on a terminal and in the page."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from fleet.audit.core.result import Outcome
from fleet.audit.crosscheck.result import Crosscheck, ToolFigure
from fleet.reports.large import worst_of
from fleet.reports.report import Block
from fleet.reports.tables import COUNT, EPS, INTERVAL, LIFT, NAME, RATE, Column, Table
from fleet.reports.wording import format_count, format_eps, visible


def crosscheck_view(check: Crosscheck) -> RenderableType:
    """Tables of evade rates, one for each device and eps, then versions and the verdict."""
    shown = worst_of(check.native, lambda native: native.outcome.rate("evade"))
    parts: list[RenderableType] = [_table(check, native.device, native.eps) for native in shown]
    return Group(*parts, *(Text(visible(line)) for line in summary_lines(check)))


def crosscheck_blocks(check: Crosscheck) -> Iterator[Block]:
    """The cross-check as parts of a page."""
    yield "lines", summary_lines(check)
    yield (
        "described",
        Table(
            "Adaptive evade rate of our own audit (worst case over the attacks) and of each attack "
            "of the libraries, on the same images",
            check.figures,
            (
                Column(lambda f: f.device, NAME, "device"),
                Column(lambda f: f.eps, EPS, "eps"),
                Column(lambda f: f"{f.tool} {f.attack}", NAME, "attack"),
                Column(lambda f: check.native_at(f.device, f.eps).rate("evade"), RATE, "our own"),
                Column(lambda f: f.outcome and f.outcome.rate("evade"), RATE, "evade"),
                Column(lambda f: f.outcome and f.outcome.interval("evade"), INTERVAL, "95 %"),
                Column(check.excess, LIFT, "beyond", bold=lambda f: f in check.exceeding),
                Column(lambda f: check.native_at(f.device, f.eps).n, COUNT, "n"),
            ),
        ),
    )


def summary_lines(check: Crosscheck) -> list[str]:
    """Versions compared, what is missing, what failed, and the verdict."""
    present = [tool for tool in check.tools if tool.version is not None]
    lines = ["compared with " + ", ".join(f"{tool.package} {tool.version}" for tool in present)]
    lines += [f"missing: {tool.package}" for tool in check.tools if tool.version is None]
    lines += [
        f"failed: {figure.tool} {figure.attack} on {figure.device}, eps "
        f"{format_eps(figure.eps)}: {figure.error}"
        for figure in check.failed
    ]
    limit = format_count(round(100 * check.tolerance, 6), "point")
    if not check.exceeding:
        counted = len(check.figures) - len(check.failed)
        return [*lines, f"none of {counted} results is above the native audit by over {limit}"]
    return [*lines, *(_exceeding_line(check, figure, limit) for figure in check.exceeding)]


def _exceeding_line(check: Crosscheck, figure: ToolFigure, limit: str) -> str:
    excess = 100 * (check.excess(figure) or 0.0)
    return (
        f"{figure.tool} {figure.attack} on {figure.device}, eps {format_eps(figure.eps)}: "
        f"{excess:.1f} points above the native audit, over {limit}"
    )


def _table(check: Crosscheck, device: str, eps: float) -> RichTable:
    native = check.native_at(device, eps)
    table = RichTable(
        title=f"{visible(device)}, eps {format_eps(eps)}, n {native.n}", title_justify="left"
    )
    table.add_column("attack")
    for title in ("evade", "flip", "reject", "beyond native"):
        table.add_column(title, justify="right")
    table.add_row(Text("fleet, adaptive worst case", style="bold"), *_rates(native), "")
    for figure in check.figures:
        if (figure.device, figure.eps) == (device, eps):
            table.add_row(f"{figure.tool} {figure.attack}", *_cells(check, figure))
    return table


def _cells(check: Crosscheck, figure: ToolFigure) -> list[str | Text]:
    if figure.outcome is None:
        return [Text("failed", style="bold yellow"), "", "", ""]
    excess = check.excess(figure)
    points = "" if excess is None else f"{100 * excess:+.1f}"
    style = "bold red" if figure in check.exceeding else ""
    return [*_rates(figure.outcome), Text(points, style=style)]


def _rates(outcome: Outcome) -> list[str]:
    rates = (outcome.rate(kind) for kind in ("evade", "flip", "reject"))
    return ["-" if rate is None else f"{rate:.3f}" for rate in rates]
