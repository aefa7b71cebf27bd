"""An audit's result as terminal tables, HTML, figures and CSV: pure functions, no torch.

Each report is a function of a :class:`~fleet.audit.result.TransferAudit` alone and gives the same
bytes for the same audit. A protocol whose reliability checks failed is marked in all of them.
"""

from fleet.reports.csv_table import render_csv
from fleet.reports.heatmap import heatmap_png, heatmap_svg
from fleet.reports.html import render_html
from fleet.reports.write import write_reports

__all__ = ["heatmap_png", "heatmap_svg", "render_csv", "render_html", "write_reports"]
