"""What the paper claims, and what holds of it. Nothing in this module imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fleet.audit.core.stored import Stored

SCHEMA = "fleet.reproduction.claims/1"

ClaimVerdict = Literal[
    "holds",
    "holds only under the paper's protocol",
    "holds on some networks only",
    "does not hold",
    "undecided",
    "not measured",
]


@dataclass(frozen=True)
class Claim:
    """One claim of the paper.

    Attributes:
        id: A word, for links.
        words: The claim, in our words.
        place: Where the paper makes it.
        verdict: What holds of it. ``undecided``: it was measured, and the networks are too few to
            tell.
        evidence: Sentences, each with its figures.
        rule: How the verdict follows from the figures.
        command: What makes the figures again.
    """

    id: str
    words: str
    place: str
    verdict: ClaimVerdict
    evidence: tuple[str, ...]
    rule: str
    command: str


@dataclass(frozen=True)
class Claims(Stored, schema=SCHEMA):
    """All of them.

    Attributes:
        created: ISO 8601 UTC time.
        claims: In the order of the paper.
        sources: Name and creation time of each result that was read.
    """

    created: str
    claims: tuple[Claim, ...]
    sources: dict[str, str]
