"""An audit as a notebook shows it: the verdict, and its main table."""

import csv
import io
from typing import Any

from fleet.audit.core.result import AuditResult
from fleet.audit.transfer.result import TransferAudit
from fleet.notebook import data_frame, html_table
from fleet.reports.answers import answers
from fleet.reports.large import LARGE
from fleet.reports.large_matrix import distribution, worst_cases
from fleet.reports.report import AuditReport, report_of
from fleet.reports.tables import Table
from fleet.reports.transfer import worst_table
from fleet.reports.views import summary_lines
from fleet.reports.wording import format_eps, format_rate, visible
from fleet.reports.write import render_csv


def frame(audit: AuditResult) -> Any:
    """The rows of :func:`render_csv` as a ``pandas.DataFrame``; numbers are numbers.

    Raises:
        BackendError: pandas is not installed.
    """
    rows = csv.DictReader(io.StringIO(render_csv(audit)))
    return data_frame([{name: _value(text) for name, text in row.items()} for row in rows])


def html(audit: AuditResult) -> str:
    """The verdict as a table, below it the adaptive matrices or the audit's main table."""
    found = answers(AuditReport.of(audit))
    said = [(question, " ".join(words)) for question, words in found.grouped.items()]
    believed = ("Can this be believed?", " ".join(found.believe))
    parts = [html_table(f"Verdict on {audit.run}", ("", ""), [*said, believed])]
    if isinstance(audit, TransferAudit) and len(audit.devices) > LARGE:
        tables = [worst_table(audit, "adaptive", eps) for eps in audit.eps]
        parts += [*map(_table, tables), _table(distribution(audit, worst_cases(audit)))]
    elif isinstance(audit, TransferAudit):
        parts += [_matrix(audit, eps) for eps in audit.eps]
    else:
        first, *_ = report_of(audit).tables.values()
        parts += [_table(each) for each in first(audit).fitted()]
    lines = [html_table("In words", (), [(visible(x),) for x in summary_lines(audit)], title="td")]
    return "\n".join(parts + lines)


def _table(table: Table[Any]) -> str:
    caption, heads, rows = table.html()
    return html_table(caption, [words for words, _ in heads], rows)


def _matrix(audit: TransferAudit, eps: float) -> str:
    matrix, names = audit.matrix("adaptive", eps), [device.name for device in audit.devices]
    rows = [
        (row, *(format_rate(matrix.cell(row, column).outcome.rate("evade")) for column in names))
        for row in names
    ]
    floor = [format_rate(audit.noise_floor(name, eps).outcome.rate("evade")) for name in names]
    caption = f"Evade, surrogate (row) × victim (column), adaptive, eps {format_eps(eps)}"
    heads = ("surrogate", *map(visible, names))
    return html_table(caption, heads, [*rows, ("noise floor", *floor)])


def _value(text: str) -> int | float | str | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None
