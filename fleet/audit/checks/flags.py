"""What failed checks mean for figures: the one rule that reports print and gates obey."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fleet.audit.result import Checked, Protocol

MASKING = frozenset(
    {"M1", "M2", "M3", "M4", "M5", "M6", "M7", "M8", "M10", "M13", "M16", "BT", "Q1"}
    | {"C1", "C2", "C3", "C5", "C6", "C7"}
)
"""Checks whose failure means that the attack was blind or lost what it had found, not that the
device is robust."""

ABOUT_THE_FLEET = frozenset({"C4"})
"""Checks whose failure says something about the devices and nothing against the figures."""


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


def flag(audit: Checked, protocol: Protocol | None = None) -> Flag | None:
    """The flag that figures carry, or None.

    A check whose subject begins with a protocol's name speaks of that protocol alone; any other
    speaks of both.

    Args:
        audit: Where the figures stand.
        protocol: Whose figures; None where the audit knows no protocols.
    """
    ids = dict.fromkeys(
        check.id
        for check in audit.checks
        if check.verdict == "fail"
        and check.id not in ABOUT_THE_FLEET
        and (protocol is None or check.about(protocol))
    )
    if not ids:
        return None
    return Flag("masked" if MASKING.intersection(ids) else "unreliable", tuple(ids))


def masked(audit: Checked, protocol: Protocol = "adaptive") -> bool:
    """Whether a protocol's figures carry a flag, so that a low rate is no evidence of safety.

    The paper's protocol is masked on nearly every interval classifier; a gate for continuous
    integration asks about the adaptive one.

    Args:
        audit: Any result that holds checks.
        protocol: Whose figures.
    """
    return flag(audit, protocol) is not None
