"""How far an audit can be believed: checks, flags and the verdict, for audits of every kind."""

from collections.abc import Iterable
from dataclasses import replace

from fleet.audit.core import checks
from fleet.audit.core.checks import Flag
from fleet.audit.core.result import AuditResult, Check, Checked, Protocol, Verdict
from fleet.reports.wording import format_count, visible

__all__ = [
    "PROTOCOLS",
    "Flag",
    "audited_protocols",
    "blind_checks",
    "blind_line",
    "checks_with",
    "failed_checks",
    "flag",
    "verdict",
    "worst_level",
]

PROTOCOLS: tuple[Protocol, ...] = ("adaptive", "paper")
"""In the order of every report: the protocol that can be believed comes first."""


def checks_with(audit: Checked, *verdicts: Verdict) -> list[Check]:
    """Checks that ended with one of ``verdicts``, in the order of the verdicts asked for."""
    return [check for verdict in verdicts for check in audit.checks if check.verdict == verdict]


def flag(audit: Checked, protocol: Protocol | None = None) -> Flag | None:
    """The flag of figures (:func:`fleet.audit.core.checks.flag`), its ids made printable."""
    found = checks.flag(audit, protocol)
    return found and replace(found, ids=tuple(map(visible, found.ids)))


def failed_checks(audit: AuditResult, protocol: Protocol | None = None) -> str:
    """Ids of the checks that flag figures, separated by blanks; empty if none does."""
    flagged = flag(audit, protocol)
    return " ".join(flagged.ids) if flagged else ""


def audited_protocols(audit: AuditResult) -> tuple[Protocol, ...]:
    """Protocols whose figures an audit holds, in the order of :data:`PROTOCOLS`."""
    present = getattr(audit, "protocols", ())
    return tuple(protocol for protocol in PROTOCOLS if protocol in present)


def blind_checks(audit: AuditResult) -> list[Check]:
    """Failures of the paper's protocol alone, where the adaptive one stands beside it.

    They are expected: the paper's loss is flat inside an interval.
    """
    if "adaptive" not in audited_protocols(audit):
        return []
    return [check for check in checks_with(audit, "fail") if not check.about("adaptive")]


def blind_line(audit: AuditResult) -> str:
    """:func:`blind_checks` in one line; empty if there are none."""
    ids = tuple(dict.fromkeys(visible(check.id) for check in blind_checks(audit)))
    if not ids:
        return ""
    flagged = flag(audit, "paper")
    word = "blind" if flagged and flagged.word == "masked" else "unreliable"
    count = format_count(len(ids), "check")
    return f"the paper's own attack is {word} here: {count}: {', '.join(ids)}"


def verdict(audit: AuditResult) -> tuple[Verdict, str]:
    """How far this audit can be believed: a level and one sentence or two.

    Where the adaptive protocol was audited it alone counts: the paper's is blind on nearly every
    interval classifier (:func:`blind_line` says so).
    """
    level, words = _believed(audit)
    return level, words + _BRIEF * bool(audit.settings.get("brief"))


_BRIEF = " A brief audit: few standing images were tried again, and C&W and EAD were left out."


def _believed(audit: AuditResult) -> tuple[Verdict, str]:
    if not audit.checks:
        return "warn", "No reliability check ran: nothing vouches for these figures."
    adaptive: Protocol | None = "adaptive" if "adaptive" in audited_protocols(audit) else None
    counted = [check for check in audit.checks if not adaptive or check.about(adaptive)]
    failed, warned = (sum(c.verdict == level for c in counted) for level in ("fail", "warn"))
    if not counted:
        return "warn", "No reliability check of the adaptive attack ran: nothing vouches for it."
    if failed:
        count = f"{failed} of {len(counted)} reliability checks failed."
        flagged = flag(audit, adaptive)
        if flagged is None:
            return "fail", f"{count} They find fault with the fleet, not with these figures."
        ids = ", ".join(flagged.ids)
        return "fail", f"{count} With {ids} failed, a low rate is no evidence of safety."
    if warned:
        warn = "warns" if warned == 1 else "warn"
        return "warn", f"{warned} of {len(counted)} reliability checks {warn}; none failed."
    every = (
        f"All {len(counted)} reliability checks" if counted[1:] else "The only reliability check"
    )
    return "pass", f"{every} passed."


def worst_level(levels: Iterable[Verdict]) -> Verdict:
    """The worst of several levels; ``pass`` if there are none."""
    order: tuple[Verdict, ...] = ("pass", "warn", "fail")
    return max(levels, key=order.index, default="pass")
