"""The audit as a figure, the form of the paper's Figure 3: PNG and SVG."""

from __future__ import annotations

from types import ModuleType

from fleet.audit.result import TransferAudit
from fleet.errors import BackendError
from fleet.reports.findings import Kind


def heatmap_png(audit: TransferAudit, kind: Kind = "evade") -> bytes:
    """Draw every protocol (columns) at every eps (rows) on one scale from 0 to 1.

    Surrogates are the rows of a panel, victims its columns, lighter means a higher rate, and the
    white-box diagonal is outlined. Below each matrix stand the noise floor and the clean accuracy.
    A protocol whose reliability checks failed says so above its panel.

    Args:
        audit: The audit; 2 to 16 devices are legible.
        kind: What counts as success.

    Returns:
        A PNG file; the same audit gives the same bytes on the same matplotlib.

    Raises:
        BackendError: matplotlib is not installed.
    """
    return bytes(_figure_module().draw(audit, kind, "png"))


def heatmap_svg(audit: TransferAudit, kind: Kind = "evade") -> bytes:
    """:func:`heatmap_png` as an SVG file whose text stays text."""
    return bytes(_figure_module().draw(audit, kind, "svg"))


def _figure_module() -> ModuleType:
    try:
        from fleet.reports import heatmap_figure  # noqa: PLC0415  the base install has no matplotlib
    except ImportError as error:
        raise BackendError(
            f"figures need matplotlib, which cannot be imported ({error})",
            hint='install it with `pip install "interval-fleet[train]"`',
        ) from error
    return heatmap_figure
