"""Every report of an audit, written beside each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fleet.audit.result import TransferAudit
from fleet.files import write_bytes
from fleet.reports.csv_table import render_csv
from fleet.reports.heatmap import heatmap_png, heatmap_svg
from fleet.reports.html import render_html

_REPORTS: dict[str, Callable[[TransferAudit], str | bytes]] = {
    "report.html": render_html,
    "transfer.csv": render_csv,
    "transfer.png": heatmap_png,
    "transfer.svg": heatmap_svg,
}


def write_reports(audit: TransferAudit, directory: Path) -> list[Path]:
    """Write ``report.html``, ``transfer.csv``, ``transfer.png`` and ``transfer.svg``.

    All are rendered before the first is written, so that a failure leaves no mixture of old and
    new files.

    Args:
        audit: The audit.
        directory: Created if needed.

    Returns:
        The files, in the order above.

    Raises:
        BackendError: matplotlib is not installed.
        StorageError: A file cannot be written.
    """
    rendered = {name: render(audit) for name, render in _REPORTS.items()}
    for name, content in rendered.items():
        data = content.encode("utf-8") if isinstance(content, str) else content
        write_bytes(directory / name, data)
    return [directory / name for name in rendered]
