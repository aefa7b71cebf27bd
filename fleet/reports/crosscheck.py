"""The cross-check on a terminal: a rich renderable; ``fleet.cli`` prints it."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fleet.audit.core.result import Outcome
from fleet.audit.crosscheck.result import Crosscheck, ToolFigure
from fleet.reports.wording import format_eps, visible


def crosscheck_view(check: Crosscheck) -> RenderableType:
    """Tables of evade rates, one for each device and eps, then versions and the verdict."""
    parts: list[RenderableType] = [
        _table(check, native.device, native.eps) for native in check.native
    ]
    return Group(*parts, *(Text(visible(line)) for line in summary_lines(check)))


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
    limit = f"{100 * check.tolerance:g} points"
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


def _table(check: Crosscheck, device: str, eps: float) -> Table:
    native = check.native_at(device, eps)
    table = Table(
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
