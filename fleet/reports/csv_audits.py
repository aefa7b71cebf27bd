"""White-box, coalition, query and trace audits as long tables (CSV)."""

from __future__ import annotations

from fleet.audit.coalition.result import CoalitionAudit
from fleet.audit.query.result import QueryAudit
from fleet.audit.trace.result import TraceAudit
from fleet.audit.whitebox.result import WhiteboxAudit
from fleet.reports.csv_table import Row, csv_text, decimals, failed_checks, outcome_columns, plain


def whitebox_csv(audit: WhiteboxAudit) -> str:
    """One row for each device, protocol, attack and eps; ``floor_*``: under Eq. 2's floor decoding.

    Columns are named and rounded as in :func:`fleet.reports.csv_table.render_csv`.
    """
    roles = {device.name: device for device in audit.devices}
    table: list[Row] = []
    for figure in audit.figures:
        noise = audit.noise_floor(figure.device, figure.eps)
        device = roles[figure.device]
        table.append(
            {
                "device": plain(figure.device),
                "role": device.role,
                "task": plain(device.task),
                "protocol": figure.protocol,
                "attack": plain(figure.attack),
                "norm": audit.norm,
                "eps": figure.eps,
                "clean_accuracy": decimals(device.clean_accuracy),
                **outcome_columns("", figure.outcome),
                **outcome_columns("floor_", figure.floor),
                **outcome_columns("noise_", noise.outcome),
                "failed_checks": failed_checks(audit, figure.protocol),
            }
        )
    return csv_text(table)


def margins_csv(audit: WhiteboxAudit) -> str:
    """One row for each image: its device and its first-order margin in pixel units."""
    return csv_text(
        [
            {"device": plain(margins.device), "norm": margins.norm, "margin": value}
            for margins in audit.margins
            for value in margins.values
        ]
    )


def coalition_csv(audit: CoalitionAudit) -> str:
    """One row for each point of the collusion curve, of every attack."""
    return csv_text(
        [
            {
                "attack": plain(point.attack),
                "eps": point.eps,
                "choice": point.choice,
                "owned": point.size,
                "fleet": len(audit.fleet),
                "coalitions": point.coalitions,
                "exhaustive": int(point.exhaustive),
                "others_evade": decimals(point.share),
                "others_evade_low": decimals(point.low),
                "others_evade_high": decimals(point.high),
                "leave_one_out_low": decimals(point.lowest),
                "leave_one_out_high": decimals(point.highest),
                "others_flip": decimals(point.flip_share),
                "owned_evade": decimals(point.owned_share),
                "fleet_evade": decimals(point.whole_share),
                "failed_checks": failed_checks(audit),
            }
            for point in audit.curve
        ]
    )


def query_csv(audit: QueryAudit) -> str:
    """One row for each point of every query curve."""
    return csv_text(
        [
            {
                "victim": plain(curve.victim),
                "eps": curve.eps,
                "method": curve.method,
                "answer": curve.answer,
                "owned": plain("+".join(curve.owned)),
                "counted": curve.counted,
                "queries": point.queries,
                **outcome_columns("", point.outcome),
                "median_queries": "" if curve.median_queries is None else curve.median_queries,
                "failed_checks": failed_checks(audit),
            }
            for curve in audit.curves
            for point in curve.points
        ]
    )


def trace_csv(audit: TraceAudit) -> str:
    """One row for each eps, attacker, score, amount of evidence, source and device named."""
    names = [device.name for device in audit.devices]
    return csv_text(
        [
            {
                "eps": rate.eps,
                "attacker": plain(rate.attacker),
                "score": rate.score,
                "evidence": rate.evidence,
                "source": plain(row.source),
                "named": plain(name),
                "n": sum(row.named),
                "count": row.named[place],
                "accused": row.accused[place],
                "top1": decimals(rate.top1),
                "chance": decimals(rate.chance),
                "failed_checks": failed_checks(audit),
            }
            for rate in audit.rates
            for row in rate.confusion
            for place, name in enumerate(names)
        ]
    )
