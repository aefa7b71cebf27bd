"""The report of a coalition audit."""

from __future__ import annotations

from fleet.audit.coalition.result import CoalitionAudit
from fleet.reports.coalition_terminal import coalition_view, summary_lines
from fleet.reports.csv_audits import coalition_csv
from fleet.reports.flags import flag
from fleet.reports.ladder import Extreme, Rung, absent, mean_interval, noise_rung
from fleet.reports.page_coalition import coalition_page
from fleet.reports.report import Figure, Report
from fleet.reports.wording import visible


def rungs(audit: CoalitionAudit, eps: float) -> list[Rung]:
    """The noise floor, and attackers with nobody's device and with the most devices audited."""
    if eps not in audit.eps:
        return [Rung("T0", gap="no control was audited"), absent("T2")]
    nobody = _of_size("T0", audit, eps, 0) or Rung("T0", gap="no control was audited")
    points = [p for p in audit.curve if (p.attack, p.eps) == (audit.headline, eps) and p.size > 1]
    size = max((point.size for point in points), default=0)
    several = _of_size("T2", audit, eps, size) if size else None
    gone = Rung("T2", gap="no coalition of two or more")
    return [noise_rung("coalition", audit, eps), nobody, several or gone]


def _of_size(level: str, audit: CoalitionAudit, eps: float, size: int) -> Rung | None:
    """Mean over the coalitions of one size, with its bootstrap interval, and the worst of them."""
    attack = audit.headline
    trials = [t for t in audit.trials if (t.attack, t.eps, t.size) == (attack, eps, size)]
    points = [p for p in audit.curve if (p.attack, p.eps, p.size) == (attack, eps, size)]
    if not trials or not points:
        return None
    point = next((p for p in points if p.choice != "greedy"), points[0])
    worst = max(trials, key=lambda trial: trial.share)
    n = min(victim.outcome.n for victim in worst.victims)
    where = "+".join(map(visible, worst.owned)) or "+".join(map(visible, worst.surrogates))
    return Rung(
        level,
        "coalition",
        mean=point.share,
        interval=(point.low, point.high),
        flip=point.flip_share,
        n=n,
        worst=Extreme(worst.share, mean_interval(worst.share, n), f"{where} → the rest"),
        flag=flag(audit),
        owns=f"{size} of {len(audit.fleet)} devices" if size else "",
    )


REPORT = Report(
    view=coalition_view,
    summary=summary_lines,
    page=coalition_page,
    template="coalition.html.jinja",
    tables={"coalition.csv": coalition_csv},
    figures=(
        Figure(
            "coalition",
            "fleet.reports.coalition_figure:draw",
            "Line charts, one for each eps: mean evade rate of the devices that the attacker does "
            "not own against the number that he owns, for random and for greedy coalitions. "
            "The same figures stand in the coalition table.",
        ),
    ),
    rungs=rungs,
)
