"""How an iterative attack moves: step rules, injected into :class:`fleet.attacks.PGD`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from fleet.attacks.pixels import Box

Move = Callable[[Tensor, Tensor, int], Tensor]
"""(images, gradient, step index) to the next images; may overwrite both tensors."""


class StepRule(Protocol):
    """Makes the moves of one run; a rule with memory keeps it in the closure that it returns."""

    def begin(self, box: Box, steps: int) -> Move:
        """Start a run of ``steps`` moves that stay inside ``box``."""


@dataclass(frozen=True)
class SignStep:
    """Move each pixel by the sign of its gradient, then cut to the box.

    Attributes:
        share: First step as a share of eps.
        final: Last step as a share of eps, reached linearly; None for a constant step.
    """

    share: float
    final: float | None = None

    def begin(self, box: Box, steps: int) -> Move:
        """See :class:`StepRule`."""
        final = self.share if self.final is None else self.final
        slope = (final - self.share) / max(1, steps - 1)

        def move(images: Tensor, gradient: Tensor, index: int) -> Tensor:
            size = box.eps * (self.share + slope * index)
            return images.add_(gradient.sign_(), alpha=size).clamp_(box.low, box.high)

        return move


TENTH = SignStep(0.1)
"""Constant steps of eps/10."""
