"""How far an audit can be believed: checks, flags and the verdict, for audits of every kind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from fleet.audit.result import Check, Checked, Protocol, TransferAudit, Verdict
from fleet.audit.whitebox.result import WhiteboxAudit
from fleet.reports.kinds import Audit
from fleet.reports.wording import visible

PROTOCOLS: tuple[Protocol, ...] = ("adaptive", "paper")
"""In the order of every report: the protocol that can be believed comes first."""

MASKING = frozenset(
    {"M1", "M2", "M3", "M4", "M5", "M6", "M7", "M8", "M10", "M13", "M16", "BT", "Q1"},
)
"""Checks whose failure means that the attack was blind or lost what it had found, not that the
device is robust."""


@dataclass(frozen=True)
class Flag:
    """Why figures must not be read as safety.

    Attributes:
        word: ``masked`` when a check of :data:`MASKING` failed, else ``unreliable``.
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


def checks_with(audit: Checked, *verdicts: Verdict) -> list[Check]:
    """Checks that ended with one of ``verdicts``, in the order of the verdicts asked for."""
    return [check for verdict in verdicts for check in audit.checks if check.verdict == verdict]


def flag(audit: Checked, protocol: Protocol | None = None) -> Flag | None:
    """The flag that figures carry, or None.

    A check whose subject begins with a protocol's name speaks of that protocol alone; any other
    failed check speaks of both.

    Args:
        audit: Where the figures stand.
        protocol: Whose figures; None where the audit knows no protocols.
    """
    failed = [
        check for check in checks_with(audit, "fail") if protocol is None or check.about(protocol)
    ]
    if not failed:
        return None
    ids = tuple(dict.fromkeys(visible(check.id) for check in failed))
    return Flag("masked" if MASKING.intersection(ids) else "unreliable", ids)


def audited_protocols(audit: Audit) -> tuple[Protocol, ...]:
    """Protocols whose figures an audit holds, in the order of :data:`PROTOCOLS`."""
    if isinstance(audit, TransferAudit):
        present = {matrix.protocol for matrix in audit.matrices}
    elif isinstance(audit, WhiteboxAudit):
        present = {figure.protocol for figure in audit.figures}
    else:
        present = set()
    return tuple(protocol for protocol in PROTOCOLS if protocol in present)


def verdict(audit: Audit) -> tuple[Verdict, str]:
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


def _failed(audit: Audit, count: str) -> tuple[Verdict, str]:
    audited = audited_protocols(audit)
    if not audited:
        found = flag(audit)
        ids = ", ".join(found.ids) if found else ""
        return "fail", f"{count} With {ids} failed, a low rate is no evidence of safety."
    flags = {protocol: flag(audit, protocol) for protocol in PROTOCOLS}
    words = " and ".join(f"{protocol} protocol ({f.word})" for protocol, f in flags.items() if f)
    sound = [protocol for protocol in audited if not flags[protocol]]
    sentence = f"{count} A low rate of the {words} is no evidence of safety."
    if not sound:
        return "fail", sentence
    return "warn", f"{sentence} The {sound[0]} protocol failed none."
