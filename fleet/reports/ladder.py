"""The threat ladder: what an attacker gets who has nobody's device, one, several, or the victim's.

Kerckhoffs: code, data, architecture and the distribution of encodings are public; weights and
per-device values are not. Every figure is an adaptive evade rate, worst case over the attacks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeGuard, TypeVar

from fleet.audit.coalition.result import CoalitionAudit
from fleet.audit.query.result import QueryAudit
from fleet.audit.result import Cell, Outcome, TransferAudit
from fleet.audit.statistics import mean_rate, wilson_interval
from fleet.audit.whitebox.result import WhiteboxAudit
from fleet.reports.findings import fleet_cells, nobody_cells
from fleet.reports.flags import Flag, audited_protocols, flag
from fleet.reports.kinds import Audit, AuditKind, AuditReport, kind_of
from fleet.reports.wording import visible

Interval = tuple[float, float]
Guarded = TypeVar("Guarded", TransferAudit, WhiteboxAudit)


@dataclass(frozen=True)
class Extreme:
    """The highest figure of a rung.

    Attributes:
        rate: Evade rate in [0, 1].
        interval: Its 95 % interval.
        where: Between which devices.
    """

    rate: float
    interval: Interval
    where: str


@dataclass(frozen=True)
class Rung:
    """One attacker at one eps.

    Attributes:
        level: ``noise``, ``T0`` to ``T4``, and ``T0+q`` for asking without owning a device.
        attacker: What he has, in words.
        source: The audit that says so, or None where nothing does.
        mean: Mean evade rate over victims (or pairs); None where it was not audited.
        interval: 95 % interval of ``mean``; see :func:`mean_interval`.
        flip: The part of ``mean`` that is decoded as a wrong class; None where unknown.
        n: Images behind each rate: the smallest number over the victims.
        worst: The highest figure, or None.
        flag: Flag of the audit's adaptive figures.
        gap: Why there is no figure; empty where there is one.
    """

    level: str
    attacker: str
    source: AuditKind | None
    mean: float | None = None
    interval: Interval | None = None
    flip: float | None = None
    n: int = 0
    worst: Extreme | None = None
    flag: Flag | None = None
    gap: str = ""


def ladder(report: AuditReport) -> dict[float, list[Rung]]:
    """All rungs, weakest attacker first, at every eps at which two attackers can be compared.

    Where no eps has figures of two attackers, at every eps that has one.
    """
    radii = sorted({eps for audit in report.audits.values() for eps in audit.eps})
    found = {eps: _rungs(report, eps) for eps in radii}
    attackers = {eps: _attackers(rungs) for eps, rungs in found.items()}
    least = min(2, max(attackers.values(), default=0))
    return {eps: rungs for eps, rungs in found.items() if attackers[eps] >= max(1, least)}


def mean_interval(mean: float, n: int) -> Interval:
    """Wilson 95 % interval of a mean over devices on the same ``n`` images.

    The variance of an image's share of fallen devices is at most p (1 - p), as if all fell
    together, so the interval of a single device holds for the mean however they depend.
    """
    return wilson_interval(round(mean * n), n)


def _rungs(report: AuditReport, eps: float) -> list[Rung]:
    return [
        _noise(report, eps),
        _nobody(report, eps),
        _asking(report.query, eps, owning=False),
        _one(report.transfer, eps),
        _several(report.coalition, eps),
        _asking(report.query, eps, owning=True),
        _white_box(report, eps),
    ]


def _attackers(rungs: Iterable[Rung]) -> int:
    return sum(rung.mean is not None for rung in rungs if rung.level != "noise")


def _noise(report: AuditReport, eps: float) -> Rung:
    words = "noise floor: random signs, no model"
    for audit in (report.whitebox, report.transfer, report.coalition):
        if audit is not None and eps in audit.eps:
            fleet = _fleet(audit)
            floors = [(f.victim, f.outcome) for f in audit.noise if f.eps == eps]
            mine = [found for found in floors if found[0] in fleet]
            return _rung("noise", words, kind_of(audit), mine, None)
    return Rung("noise", words, None, gap="no noise at this eps")


def _nobody(report: AuditReport, eps: float) -> Rung:
    words = "nobody's device: a network of his own"
    transfer, coalition = report.transfer, report.coalition
    if _adaptive(transfer, eps):
        cells = nobody_cells(transfer, transfer.matrix("adaptive", eps))
        if cells:
            found = flag(transfer, "adaptive")
            return _rung("T0", words, "transfer", _pairs(cells), found)
    if coalition is not None and eps in coalition.eps:
        rung = _coalition_rung("T0", words, coalition, eps, size=0)
        if rung is not None:
            return rung
    why = "no control was audited" if transfer or coalition else "no transfer audit"
    return Rung("T0", words, None, gap=_at(why, transfer, eps))


def _one(transfer: TransferAudit | None, eps: float) -> Rung:
    words = "one device"
    if not _adaptive(transfer, eps):
        return Rung("T1", words, None, gap=_at("no transfer audit", transfer, eps))
    cells = fleet_cells(transfer, transfer.matrix("adaptive", eps))
    if not cells:
        return Rung("T1", words, None, gap="the fleet has one device")
    return _rung("T1", words, "transfer", _pairs(cells), flag(transfer, "adaptive"))


def _several(coalition: CoalitionAudit | None, eps: float) -> Rung:
    words = "several devices"
    if coalition is None or eps not in coalition.eps:
        return Rung("T2", words, None, gap=_at("no coalition audit", coalition, eps))
    sizes = [p.size for p in coalition.points(coalition.headline, eps, "random") if p.size > 1]
    sizes += [p.size for p in coalition.points(coalition.headline, eps, "greedy") if p.size > 1]
    if not sizes:
        return Rung("T2", words, None, gap="no coalition of two or more")
    size = max(sizes)
    words = f"{size} of {len(coalition.fleet)} devices"
    rung = _coalition_rung("T2", words, coalition, eps, size)
    return rung or Rung("T2", words, None, gap="no coalition of this size")


def _coalition_rung(
    level: str, words: str, audit: CoalitionAudit, eps: float, size: int
) -> Rung | None:
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
        words,
        "coalition",
        mean=point.share,
        interval=(point.low, point.high),
        flip=point.flip_share,
        n=n,
        worst=Extreme(worst.share, mean_interval(worst.share, n), f"{where} → the rest"),
        flag=flag(audit),
    )


def _asking(query: QueryAudit | None, eps: float, *, owning: bool) -> Rung:
    level = "T3" if owning else "T0+q"
    words = "several devices, and queries" if owning else "no device, but queries"
    if query is None or eps not in query.eps:
        return Rung(level, words, None, gap=_at("no query audit", query, eps))
    methods = [m for m in query.methods if m != "noise" and (m == "transfer+queries") == owning]
    if not methods:
        return Rung(level, words, None, gap="no such method was audited")
    fleet = _fleet(query)
    best: list[tuple[str, Outcome]] = []
    for victim in fleet:
        curves = [query.curve(victim, eps, method) for method in methods]
        curve = max(curves, key=lambda found: found.last.outcome.rate("evade") or 0.0)
        budget = f"{curve.last.queries} queries{' in total' if curve.counted == 'total' else ''}"
        label = f"{curve.method}, {budget} → {visible(victim)}"
        best.append((label, curve.last.outcome))
    return _rung(level, words, "query", best, flag(query))


def _white_box(report: AuditReport, eps: float) -> Rung:
    words = "the victim itself (white-box)"
    whitebox, transfer = report.whitebox, report.transfer
    if _adaptive(whitebox, eps):
        names = _fleet(whitebox)
        own = [(name, whitebox.figure(name, "adaptive", eps).outcome) for name in names]
        return _rung("T4", words, "whitebox", own, flag(whitebox, "adaptive"))
    if _adaptive(transfer, eps):
        fleet = _fleet(transfer)
        cells = transfer.matrix("adaptive", eps).cells
        own = [
            (c.victim, c.outcome) for c in cells if c.surrogate == c.victim and c.victim in fleet
        ]
        return _rung("T4", words, "transfer", own, flag(transfer, "adaptive"))
    return Rung("T4", words, None, gap=_at("no white-box audit", whitebox or transfer, eps))


def _rung(
    level: str,
    words: str,
    source: AuditKind,
    outcomes: Sequence[tuple[str, Outcome]],
    flagged: Flag | None,
) -> Rung:
    rated = [(where, o, rate) for where, o in outcomes if (rate := o.rate("evade")) is not None]
    mean = mean_rate(outcome.rate("evade") for _, outcome in outcomes)
    if mean is None:
        return Rung(level, words, None, gap="no image is decoded correctly")
    flip = mean_rate(outcome.rate("flip") for _, outcome in outcomes)
    n = min(outcome.n for _, outcome, _ in rated)
    where, outcome, rate = max(rated, key=lambda found: found[2])
    worst = Extreme(rate, outcome.interval("evade"), where)
    return Rung(level, words, source, mean, mean_interval(mean, n), flip, n, worst, flagged)


def _adaptive(audit: Guarded | None, eps: float) -> TypeGuard[Guarded]:
    return audit is not None and eps in audit.eps and "adaptive" in audited_protocols(audit)


def _pairs(cells: Iterable[Cell]) -> list[tuple[str, Outcome]]:
    return [(f"{visible(c.surrogate)} → {visible(c.victim)}", c.outcome) for c in cells]


def _fleet(audit: Audit) -> list[str]:
    return [device.name for device in audit.devices if device.role == "device"]


def _at(why: str, audit: Audit | None, eps: float) -> str:
    return why if audit is None or eps in audit.eps else "not audited at this eps"
