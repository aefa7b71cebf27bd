"""What the page shows of a query audit."""

from __future__ import annotations

from typing import Any

from fleet.audit.query.result import QueryAudit, QueryCurve
from fleet.audit.statistics import wilson_interval
from fleet.reports.flags import flag
from fleet.reports.page_transfer import rate_and_interval
from fleet.reports.wording import ABSENT, format_eps, format_interval, format_rate

_COUNTED = {"image": "each image", "total": "in total"}


def query_page(audit: QueryAudit) -> dict[str, Any]:
    """Values for ``query.html.jinja``."""
    return {
        "flag": flag(audit),
        "lines": [_line(audit, curve) for curve in audit.curves],
        "fidelity": [
            (
                row.victim,
                row.queries,
                row.n,
                format_rate(row.agree / row.n),
                format_interval(wilson_interval(row.agree, row.n)),
                format_rate(row.correct / row.n),
            )
            for row in audit.fidelity
        ],
    }


def _line(audit: QueryAudit, curve: QueryCurve) -> tuple[Any, ...]:
    outcome = curve.last.outcome
    white_box = audit.white_box_of(curve.victim, curve.eps).outcome
    return (
        curve.victim,
        format_eps(curve.eps),
        curve.method,
        curve.answer,
        ", ".join(curve.owned) or "nothing",
        curve.last.queries,
        _COUNTED[curve.counted],
        format_rate(outcome.rate("flip")),
        *rate_and_interval(outcome, "evade"),
        outcome.n,
        ABSENT if curve.median_queries is None else curve.median_queries,
        format_rate(white_box.rate("evade")),
    )
