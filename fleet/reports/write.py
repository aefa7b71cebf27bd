"""Every report of an audit or of a whole run, written in one go."""

from pathlib import Path

from fleet.audit.core.result import AuditResult
from fleet.files import write_bytes
from fleet.reports.figures import draw_figures
from fleet.reports.html import render_html
from fleet.reports.report import AuditReport, read_audits, report_of


def render_run_reports(audits_directory: Path) -> list[Path]:
    """Render all audits of a run anew: what every audit command calls when it is done.

    Args:
        audits_directory: ``audits/`` of a run, which holds ``KIND/audit.json``.

    Returns:
        The files: ``report.html`` and the ladder here, tables and figures of each kind in
        ``KIND/``.

    Raises:
        AuditError: There is no audit that can be read.
        BackendError: matplotlib is not installed.
        StorageError: A file cannot be written.
    """
    return write_reports(read_audits(audits_directory), audits_directory)


def render_csv(audit: AuditResult) -> str:
    """The audit's main table, one row for each figure.

    Counts are integers; rates and 95 % bounds are shares of [0, 1] to six decimals, and a rate over
    no examples is empty.

    Returns:
        Text with a header row; lines end with a single line feed.
    """
    first, *_ = report_of(audit).tables.values()
    text: str = first(audit).csv()
    return text


def write_reports(report: AuditReport | AuditResult, directory: Path) -> list[Path]:
    """Write ``report.html``, and tables (CSV) and figures (PNG, SVG) of every audit.

    All are rendered before the first is written, so that a failure leaves no mixture of old and
    new files. Files of a kind go into a folder of its name; those of a single audit, given as such,
    beside ``report.html``.

    Args:
        report: Audits of a run, or one audit.
        directory: Created if needed.

    Returns:
        The files, ``report.html`` first.

    Raises:
        BackendError: matplotlib is not installed.
        StorageError: A file cannot be written.
    """
    whole = isinstance(report, AuditReport)
    rendered = _render(report if isinstance(report, AuditReport) else AuditReport.of(report))
    written = []
    for (kind, name), data in rendered.items():
        path = directory / kind / name if kind and whole else directory / name
        write_bytes(path, data)
        written.append(path)
    return written


def _render(report: AuditReport) -> dict[tuple[str | None, str], bytes]:
    figures = draw_figures(report)
    page = render_html(report, figures).encode("utf-8")
    files: dict[tuple[str | None, str], bytes] = {(None, "report.html"): page}
    for kind, audit in report.audits.items():
        for table, render in report_of(audit).tables.items():
            for name, text in render(audit).files(table).items():
                files[kind, name] = text.encode("utf-8")
    for figure in figures:
        files[figure.kind, f"{figure.name}.png"] = figure.png
        files[figure.kind, f"{figure.name}.svg"] = figure.svg
    return files
