"""Minimum distance as a sum: the distance, and a penalty for not evading (Carlini & Wagner 2017).

``minimise D(x - clean) + c * max(0, confidence - value)``, with the exit values of
:mod:`fleet.attacks.exits` in place of the margin of logits; c is searched for each row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fleet.attacks.exits import Exits, nearest_exits
from fleet.attacks.gradient import checked, fold, input_gradient
from fleet.attacks.minimum import Minimum, choose, trim
from fleet.attacks.state import attackable
from fleet.errors import AuditError
from fleet.models import Classifier

Descend = Callable[[Tensor, Tensor, int], Tensor]
"""(images, gradient of the penalty, step index) to the next images, both (R, C, H, W)."""


class Descent(Protocol):
    """How one run of a minimum-norm attack goes down."""

    def begin(self, origin: Tensor) -> Descend:
        """Start a run of steps at the clean images, float32 (R, C, H, W)."""

    def distance(self, difference: Tensor) -> Tensor:
        """Size of each row's difference: which of the images that evade is the nearest."""


def minimise(
    descent: Descent,
    classifier: Classifier,
    images: Tensor,
    labels: Tensor,
    *,
    searches: int,
    steps: int,
    confidence: float = 0.0,
    threshold: float = 0.0,
) -> Minimum:
    """Run the descent for several c, and keep each row's nearest image that evades.

    c starts at twice the least value that suffices on the linear model of the exit, so it needs no
    tuning to the encoding. It is then halved between the largest c that failed and the smallest
    that succeeded, or multiplied by 10 while none has. Nothing is read back from the device.

    Args:
        descent: How to go down.
        classifier: Left exactly as it was.
        images: float32 (B, C, H, W) in [0, 1].
        labels: True classes, int64 (B,).
        searches: Values of c.
        steps: Gradients for each c.
        confidence: How far beyond the exit to aim, in slots or in logits, >= 0.
        threshold: Slope of the distance at the clean image; no pixel moves until the penalty's is
            steeper.

    Raises:
        AuditError: The images leave [0, 1].
    """
    clean = checked(images)
    with attackable(classifier):
        ways = nearest_exits(classifier, labels)
        origin = fold(clean, ways.count)
        nearest = _Nearest(descent, origin)
        run = _Run(descent, classifier, ways, steps, confidence)
        c = _first_constant(classifier, origin, ways, confidence, threshold)
        low, high = torch.zeros_like(c), torch.full_like(c, torch.inf)
        for _ in range(searches):
            met = run(nearest, c)
            low, high = torch.where(met, low, c), torch.where(met, c, high)
            c = torch.where(high.isfinite(), (low + high) / 2, 10 * low)
        rows = trim(classifier, clean, nearest.images, ways, confidence)
        return choose(classifier, clean, rows, labels, descent.distance)


def check_counts(searches: int, steps: int, rate: float) -> None:
    """Refuse hyper-parameters with which nothing moves.

    Raises:
        AuditError: There is no search, no step, or no step size.
    """
    if searches < 1 or steps < 1 or not 0 < rate < float("inf"):
        raise AuditError(
            f"searches is {searches}, steps is {steps} and rate is {rate}",
            hint="an attack takes at least one search of one step, with a rate above 0",
        )


class _Nearest:
    """Each row's nearest image that evades, over all c."""

    def __init__(self, descent: Descent, origin: Tensor) -> None:
        self.origin = origin
        self.images = origin.clone()
        self._distance = descent.distance
        self._least = origin.new_full((len(origin),), torch.inf)

    def update(self, images: Tensor, met: Tensor) -> None:
        distance = torch.where(met, self._distance(images - self.origin), torch.inf)
        nearer = distance < self._least
        self._least = torch.where(nearer, distance, self._least)
        self.images = torch.where(nearer.view(-1, 1, 1, 1), images, self.images)


@dataclass(frozen=True, eq=False)
class _Run:
    """One descent with one c for each row."""

    descent: Descent
    classifier: Classifier
    ways: Exits
    steps: int
    confidence: float

    def __call__(self, nearest: _Nearest, c: Tensor) -> Tensor:
        """Descend from the clean images; whether each row evaded at some step, bool (R,)."""
        images, move = nearest.origin.clone(), self.descent.begin(nearest.origin)
        ever = torch.zeros_like(c, dtype=torch.bool)
        for step in range(self.steps + 1):
            gradient, value, met = _look(self.classifier, images, self.ways, self.confidence)
            ever |= met
            nearest.update(images, met)
            if step < self.steps:
                pull = torch.where(value < self.confidence, c, 0.0).view(-1, 1, 1, 1)
                images = move(images, -pull * gradient.nan_to_num_(0.0, 0.0, 0.0), step)
        return ever


def _look(
    classifier: Classifier, images: Tensor, ways: Exits, confidence: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient of the exit value, the value, and whether the row succeeds, from one pass."""
    seen: list[Tensor] = []

    def value(raw: Tensor) -> Tensor:
        seen.append(ways.meets(raw.detach(), confidence))
        return ways.value(raw)

    gradient, values = input_gradient(classifier, images, value, "fp32")
    return gradient, values, seen[0]


def _first_constant(
    classifier: Classifier, origin: Tensor, ways: Exits, confidence: float, threshold: float
) -> Tensor:
    """Twice ``2 need / ||g||^2 + threshold / max |g|``; 1 where that is no number above 0."""
    gradient, value = input_gradient(classifier, origin, ways.value, "fp32")
    slopes = gradient.flatten(1).double()
    need = (confidence - value).clamp(min=0.0).double()
    c = 2 * (2 * need / slopes.square().sum(1) + threshold / slopes.abs().amax(1)).float()
    return torch.where(c.isfinite() & (c > 0), c, 1.0)
