"""A generic result, named rows of figures, for parts that need no statistics of their own.

Nothing in this module imports torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fleet.audit.core.document import Stored

Curve = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Row:
    """One thing that was tried.

    Attributes:
        names: What it is, for example a network, its seed and an eps.
        figures: What came of it, by name; None where there is nothing to count.
        curves: (x, y) ascending in x, by name; mostly empty.
    """

    names: Mapping[str, str | int | float]
    figures: Mapping[str, int | float | None]
    curves: dict[str, Curve] = field(default_factory=dict)

    def rate(self, figure: str) -> float | None:
        """A count of images as a share of ``n``; None of none.

        Raises:
            KeyError: The row has no such figure.
        """
        count, n = self.figures[figure], self.figures["n"]
        return count / n if n and count is not None else None


@dataclass(frozen=True)
class Rows(Stored, schema="fleet.reproduction.rows/1"):
    """Rows that belong together.

    Attributes:
        title: Networks and data.
        created: ISO 8601 UTC time.
        words: Names that need words, in the order of the document, and what each means.
        rows: In the order of the document.
        settings: What all rows share.
        provenance: Data, profiles, versions and machine.

    Raises:
        ValueError: There are no rows, or they are named in different ways.
    """

    title: str
    created: str
    words: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    settings: dict[str, Any]
    provenance: dict[str, Any]

    def __post_init__(self) -> None:
        if len({frozenset(row.names) for row in self.rows}) != 1:
            raise ValueError("there are no rows, or they are named in different ways")

    def where(self, **names: str | float) -> list[Row]:
        """All rows of these names, in order."""
        return [row for row in self.rows if names.items() <= row.names.items()]
