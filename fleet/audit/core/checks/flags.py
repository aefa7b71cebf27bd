"""What failed checks mean for figures: the one rule that reports print and gates obey."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fleet.audit.core.kind import KINDS
from fleet.audit.core.result import Checked, Protocol


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
