"""What the paper claims, and what holds of it. Nothing in this module imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fleet.audit.stored import load, save, to_document

SCHEMA = "fleet.reproduction.claims/1"

ClaimVerdict = Literal[
    "holds",
    "holds only under the paper's protocol",
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
class Claims:
    """All of them.

    Attributes:
        created: ISO 8601 UTC time.
        claims: In the order of the paper.
        sources: Name and creation time of each result that was read.
    """

    created: str
    claims: tuple[Claim, ...]
    sources: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values with the schema's name."""
        return to_document(self, SCHEMA)

    def save(self, path: Path) -> None:
        """Write the claims, whole or not at all.

        Raises:
            StorageError: They cannot be written.
        """
        save(self, path, SCHEMA)

    @classmethod
    def load(cls, path: Path) -> Claims:
        """Read the claims.

        Raises:
            AuditError: The file is absent, not JSON, of another schema, or damaged.
        """
        return load(cls, path, SCHEMA)
