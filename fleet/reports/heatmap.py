"""The transfer audit as a figure, the form of the paper's Figure 3: PNG and SVG."""

from __future__ import annotations

from fleet.audit.result import TransferAudit
from fleet.reports.figures import encoded
from fleet.reports.findings import Kind


def heatmap_png(audit: TransferAudit, kind: Kind = "evade") -> bytes:
    """Draw every protocol (columns) at every eps (rows) on one scale from 0 to 1.

    Surrogates are the rows of a panel, victims its columns, lighter means a higher rate, and the
    white-box diagonal is outlined. Beside each name stands the device's encoding: alpha, beta and
    a strip with the class at each slot. Controls stand last, behind a line. Below each matrix
    stand the noise floor and the clean accuracy. A protocol whose reliability checks failed says
    so above its panel. Beyond 20 networks the cells hold no numbers.

    Args:
        audit: The audit.
        kind: What counts as success.

    Returns:
        A PNG file; the same audit gives the same bytes on the same matplotlib.

    Raises:
        BackendError: matplotlib is not installed.
    """
    return encoded("fleet.reports.heatmap_figure:draw", (audit, kind), "png")[0]


def heatmap_svg(audit: TransferAudit, kind: Kind = "evade") -> bytes:
    """:func:`heatmap_png` as an SVG file whose text stays text."""
    return encoded("fleet.reports.heatmap_figure:draw", (audit, kind), "svg")[0]
