"""How an iterative attack moves: step rules, injected into :class:`fleet.attacks.PGD`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fleet.attacks.ball import Ball

Move = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""(images, gradient, values, step index) to the next images; may overwrite the first two."""


class StepRule(Protocol):
    """Makes the moves of one run; a rule with memory keeps it in the move that it returns."""

    def begin(self, ball: Ball, steps: int) -> Move:
        """Start a run of ``steps`` moves that stay inside ``ball``."""


@dataclass(frozen=True)
class SignStep:
    """Move in the steepest direction, then back into the ball.

    That is the sign of each pixel's gradient for ``linf``, the gradient over its length for ``l2``.

    Attributes:
        share: First step as a share of eps.
        final: Last step as a share of eps, reached linearly; None for a constant step.
    """

    share: float
    final: float | None = None

    def begin(self, ball: Ball, steps: int) -> Move:
        """See :class:`StepRule`."""
        final = self.share if self.final is None else self.final
        slope = (final - self.share) / max(1, steps - 1)

        def move(images: Tensor, gradient: Tensor, values: Tensor, index: int) -> Tensor:
            del values
            size = ball.eps * (self.share + slope * index)
            return ball.project(images.add_(ball.steepest(gradient), alpha=size))

        return move


@dataclass(frozen=True)
class Momentum:
    """Follow a running sum of gradients, each divided by its mean size (MI, Dong et al. 2018).

    A gradient of zero adds nothing, so an image that stands in a flat part goes on in its old
    direction; dividing it by its mean size of zero would be NaN for the rest of the run.

    Attributes:
        rule: How to move along the sum.
        decay: What is kept of the sum at each step.
    """

    rule: StepRule
    decay: float = 1.0

    def begin(self, ball: Ball, steps: int) -> Move:
        """See :class:`StepRule`."""
        inner = self.rule.begin(ball, steps)
        total = torch.zeros_like(ball.center)
        tiny = torch.finfo(total.dtype).tiny

        def move(images: Tensor, gradient: Tensor, values: Tensor, index: int) -> Tensor:
            gradient = gradient.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
            size = gradient.abs().mean(dim=(1, 2, 3), keepdim=True).clamp_(min=tiny)
            total.mul_(self.decay).add_(gradient.div_(size))
            return inner(images, total.clone(), values, index)

        return move


TENTH = SignStep(0.1)
"""Constant steps of eps/10."""
