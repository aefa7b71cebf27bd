"""What the page shows of a trace audit."""

from __future__ import annotations

from typing import Any

from fleet.audit.trace.result import EvasionPrice, TraceAudit, TraceRate
from fleet.reports.flags import flag
from fleet.reports.wording import format_eps, format_interval, format_rate


def trace_page(audit: TraceAudit) -> dict[str, Any]:
    """Values for ``trace.html.jinja``."""
    return {
        "flag": flag(audit),
        "chance": format_rate(1 / len(audit.devices)),
        "lines": [_line(rate) for rate in audit.rates],
        "prices": [_price(price) for price in audit.prices],
    }


def _line(rate: TraceRate) -> tuple[Any, ...]:
    accused, outsiders = rate.false_positives
    return (
        rate.score,
        format_eps(rate.eps),
        rate.attacker,
        rate.evidence,
        rate.n,
        format_rate(rate.top1),
        format_interval(rate.top1_interval),
        _share(rate.convicted, rate.n),
        _share(rate.wrongly_accused, rate.n),
        f"{accused} of {outsiders}",
        format_interval(rate.false_positive_interval),
    )


def _price(price: EvasionPrice) -> tuple[Any, ...]:
    return (
        price.attacker,
        format_eps(price.eps),
        price.n,
        _share(price.evade, price.n),
        price.pairs,
        _share(price.transfers, price.pairs),
    )


def _share(part: int, whole: int) -> str:
    return format_rate(part / whole if whole else None)
