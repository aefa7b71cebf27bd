"""Results of audits as terminal tables, HTML, figures and CSV: pure functions, no torch.

Each report is a function of the audits' ``audit.json`` alone and gives the same bytes for the same
audits. Figures whose reliability checks failed are marked in all of them.
"""

from fleet.reports.comparison import Comparison, compare
from fleet.reports.figures import heatmap_png, heatmap_svg
from fleet.reports.html import render_comparison, render_html
from fleet.reports.report import AuditReport, read_audit, read_audits
from fleet.reports.write import render_csv, render_run_reports, write_reports

__all__ = [
    "AuditReport",
    "Comparison",
    "compare",
    "heatmap_png",
    "heatmap_svg",
    "read_audit",
    "read_audits",
    "render_comparison",
    "render_csv",
    "render_html",
    "render_run_reports",
    "write_reports",
]
