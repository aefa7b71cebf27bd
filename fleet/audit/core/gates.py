"""What failed checks mean for figures, and why an audit that was made does not pass.

Reports print the flag and gates obey it. What was not measured has not passed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from fleet.audit.core.kind import KINDS
from fleet.audit.core.result import AuditResult, Checked, Protocol, Reached


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


def masked(audit: Checked, protocol: Protocol = "adaptive") -> bool:
    """Whether a protocol's figures carry a flag, so that a low rate is no evidence of safety.

    The paper's protocol is masked on nearly every interval classifier; a gate for continuous
    integration asks about the adaptive one.

    Args:
        audit: Any result that holds checks.
        protocol: Whose figures.
    """
    return flag(audit, protocol) is not None


def refusals(audit: AuditResult, limit: float | None, *, masked: bool) -> list[str]:
    """Name every reason why an audit does not pass; none if no gate is asked for.

    Args:
        audit: The result.
        limit: Largest evade rate that passes, [0, 1]; None for any.
        masked: Whether a failed reliability check of the adaptive figures is a reason.
    """
    if limit is None and not masked:
        return []
    found = list(audit.reached())
    reasons = []
    if limit is not None:
        for eps in audit.eps:
            reasons += _above((one for one in found if one.eps == eps), limit)
    reasons += _unmeasured(audit, found)
    if masked:
        flagged = flag(audit, "adaptive")
        if flagged:
            reasons.append(f"the adaptive figures fail a reliability check: {flagged.sentence}")
        elif not any(check.about("adaptive") for check in audit.checks):
            reasons.append("no reliability check ran: nothing vouches for the adaptive figures")
    return reasons


def _above(found: Iterable[Reached], limit: float) -> list[str]:
    """Name the worst of one eps if it is above ``limit``."""
    rated = [(one.rate, one) for one in found if one.rate is not None]
    if not rated:
        return []
    rate, worst = max(rated, key=lambda pair: pair[0])
    if rate <= limit:
        return []
    return [f"evade {rate:.3f} {worst.words} at eps {worst.eps:.4g} is above {limit:g}"]


def _unmeasured(audit: AuditResult, found: list[Reached]) -> list[str]:
    """Name each victim without a rate, and each eps without a victim."""
    silent = dict.fromkeys(one.victim for one in found if one.rate is None)
    reasons = [f"nothing was measured on {name}: it decodes no image correctly" for name in silent]
    attacked = {one.eps for one in found}
    empty = [f"{eps:.4g}" for eps in audit.eps if eps not in attacked]
    if empty:
        reasons.append(f"nothing was measured at eps {', '.join(empty)}: no device was attacked")
    return reasons
