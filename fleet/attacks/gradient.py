"""Gradient-sign attacks: one step (FGSM) and iterative (PGD), for any objective.

The loop takes gradients of inputs only, never reads a number back from the device, and works in
place on a box that is computed once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from fleet.attacks.keys import SampleKeys
from fleet.attacks.objectives import Objective, Value
from fleet.attacks.pixels import Box, check_eps
from fleet.attacks.state import attackable
from fleet.attacks.steps import TENTH, Move, SignStep, StepRule
from fleet.errors import AuditError
from fleet.models import Classifier

Precision = Literal["bf16", "fp32"]
"""Precision of forward and backward passes inside attacks; scoring is always fp32."""


class Attack(Protocol):
    """Makes adversarial images."""

    @property
    def variants(self) -> int:
        """Adversarial images made for each image."""

    def __call__(
        self, classifier: Classifier, images: Tensor, labels: Tensor, keys: SampleKeys
    ) -> Tensor:
        """Attack a batch.

        Args:
            classifier: Left exactly as it was: modes, gradient flags, statistics, storage.
            images: float32 (B, C, H, W) in [0, 1].
            labels: True classes, int64 (B,).
            keys: Names the random numbers.

        Returns:
            float32 (variants, B, C, H, W) in [0, 1], within eps of ``images``.

        Raises:
            AuditError: The images leave [0, 1], or the classifier cannot be attacked this way.
        """


@dataclass(frozen=True)
class FGSM:
    """One signed step of eps, no random start (Goodfellow et al. 2015).

    Attributes:
        objective: What to ascend.
        eps: Linf radius in pixel units, (0, 1].
        precision: Of the forward and backward pass.
    """

    objective: Objective
    eps: float
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        check_eps(self.eps)

    @property
    def variants(self) -> int:
        """Adversarial images made for each image."""
        return self.objective.variants

    def __call__(
        self, classifier: Classifier, images: Tensor, labels: Tensor, keys: SampleKeys
    ) -> Tensor:
        """See :class:`Attack`; takes nothing from ``keys``."""
        del keys
        start = _fold(images, self.variants)
        with attackable(classifier):
            value = self.objective.bind(classifier, labels)
            gradient, _ = input_gradient(classifier, start, value, self.precision)
        move = SignStep(1.0).begin(Box.around(start, self.eps), 1)
        return _unfold(move(start, gradient, 0), self.variants)


@dataclass(frozen=True)
class PGD:
    """Projected sign-gradient ascent that returns each image's best iterate (Madry et al. 2018).

    The best is the largest value of the objective over all iterates of all restarts, the last one
    included.

    Attributes:
        objective: What to ascend.
        eps: Linf radius in pixel units, (0, 1].
        steps: Gradients taken in each restart.
        rule: How to move.
        restarts: Independent runs.
        random_start: Whether the first run starts at a random point of the box instead of at the
            image; the others always do.
        precision: Of forward and backward passes.
    """

    objective: Objective
    eps: float
    steps: int = 40
    rule: StepRule = TENTH
    restarts: int = 1
    random_start: bool = False
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        check_eps(self.eps)
        if self.steps < 1 or self.restarts < 1:
            raise AuditError(
                f"steps is {self.steps} and restarts is {self.restarts}",
                hint="an attack takes at least one step and one run",
            )

    @property
    def variants(self) -> int:
        """Adversarial images made for each image."""
        return self.objective.variants

    def __call__(
        self, classifier: Classifier, images: Tensor, labels: Tensor, keys: SampleKeys
    ) -> Tensor:
        """See :class:`Attack`."""
        origin = _fold(images, self.variants)
        box = Box.around(origin, self.eps)
        best = _Best(origin)
        with attackable(classifier):
            value = self.objective.bind(classifier, labels)
            for restart in range(self.restarts):
                start = origin.clone()
                if restart > 0 or self.random_start:
                    start = self._random(box, keys, restart)
                self._climb(classifier, start, value, self.rule.begin(box, self.steps), best)
        return _unfold(best.images, self.variants)

    def _random(self, box: Box, keys: SampleKeys, restart: int) -> Tensor:
        shape = box.low.shape[1:]
        draws = [keys.uniform(shape, "start", restart, v) for v in range(self.variants)]
        return torch.addcmul(box.low, torch.cat(draws), box.high - box.low)

    def _climb(
        self, classifier: Classifier, images: Tensor, value: Value, move: Move, best: _Best
    ) -> None:
        for step in range(self.steps):
            gradient, values = input_gradient(classifier, images, value, self.precision)
            best.update(images, values)
            images = move(images, gradient, step)
        with torch.no_grad():
            best.update(images, _values(classifier, images, value, self.precision))


class _Best:
    """Each row's best iterate so far."""

    def __init__(self, images: Tensor) -> None:
        self.images = images.clone()
        self.values = images.new_full((len(images),), -torch.inf)

    def update(self, images: Tensor, values: Tensor) -> None:
        """Keep the rows that are better; NaN never is."""
        better = values > self.values
        torch.where(better, values, self.values, out=self.values)
        torch.where(better.view(-1, 1, 1, 1), images, self.images, out=self.images)


def input_gradient(
    classifier: Classifier, images: Tensor, value: Value, precision: Precision
) -> tuple[Tensor, Tensor]:
    """Differentiate the sum of an objective by the images; rows stay independent.

    Args:
        classifier: Inside ``attackable``.
        images: float32 (R, C, H, W).
        value: What to ascend, from :meth:`Objective.bind`.
        precision: Of the forward and backward pass.

    Returns:
        The gradient, float32 (R, C, H, W), and the values, float32 (R,), without history.
    """
    with torch.enable_grad():
        leaf = images.detach().requires_grad_()
        values = _values(classifier, leaf, value, precision)
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
    return gradient, values.detach()


def _values(classifier: Classifier, images: Tensor, value: Value, precision: Precision) -> Tensor:
    kind = images.device.type
    with torch.autocast(kind, dtype=torch.bfloat16, enabled=precision == "bf16"):
        raw = classifier.raw(images)
    with torch.autocast(kind, enabled=False):
        return value(raw.float())


def _fold(images: Tensor, variants: int) -> Tensor:
    """Repeat a batch once for each variant: (variants * B, C, H, W), a copy, channels-last."""
    low, high = torch.aminmax(images)
    if not (low >= 0 and high <= 1):
        raise AuditError(
            f"pixels reach from {low:.3g} to {high:.3g}, not within [0, 1]",
            hint="give images / 255; normalisation belongs inside the model",
        )
    folded = images.detach().repeat(variants, 1, 1, 1)
    return folded.contiguous(memory_format=torch.channels_last)


def _unfold(rows: Tensor, variants: int) -> Tensor:
    return rows.reshape(variants, len(rows) // variants, *rows.shape[1:])
