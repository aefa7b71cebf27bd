"""Every figure of a report, drawn once; matplotlib is loaded here and only when asked for."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from fleet.audit.core.kind import load
from fleet.audit.transfer.result import TransferAudit
from fleet.errors import BackendError
from fleet.reports.ladder import ladder
from fleet.reports.report import AuditReport, Figure, report_of


@dataclass(frozen=True)
class DrawnFigure:
    """One figure.

    Attributes:
        name: Of its files, without suffix.
        kind: The audit that it shows; None for the whole report.
        alt: What it shows, in words.
        png: The file.
        svg: The file; its texts stay text.
    """

    name: str
    kind: str | None
    alt: str
    png: bytes
    svg: bytes


_LADDER = Figure("ladder", "fleet.reports.ladder_figure:draw")


def draw_figures(report: AuditReport) -> list[DrawnFigure]:
    """Draw every figure of a report.

    The same report gives the same bytes on the same matplotlib.

    Raises:
        BackendError: matplotlib is not installed.
    """
    found = [
        _drawn(figure, kind, (audit,))
        for kind, audit in report.audits.items()
        for figure in report_of(audit).figures
    ]
    rungs = ladder(report.audits.values())
    return [_drawn(_LADDER, None, (rungs,)), *found] if rungs else found


def encoded(draw: str, arguments: tuple[Any, ...], *forms: str) -> list[bytes]:
    """Draw one figure and encode it in each form, ``png`` or ``svg``.

    Args:
        draw: ``module:function`` that draws it.
        arguments: Of that function.
        forms: Any of the two.

    Raises:
        BackendError: matplotlib is not installed.
    """
    try:
        drawing, function = import_module("fleet.reports.drawing"), load(draw)
    except ImportError as error:
        raise BackendError(
            f"figures need matplotlib, which cannot be imported ({error})",
            hint='install it with `pip install "interval-fleet[train]"`',
        ) from error
    with drawing.drawing():
        figure = function(*arguments)
        return [bytes(drawing.encode(figure, form)) for form in forms]


def heatmap_png(audit: TransferAudit) -> bytes:
    """Draw every protocol (columns) at every eps (rows) on one scale from 0 to 1.

    Surrogates are the rows of a panel, victims its columns, lighter means a higher rate, and the
    white-box diagonal is outlined. Beside each name stands the device's encoding: alpha, beta and
    a strip with the class at each slot. Controls stand last, behind a line. Below each matrix
    stand the noise floor and the clean accuracy. A protocol whose reliability checks failed says
    so above its panel. Beyond 20 networks the cells hold no numbers.

    Args:
        audit: The audit.

    Returns:
        A PNG file; the same audit gives the same bytes on the same matplotlib.

    Raises:
        BackendError: matplotlib is not installed.
    """
    return encoded("fleet.reports.transfer_figure:draw", (audit,), "png")[0]


def heatmap_svg(audit: TransferAudit) -> bytes:
    """:func:`heatmap_png` as an SVG file whose text stays text."""
    return encoded("fleet.reports.transfer_figure:draw", (audit,), "svg")[0]


def _drawn(figure: Figure, kind: str | None, arguments: tuple[Any, ...]) -> DrawnFigure:
    png, svg = encoded(figure.draw, arguments, "png", "svg")
    return DrawnFigure(
        figure.name, kind, " ".join((load(figure.draw).__doc__ or "").split()), png, svg
    )
