"""The threat ladder: what an attacker gets with no device, with one, several, or the victim.

Kerckhoffs: code, data, architecture and the distribution of encodings are public; weights and
per-device values are not. Every figure is an adaptive evade rate, worst case over the attacks.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleet.audit.core import result
from fleet.audit.core.kind import kind_of, load
from fleet.reports.flags import Flag

Interval = tuple[float, float]

LEVELS: Mapping[str, tuple[str, str]] = {
    "noise": ("noise floor: random signs, no model", "no noise at this eps"),
    "T0": ("nobody's device: a network of their own", "no transfer audit"),
    "T0+q": ("no device, but queries", "no query audit"),
    "T1": ("one device", "no transfer audit"),
    "T2": ("several devices", "no coalition audit"),
    "T3": ("several devices, and queries", "no query audit"),
    "T4": ("the victim itself (white-box)", "no white-box audit"),
}
"""Every level, weakest attacker first: what the attacker has, and what is missing without a figure.
"""


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
        level: One of :data:`LEVELS`.
        source: The audit that says so, or None where nothing does.
        mean: Mean evade rate over victims (or pairs); None where it was not audited.
        interval: 95 % interval of ``mean``; see :func:`mean_interval`.
        flip: The part of ``mean`` that is decoded as a wrong class; None where unknown.
        n: Images behind each rate: the smallest number over the victims.
        worst: The highest figure, or None.
        flag: Flag of the audit's adaptive figures.
        gap: Why there is no figure; empty where there is one.
        owns: What the attacker has, if it is more than the level says.
    """

    level: str
    source: str | None = None
    mean: float | None = None
    interval: Interval | None = None
    flip: float | None = None
    n: int = 0
    worst: Extreme | None = None
    flag: Flag | None = None
    gap: str = ""
    owns: str = ""

    @property
    def attacker(self) -> str:
        """What the attacker has, in words."""
        return self.owns or LEVELS[self.level][0]


def ladder(audits: Iterable[result.AuditResult]) -> dict[float, list[Rung]]:
    """All rungs, weakest attacker first, at every eps at which two attackers can be compared.

    Where no eps has figures of two attackers, at every eps that has one. Of several audits that
    speak of one attacker the first that has a figure counts.
    """
    known = list(audits)
    found = {eps: _rungs(known, eps) for eps in sorted({e for audit in known for e in audit.eps})}
    attackers = {
        eps: sum(rung.mean is not None for rung in rungs if rung.level != "noise")
        for eps, rungs in found.items()
    }
    least = min(2, max(attackers.values(), default=0))
    return {eps: rungs for eps, rungs in found.items() if attackers[eps] >= max(1, least)}


def measured(rungs: Iterable[Rung]) -> list[Rung]:
    """Rungs that have a figure."""
    return [rung for rung in rungs if not rung.gap]


def gaps(rungs: Iterable[Rung]) -> str:
    """Attackers without a figure in one line, those with the same reason together; may be empty."""
    reasons: dict[str, list[str]] = {}
    for rung in rungs:
        if rung.gap:
            reasons.setdefault(rung.gap, []).append(rung.level)
    return "; ".join(f"{', '.join(levels)}: {reason}" for reason, levels in reasons.items())


def _rungs(audits: list[result.AuditResult], eps: float) -> list[Rung]:
    offered: list[Rung] = []
    for audit in audits:
        report: Any = load(kind_of(audit).report)
        kept: dict[float, list[Rung]] = audit.__dict__.setdefault("_rungs", {})
        at = eps if eps in audit.eps else audit.eps[0]
        if at not in kept:
            kept[at] = report.rungs(audit, at) if report.rungs else []
        offered += kept[at] if at == eps else _elsewhere(kept[at])
    chosen = []
    for level, (_, missing) in LEVELS.items():
        mine = [rung for rung in offered if rung.level == level] or [Rung(level, gap=missing)]
        chosen.append(next((rung for rung in mine if rung.mean is not None), mine[0]))
    return chosen


def mean_interval(mean: float, n: int) -> Interval:
    """Wilson 95 % interval of a mean over devices on the same ``n`` images.

    The variance of an image's share of fallen devices is at most p (1 - p), as if all fell
    together, so the interval of a single device holds for the mean however they depend.
    """
    return result.wilson_interval(round(mean * n), n)


def _elsewhere(found: list[Rung]) -> list[Rung]:
    """Rungs of attackers that the audit tried at another eps alone."""
    levels = dict.fromkeys(rung.level for rung in found if rung.level != "noise")
    return [Rung(level, gap="not audited at this eps") for level in levels]


def noise_rung(audit: result.AttackResult, source: str, eps: float) -> Rung:
    """The noise floor of an audit's devices."""
    fleet = set(audit.fleet)
    floors = [(f.victim, f.outcome) for f in audit.noise if f.eps == eps and f.victim in fleet]
    return rated("noise", source, floors)


def rated(
    level: str,
    source: str,
    outcomes: Sequence[tuple[Any, result.Outcome]],
    flagged: Flag | None = None,
    words: Callable[[Any], str] = str,
) -> Rung:
    """A rung over the outcomes of its victims (or pairs), each with what ``words`` names it by.

    Victims that decode no image correctly are left out.
    """
    known = [(where, o, rate) for where, o in outcomes if (rate := o.rate("evade")) is not None]
    mean = result.mean_rate(rate for _, _, rate in known)
    if mean is None:
        return Rung(level, gap="no image is decoded correctly")
    flip = result.mean_rate(outcome.rate("flip") for _, outcome in outcomes)
    n = min(outcome.n for _, outcome, _ in known)
    where, outcome, rate = max(known, key=lambda found: found[2])
    worst = Extreme(rate, outcome.interval("evade"), words(where))
    return Rung(level, source, mean, mean_interval(mean, n), flip, n, worst, flagged)
