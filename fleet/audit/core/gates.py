"""What failed checks mean for figures, and why an audit that was made does not pass.

Reports print the flag and gates obey it. What was not measured has not passed.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from fleet.audit.core.kind import GATES, KINDS, Attacker, Gate, kind_of
from fleet.audit.core.result import AuditResult, Checked, Protocol, Reached

Confidence = Literal["lower", "point", "upper"]
"""Which figure is held against a limit: the rate, or an end of its 95 % interval."""

ENOUGH = 50
"""Images below which a rate says little."""


@dataclass(frozen=True)
class Demand:
    """What an audit is held to.

    Attributes:
        limits: The limit of each gate, [0, 1], by the attacker that it counts: the largest evade
            rate that passes, or the smallest value where the gate is a ``least`` one.
        confidence: ``upper`` passes a rate only if its whole interval keeps the limit, ``lower``
            refuses one only if its whole interval breaks it.
        masked: Whether a failed reliability check of the adaptive figures is a reason.
    """

    limits: Mapping[Attacker, float] = field(default_factory=dict)
    confidence: Confidence = "point"
    masked: bool = False

    @property
    def asked(self) -> bool:
        """Whether there is any gate."""
        return bool(self.limits) or self.masked


@dataclass(frozen=True)
class Ruling:
    """What became of one gate.

    Attributes:
        gate: As it was asked for, for example ``--max-transfer 0.2``.
        reasons: Why it is not passed; empty if it is.
        notes: What a reader of either answer should know.
    """

    gate: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Flag:
    """Why figures must not be read as safety.

    Attributes:
        word: ``masked`` when a check of the audit's kind that mask failed, else ``unreliable``.
        ids: The failed checks, each once.
    """

    word: Literal["masked", "unreliable"]
    ids: tuple[str, ...]

    @property
    def short(self) -> str:
        """The flag as it stands beside a figure, for example ``MASKED: M1, M8``."""
        return f"{self.word.upper()}: {', '.join(self.ids)}"

    @property
    def sentence(self) -> str:
        """The flag in words."""
        return f"{self.short} failed; a low rate here is no evidence of safety"


def flag(audit: Checked, protocol: Protocol | None = None) -> Flag | None:
    """The flag that figures carry, or None.

    A check whose subject begins with a protocol's name speaks of that protocol alone; any other
    speaks of both.

    Args:
        audit: Where the figures stand.
        protocol: Whose figures; None where the audit knows no protocols.
    """
    masking = frozenset[str]().union(*(kind.masking for kind in KINDS.values()))
    harmless = frozenset[str]().union(*(kind.harmless for kind in KINDS.values()))
    ids = dict.fromkeys(
        check.id
        for check in audit.checks
        if check.verdict == "fail"
        and check.id not in harmless
        and (protocol is None or check.about(protocol))
    )
    if not ids:
        return None
    return Flag("masked" if masking.intersection(ids) else "unreliable", tuple(ids))


def judge(
    audit: AuditResult, demand: Demand, victims: Collection[str] | None = None
) -> list[Ruling]:
    """Hold an audit to every gate that is asked for and counts what its kind measures.

    Args:
        audit: The result.
        demand: The gates.
        victims: Names of the devices whose figures are judged; None for all.
    """
    found = [one for one in audit.reached() if victims is None or one.victim in victims]
    gates = kind_of(audit).gates
    rulings = [
        _hold(audit, who, demand.limits[who], demand.confidence, found)
        for who in gates
        if who in demand.limits
    ]
    if demand.masked and gates:
        attacked = any(not GATES[who].least for who in gates)  # else it counts no victims
        reasons = (*(_unmeasured(audit.eps, found) if attacked else ()), *_flagged(audit))
        rulings.append(Ruling("--fail-on masked", reasons))
    return rulings


def refusals(rulings: Iterable[Ruling]) -> list[str]:
    """Why gates are not passed, each reason once."""
    return list(dict.fromkeys(reason for ruling in rulings for reason in ruling.reasons))


def _hold(
    audit: AuditResult, who: Attacker, limit: float, confidence: Confidence, found: list[Reached]
) -> Ruling:
    gate, counted = GATES[who], [one for one in found if one.attacker == who]
    past = [_past(counted, eps, limit, gate, confidence) for eps in audit.eps]
    reasons = (*(word for word in past if word), *_unmeasured(audit.eps, counted))
    others = (one for one in found if one.attacker != who)
    known = (one.note for one in counted if one.note and one.rate is not None)
    notes = (*known, *_few(counted, gate), *_elsewhere(others, limit))
    return Ruling(f"{gate.option} {limit:g}", reasons, notes)


def _past(
    found: list[Reached], eps: float, limit: float, gate: Gate, confidence: Confidence
) -> str:
    """Name the worst of one eps if it is past ``limit``; else empty."""
    sign = -1 if gate.least else 1
    end = {"lower": "upper", "upper": "lower"}.get(confidence) if gate.least else confidence

    def bound(one: Reached) -> float:
        return {"lower": one.interval[0], "upper": one.interval[1]}.get(end or "", one.rate or 0.0)

    rated = [one for one in found if one.eps == eps and one.rate is not None]
    worst = max(rated, key=lambda one: sign * bound(one), default=None)
    if worst is None or sign * bound(worst) <= sign * limit:
        return ""
    told = "" if confidence == "point" else f" ({end} bound {bound(worst):.3f} of {worst.n} images)"
    return (
        f"{gate.counts} {worst.rate:.3f}{told} {worst.words} at eps {eps:.4g} is "
        f"{'below' if gate.least else 'above'} {limit:g}"
    )


def _few(found: list[Reached], gate: Gate) -> Iterator[str]:
    """Warn of a rate over few images."""
    rated = [one for one in found if one.rate is not None]
    least = min(rated, key=lambda one: one.n, default=None)
    if least is not None and least.n < ENOUGH:
        low, high = least.interval
        yield (
            f"{least.victim} was measured on {least.n} images, fewer than {ENOUGH}: {gate.counts} "
            f"{least.rate:.3f} may be anything from {low:.3f} to {high:.3f}"
        )


def _elsewhere(others: Iterable[Reached], limit: float) -> Iterator[str]:
    """Name each other attacker who is above the limit, which is not theirs."""
    over = [one for one in others if (one.rate or 0.0) > limit]
    for who in dict.fromkeys(one.attacker for one in over):
        worst = max((one for one in over if one.attacker == who), key=lambda one: one.rate or 0.0)
        yield (
            f"not counted: evade {worst.rate:.3f} {worst.words} at eps {worst.eps:.4g}; "
            f"{GATES[who].option} judges it"
        )


def _unmeasured(eps: Iterable[float], found: list[Reached]) -> Iterator[str]:
    """Name each victim without a rate, and each eps without a victim."""
    for one in found:
        if one.rate is None:
            why = one.note or "it decodes no image correctly"
            yield f"nothing was measured on {one.victim}: {why}"
    attacked = {one.eps for one in found}
    empty = [f"{value:.4g}" for value in eps if value not in attacked]
    if empty:
        yield f"nothing was measured at eps {', '.join(empty)}: no device was attacked"


def _flagged(audit: AuditResult) -> Iterator[str]:
    flagged = flag(audit, "adaptive")
    if flagged:
        yield f"the adaptive figures fail a reliability check: {flagged.sentence}"
    elif not any(check.about("adaptive") for check in audit.checks):
        yield "no reliability check ran: nothing vouches for the adaptive figures"
