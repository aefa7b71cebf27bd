"""The report of a white-box audit."""

from __future__ import annotations

from fleet.audit.whitebox.result import WhiteboxAudit
from fleet.reports.csv_audits import margins_csv, whitebox_csv
from fleet.reports.flags import audited_protocols, flag
from fleet.reports.ladder import Rung, absent, noise_rung, rated
from fleet.reports.page_whitebox import whitebox_page
from fleet.reports.report import Figure, Report
from fleet.reports.whitebox_terminal import summary_lines, whitebox_view


def rungs(audit: WhiteboxAudit, eps: float) -> list[Rung]:
    """The noise floor, and the attacker who has the victim."""
    if eps not in audit.eps:
        return [absent("T4")]
    found = [noise_rung("whitebox", audit, eps)]
    if "adaptive" in audited_protocols(audit):
        names = [device.name for device in audit.devices if device.role == "device"]
        own = [(name, audit.figure(name, "adaptive", eps).outcome) for name in names]
        found.append(rated("T4", "whitebox", own, flag(audit, "adaptive")))
    return found


REPORT = Report(
    view=whitebox_view,
    summary=summary_lines,
    page=whitebox_page,
    template="whitebox.html.jinja",
    tables={"whitebox.csv": whitebox_csv, "whitebox-margins.csv": margins_csv},
    figures=(
        Figure(
            "whitebox-curves",
            "fleet.reports.curves_figure:draw",
            "Line charts, one for each device: white-box evade and flip rate of the adaptive "
            "protocol, evade rate of the paper's protocol and the noise floor against eps. "
            "The same figures stand in the white-box table.",
        ),
        Figure(
            "whitebox-split",
            "fleet.reports.split_figure:draw",
            "Stacked bars: share of flips and of rejects for every device, eps and protocol, with "
            "the noise floor as a line. The same figures stand in the white-box table.",
        ),
        Figure(
            "whitebox-margins",
            "fleet.reports.margins_figure:draw",
            "Histograms, one for each device: first-order distance of each correct image from the "
            "decision boundary, on a log scale, with every eps and the share of images below it.",
        ),
    ),
    rungs=rungs,
)
