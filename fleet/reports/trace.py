"""The report of a trace audit."""

from __future__ import annotations

from fleet.reports.csv_audits import trace_csv
from fleet.reports.page_trace import trace_page
from fleet.reports.report import Figure, Report
from fleet.reports.trace_terminal import summary_lines, trace_view

REPORT = Report(
    view=trace_view,
    summary=summary_lines,
    page=trace_page,
    template="trace.html.jinja",
    tables={"trace.csv": trace_csv},
    figures=(
        Figure(
            "trace",
            "fleet.reports.trace_figure:draw",
            "Confusion matrix of the device on which images were made and the device named, and "
            "the share named correctly by each score, against chance. The same shares stand in "
            "the trace table.",
        ),
    ),
)
