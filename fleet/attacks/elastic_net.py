"""The elastic-net attack EAD (Chen et al. 2018) on intervals: few pixels, small distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fleet.attacks.minimum import Minimum, lengths
from fleet.attacks.penalty import Descend, check_counts, minimise
from fleet.errors import AuditError
from fleet.models import Classifier

Rule = Literal["elastic", "l1"]
"""Which image that evades is kept: the one of least elastic-net distance, or of least l1."""


@dataclass(frozen=True)
class ElasticNet:
    """Minimise ``||d||^2 + beta * ||d||_1 + c * max(0, -value)`` by accelerated shrinkage.

    FISTA (Beck & Teboulle 2009): a gradient step on the smooth part, each difference shrunk by
    ``rate * beta`` towards 0, pixels cut to [0, 1], and momentum k / (k + 3). The authors' program
    shrinks by beta itself, which minimises another sum than the one that their paper states.

    Attributes:
        beta: Weight of the l1 distance, >= 0.
        rule: Which image is kept.
        searches: Values of c for each image.
        steps: Gradients for each c.
        rate: First step size; it falls with the square root of the share of steps left.
    """

    beta: float = 0.1
    rule: Rule = "elastic"
    searches: int = 5
    steps: int = 100
    rate: float = 0.05

    def __post_init__(self) -> None:
        check_counts(self.searches, self.steps, self.rate)
        if not 0 <= self.beta < float("inf"):
            raise AuditError(f"beta is {self.beta}", hint="give the weight of the l1 distance")

    def __call__(self, classifier: Classifier, images: Tensor, labels: Tensor) -> Minimum:
        """Attack a batch; it takes no random numbers.

        Args:
            classifier: Left exactly as it was.
            images: float32 (B, C, H, W) in [0, 1].
            labels: True classes, int64 (B,).

        Raises:
            AuditError: The images leave [0, 1].
        """
        return minimise(
            self,
            classifier,
            images,
            labels,
            searches=self.searches,
            steps=self.steps,
            threshold=self.beta,
        )

    def begin(self, origin: Tensor) -> Descend:
        """See :class:`fleet.attacks.penalty.Descent`."""
        last = origin.clone()

        def move(images: Tensor, penalty: Tensor, step: int) -> Tensor:
            rate = self.rate * (1 - step / self.steps) ** 0.5
            gradient = penalty.add_(images - origin, alpha=2.0)
            difference = images.sub(gradient, alpha=rate).clamp_(0.0, 1.0).sub_(origin)
            shrunk = torch.nn.functional.softshrink(difference, rate * self.beta).add_(origin)
            ahead = torch.lerp(last, shrunk, 1 + step / (step + 3)).clamp_(0.0, 1.0)
            last.copy_(shrunk)
            return ahead

        return move

    def distance(self, difference: Tensor) -> Tensor:
        """See :class:`fleet.attacks.penalty.Descent`."""
        l1 = lengths(difference, "l1")
        if self.rule == "l1":
            return l1
        return lengths(difference, "l2").square() + self.beta * l1
