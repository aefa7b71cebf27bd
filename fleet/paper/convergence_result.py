"""How fast each task learns: what ``fleet reproduce convergence`` found.

Nothing in this module imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from fleet.audit.core.stored import Stored

SCHEMA = "fleet.reproduction.convergence/1"

Variant = Literal["tra", "ordinal", "scaled", "paper"]
"""TRA; INT with the ordinal head; INT with the linear head as we train it and as the paper does."""

VARIANTS: tuple[Variant, ...] = ("tra", "ordinal", "scaled", "paper")


@dataclass(frozen=True)
class Curve:
    """Validation accuracy of one training.

    Attributes:
        seed: Of the training.
        points: (epochs, accuracy), ascending in epochs.
        reached: Epochs until the accuracy was first at the goal, or None if it never was.
    """

    seed: int
    points: tuple[tuple[float, float], ...]
    reached: float | None


@dataclass(frozen=True)
class Speed:
    """One variant at one learning rate.

    Attributes:
        variant: What was trained.
        learning_rate: Constant.
        epochs: Length of each training.
        curves: One for each seed.
        mean: Mean of the epochs to the goal; None if a seed never reached it.
        best: Whether this is the variant's quickest learning rate.
    """

    variant: Variant
    learning_rate: float
    epochs: int
    curves: tuple[Curve, ...]
    mean: float | None
    best: bool


@dataclass(frozen=True)
class Convergence(Stored, schema=SCHEMA):
    """Epochs until a share of the validation images is right.

    Attributes:
        title: Network and data.
        created: ISO 8601 UTC time.
        goal: That share.
        speeds: By variant, then by learning rate.
        provenance: Data, profile, versions and machine.
    """

    title: str
    created: str
    goal: float
    speeds: tuple[Speed, ...]
    provenance: dict[str, Any]

    def best(self, variant: Variant) -> Speed | None:
        """The variant's quickest learning rate; None if none reached the goal on every seed."""
        found = [s for s in self.speeds if s.variant == variant and s.best]
        return found[0] if found else None
