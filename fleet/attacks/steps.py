"""How an iterative attack moves: step rules, injected into :class:`fleet.attacks.PGD`.

One of them finds its own size: the rule of APGD (Croce and Hein 2020, algorithm 1).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from fleet.attacks.ball import Ball

Move = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""(images, gradient, values, step index) to the next images; may overwrite the first two."""


class StepRule(Protocol):
    """Makes the moves of one run; a rule with memory keeps it in the move that it returns."""

    @property
    def rests(self) -> bool:
        """Whether a row whose gradient is 0 stays where it is for the rest of its run."""

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
    rests: ClassVar[bool] = True

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
    rests: ClassVar[bool] = False

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


_FIRST, _SHRINK, _SHORTEST = 22, 3, 6
"""Periods between checkpoints, in hundredths of the steps: the first, how each is shorter than the
one before, and the shortest. Whole numbers, because 0.22 + 0.19 + 0.16 is above 0.57 in floats."""


@dataclass(frozen=True)
class HalvingStep:
    """Start with steps of 2 eps; halve an image's step where it stopped paying, from its best.

    At each checkpoint an image's step is halved, and the image goes back to its best iterate, if
    its value rose in fewer than ``rises`` of the steps since the last checkpoint, or if neither
    the step nor the best value changed since then. ``PGD(..., rule=HalvingStep())`` is APGD.

    Every image has a step of its own, held in tensors: nothing is read back from the device.

    Attributes:
        share: First step as a share of eps.
        momentum: Weight of the new step; the rest is the last move's.
        rises: Share of steps that must raise the value.
    """

    share: float = 2.0
    momentum: float = 0.75
    rises: float = 0.75
    rests: ClassVar[bool] = False

    def begin(self, ball: Ball, steps: int) -> Move:
        """See :class:`fleet.attacks.StepRule`."""
        return _Run(self, ball, steps)


def checkpoints(steps: int) -> dict[int, int]:
    """Steps at which sizes are tested, each with the number of steps since the one before.

    They are at 22, 41, 57, 70, 80, 87, 93 and 99 % of the steps, rounded up.
    """
    found: dict[int, int] = {}
    before, share, period = 0, _FIRST, _FIRST
    while share < 100:
        step = -(-share * steps // 100)
        if before < step < steps:
            found[step] = step - before
            before = step
        period = max(period - _SHRINK, _SHORTEST)
        share += period
    return found


class _Run:
    """One run's memory; row by row: values (R,), steps (R, 1, 1, 1), images (R, C, H, W)."""

    def __init__(self, rule: HalvingStep, ball: Ball, steps: int) -> None:
        self.rule = rule
        self.ball = ball
        self.periods = checkpoints(steps)
        self.best = ball.center.clone()
        self.best_gradient = torch.zeros_like(ball.center)
        self.size = ball.center.new_full((len(ball.center), 1, 1, 1), rule.share * ball.eps)
        self.best_value = torch.full_like(self.size[:, 0, 0, 0], -torch.inf)
        self.value = -self.best_value
        self.best_before = self.best_value
        self.rises = torch.zeros_like(self.value)
        self.halved = torch.zeros_like(self.value, dtype=torch.bool)
        self.previous: Tensor | None = None

    def __call__(self, images: Tensor, gradient: Tensor, values: Tensor, index: int) -> Tensor:
        self._note(images, gradient, values)
        if self.previous is None:
            self.best_before = self.best_value
        if index in self.periods:
            images, gradient = self._check(images, gradient, self.periods[index])
        step = torch.addcmul(images, self.ball.steepest(gradient), self.size)
        ahead = self.ball.project(step)
        if self.previous is not None:
            weight = self.rule.momentum
            # images + weight * (ahead - images) + (1 - weight) * (images - previous)
            ahead.mul_(weight).add_(images, alpha=2 - 2 * weight)
            ahead = self.ball.project(ahead.sub_(self.previous, alpha=1 - weight))
        self.previous = images
        return ahead

    def _note(self, images: Tensor, gradient: Tensor, values: Tensor) -> None:
        """Remember the best, and whether the value rose."""
        better = values > self.best_value
        wide = better.view(-1, 1, 1, 1)
        torch.where(wide, images, self.best, out=self.best)
        torch.where(wide, gradient, self.best_gradient, out=self.best_gradient)
        self.best_value = torch.where(better, values, self.best_value)
        self.rises += values > self.value
        self.value = values

    def _check(self, images: Tensor, gradient: Tensor, period: int) -> tuple[Tensor, Tensor]:
        """Halve the steps of rows that meet either condition, and send these rows back."""
        erratic = self.rises < self.rule.rises * period
        stuck = ~self.halved & (self.best_value <= self.best_before)
        self.halved = erratic | stuck
        self.best_before = self.best_value
        self.rises = torch.zeros_like(self.rises)
        wide = self.halved.view(-1, 1, 1, 1)
        self.size = torch.where(wide, self.size / 2, self.size)
        return (
            torch.where(wide, self.best, images),
            torch.where(wide, self.best_gradient, gradient),
        )
