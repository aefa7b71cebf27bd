"""What FGSM and PGD find on INT when what the paper leaves open is chosen otherwise.

Nothing in this module imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fleet.audit.core.result import Outcome
from fleet.audit.core.stored import Stored

SCHEMA = "fleet.reproduction.choices/1"


@dataclass(frozen=True)
class Tried:
    """One choice on one network at one eps.

    Attributes:
        choice: Its name.
        eps: Linf radius in pixel units.
        outcome: Over the images that the network decodes correctly.
        floor: The same under Eq. 2's floor decoding.
    """

    choice: str
    eps: float
    outcome: Outcome
    floor: Outcome


@dataclass(frozen=True)
class ChoiceNetwork:
    """One INT network of Table 1.

    Attributes:
        backbone: ``nn``, ``alexnet`` or ``resnet18``.
        seed: Of its training.
        tried: By choice, then by eps.
    """

    backbone: str
    seed: int
    tried: tuple[Tried, ...]

    def at(self, choice: str, eps: float) -> Tried:
        """Look up one figure.

        Raises:
            KeyError: There is none.
        """
        for found in self.tried:
            if (found.choice, found.eps) == (choice, eps):
                return found
        raise KeyError((choice, eps))


@dataclass(frozen=True)
class Choices(Stored, schema=SCHEMA):
    """The paper's attacks on INT under each choice.

    Attributes:
        title: Networks and data.
        created: ISO 8601 UTC time.
        images: Test images attacked.
        eps: Linf radii in pixel units, ascending.
        words: Name of each choice and what it is, in the order of the document.
        networks: One for each backbone.
        provenance: Data, profile, versions and machine, by backbone.
    """

    title: str
    created: str
    images: int
    eps: tuple[float, ...]
    words: tuple[tuple[str, str], ...]
    networks: tuple[ChoiceNetwork, ...]
    provenance: dict[str, Any]
