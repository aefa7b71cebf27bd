"""Gates: why an audit that was made does not pass. What was not measured has not passed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from fleet.audit.core.checks.flags import flag
from fleet.audit.core.result import Checked, Reached


class Gated(Checked, Protocol):
    """A result that a gate can judge."""

    @property
    def eps(self) -> tuple[float, ...]:
        """The radii audited."""

    def reached(self) -> Iterable[Reached]:
        """What attacks on devices of the fleet reached; controls are nobody's victims."""


def refusals(audit: Gated, limit: float | None, *, masked: bool) -> list[str]:
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


def _unmeasured(audit: Gated, found: list[Reached]) -> list[str]:
    """Name each victim without a rate, and each eps without a victim."""
    silent = dict.fromkeys(one.victim for one in found if one.rate is None)
    reasons = [f"nothing was measured on {name}: it decodes no image correctly" for name in silent]
    attacked = {one.eps for one in found}
    empty = [f"{eps:.4g}" for eps in audit.eps if eps not in attacked]
    if empty:
        reasons.append(f"nothing was measured at eps {', '.join(empty)}: no device was attacked")
    return reasons
