"""What the page shows of a white-box audit: the paper's Tables 1 and 2, and what they leave out."""

from __future__ import annotations

from typing import Any

from fleet.audit.result import AuditedDevice, Outcome, Protocol
from fleet.audit.whitebox.result import MinimumDistance, WhiteboxAudit, WhiteboxFigure
from fleet.reports.flags import Flag, audited_protocols, flag
from fleet.reports.page_transfer import rate_and_interval
from fleet.reports.wording import ABSENT, format_eps, format_lift, format_rate, short_eps

Column = tuple[str, Protocol | None, str, str]
"""Heading, protocol (None: noise), attack, kind of success."""


def whitebox_page(audit: WhiteboxAudit) -> dict[str, Any]:
    """Values for ``whitebox.html.jinja``."""
    columns = table_columns(audit)
    return {
        "eps": [short_eps(eps) for eps in audit.eps],
        "flags": {protocol: flag(audit, protocol) for protocol in audited_protocols(audit)},
        "groups": [(column[0], _flag(audit, column)) for column in columns],
        "lines": [(device, table_rates(audit, device, columns)) for device in audit.devices],
        "details": [_detail(audit, figure) for figure in audit.figures if figure.attack == "worst"],
        "distances": [_distance(row) for row in audit.distances],
        "binarization": [
            (b.device, format_eps(b.eps), b.n, b.unbuilt, b.paper, b.adaptive, b.random)
            for b in audit.binarization
        ],
    }


def table_columns(audit: WhiteboxAudit) -> list[Column]:
    """Columns of the paper's table: each attack on the task's loss, then the honest ones."""
    single = {f.attack for f in audit.figures if f.protocol == "paper" and f.attack != "worst"}
    columns: list[Column] = [
        (attack.upper(), "paper", attack, "evade")
        for attack in sorted(single, key=lambda attack: (attack != "fgsm", attack))
    ]
    if "adaptive" in audited_protocols(audit):
        columns.append(("adaptive flip", "adaptive", "worst", "flip"))
        columns.append(("adaptive evade", "adaptive", "worst", "evade"))
    return [*columns, ("noise floor", None, "", "evade")]


def table_rates(
    audit: WhiteboxAudit, device: AuditedDevice, columns: list[Column]
) -> list[float | None]:
    """One device's rates: the radii of the first column, then those of the next."""
    outcomes = {
        (f.protocol, f.attack, f.eps): f.outcome for f in audit.figures if f.device == device.name
    }
    found: list[float | None] = []
    for _, protocol, attack, kind in columns:
        for eps in audit.eps:
            outcome: Outcome | None
            if protocol is None:
                outcome = audit.noise_floor(device.name, eps).outcome
            else:
                outcome = outcomes.get((protocol, attack, eps))
            found.append(None if outcome is None else outcome.rate(kind))  # type: ignore[arg-type]
    return found


def _flag(audit: WhiteboxAudit, column: Column) -> Flag | None:
    return None if column[1] is None else flag(audit, column[1])


def _detail(audit: WhiteboxAudit, figure: WhiteboxFigure) -> tuple[Any, ...]:
    flagged = flag(audit, figure.protocol)
    noise = audit.noise_floor(figure.device, figure.eps).outcome.rate("evade")
    rate = figure.outcome.rate("evade")
    return (
        figure.device,
        f"{figure.protocol}, {flagged.short}" if flagged else figure.protocol,
        format_eps(figure.eps),
        figure.outcome.n,
        *rate_and_interval(figure.outcome, "flip"),
        *rate_and_interval(figure.outcome, "reject"),
        *rate_and_interval(figure.outcome, "evade"),
        format_rate(figure.floor.rate("evade")),
        format_rate(noise),
        format_lift(None if rate is None or noise is None else rate - noise),
    )


def _distance(row: MinimumDistance) -> tuple[Any, ...]:
    quantiles = (
        [ABSENT] * 3 if row.quantiles is None else [f"{value:.4g}" for value in row.quantiles]
    )
    return (row.device, row.attack, row.norm, f"{row.found} of {row.n}", *quantiles)
