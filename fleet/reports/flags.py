"""How far an audit can be believed: checks, flags and the verdict, for audits of every kind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fleet.audit.core import checks
from fleet.audit.core.checks import Flag
from fleet.audit.core.result import AuditResult, Check, Checked, Protocol, Verdict
from fleet.reports.wording import visible

__all__ = [
    "PROTOCOLS",
    "Flag",
    "audited_protocols",
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


def verdict(audit: AuditResult) -> tuple[Verdict, str]:
    """How far this audit can be believed: a level and one sentence or two.

    ``fail`` when every protocol audited is flagged, ``warn`` when one can still be believed. The
    paper's protocol is masked on nearly every interval classifier; that alone is no ``fail``.
    """
    if not audit.checks:
        return "warn", "No reliability check ran: nothing vouches for these figures."
    total = len(audit.checks)
    failed, warned = len(checks_with(audit, "fail")), len(checks_with(audit, "warn"))
    if failed:
        return _failed(audit, f"{failed} of {total} reliability checks failed.")
    if warned:
        return "warn", f"{warned} of {total} reliability checks warn; none failed."
    return "pass", f"All {total} reliability checks passed."


def worst_level(levels: Iterable[Verdict]) -> Verdict:
    """The worst of several levels; ``pass`` if there are none."""
    order: tuple[Verdict, ...] = ("pass", "warn", "fail")
    return max(levels, key=order.index, default="pass")


def _failed(audit: AuditResult, count: str) -> tuple[Verdict, str]:
    audited = audited_protocols(audit)
    if not audited:
        found = flag(audit)
        if found is None:
            return "fail", f"{count} They find fault with the fleet, not with these figures."
        ids = ", ".join(found.ids)
        return "fail", f"{count} With {ids} failed, a low rate is no evidence of safety."
    flags = {protocol: flag(audit, protocol) for protocol in PROTOCOLS}
    words = " and ".join(f"{protocol} protocol ({f.word})" for protocol, f in flags.items() if f)
    sound = [protocol for protocol in audited if not flags[protocol]]
    sentence = f"{count} A low rate of the {words} is no evidence of safety."
    if not sound:
        return "fail", sentence
    return "warn", f"{sentence} The {sound[0]} protocol failed none."
