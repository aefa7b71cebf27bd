"""What the page shows of a coalition audit."""

from __future__ import annotations

from typing import Any

from fleet.audit.coalition.result import CoalitionAudit, CurvePoint
from fleet.reports.flags import flag
from fleet.reports.wording import format_count, format_eps, format_interval, format_rate


def coalition_page(audit: CoalitionAudit) -> dict[str, Any]:
    """Values for ``coalition.html.jinja``; of the audit's headline attack."""
    attack = audit.headline
    points = [point for point in audit.curve if point.attack == attack]
    return {
        "flag": flag(audit),
        "curve": [_point(point) for point in points],
        "lines": coalition_lines(audit),
        "risks": [
            (
                risk.device,
                format_eps(risk.eps),
                format_rate(risk.blast_radius),
                format_interval((risk.blast_low, risk.blast_high)),
                format_rate(risk.exposure),
                format_interval((risk.exposure_low, risk.exposure_high)),
            )
            for eps in audit.eps
            for risk in audit.risks_of(attack, eps)
        ],
        "inputs": [
            (
                row.size,
                format_eps(row.eps),
                row.choice,
                "devices not owned" if row.of == "others" else "whole fleet",
                row.images,
                *map(format_rate, (row.mean, row.p95, row.at_least_half, row.all)),
            )
            for row in audit.inputs
            if row.attack == attack
        ],
    }


def coalition_lines(audit: CoalitionAudit) -> list[str]:
    """One sentence for each eps: m50, effective size, the device that is worst to lose."""
    return [_line(audit, eps) for eps in audit.eps]


def _line(audit: CoalitionAudit, eps: float) -> str:
    attack, count = audit.headline, len(audit.fleet)
    halves = {h.choice: h.size for h in audit.half if (h.attack, h.eps) == (attack, eps)}
    reached = "; ".join(
        f"{choice} coalitions reach half of the remaining fleet "
        + (f"with {format_count(size, 'device')}" if size is not None else "with no audited size")
        for choice, size in halves.items()
    )
    worth = next(e for e in audit.effective if (e.attack, e.eps) == (attack, eps)).size
    size = "unknown" if worth is None else f"{worth:.1f} of {count}"
    strongest, weakest = audit.strongest(attack, eps), audit.weakest(attack, eps)
    return (
        f"eps {format_eps(eps)}: {reached}; effective fleet size {size}; worst device to lose "
        f"{strongest.device} (blast radius {format_rate(strongest.blast_radius)}), most exposed "
        f"{weakest.device} ({format_rate(weakest.exposure)})"
    )


def _point(point: CurvePoint) -> tuple[Any, ...]:
    return (
        point.size,
        format_eps(point.eps),
        point.choice,
        f"all {point.coalitions}" if point.exhaustive else point.coalitions,
        format_rate(point.share),
        format_interval((point.low, point.high)),
        format_interval((point.lowest, point.highest)),
        format_rate(point.flip_share),
        format_rate(point.owned_share),
        format_rate(point.whole_share),
    )
