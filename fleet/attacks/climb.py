"""The inside of an iterative attack: one climb, and the batch that several climbs improve.

The loop takes gradients of inputs only, never reads a number back from the device, and works in
place on a ball that is computed once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from fleet.attacks.ball import quantise
from fleet.attacks.diversity import Look
from fleet.attacks.gradient import input_gradient, objective_values, unfold
from fleet.attacks.keys import SampleKeys
from fleet.attacks.objectives import Value
from fleet.attacks.outcomes import decide, evades
from fleet.attacks.pixels import to_bytes
from fleet.attacks.steps import Move
from fleet.models import Classifier
from fleet.vocabulary import Norm, Precision

Watch = Callable[[Tensor, int], None]
"""Called with every iterate, float32 (variants, B, C, H, W), and its step in its run.

The tensor is overwritten afterwards: keep what you compute from it."""


@dataclass(frozen=True, eq=False)
class Climb:
    """One run: what is differentiated, and who looks on."""

    classifier: Classifier
    judge: Judge
    precision: Precision
    look: Look | None
    watch: Watch | None
    variants: int

    def __call__(self, images: Tensor, move: Move, steps: int, best: Best) -> Tensor:
        """Take the steps, and return the last iterate, which is not scored yet."""
        for step in range(steps):
            look = None if self.look is None else partial(self.look, step=step)
            gradient, values = input_gradient(
                self.classifier, images, self.judge, self.precision, look
            )
            if look is None:
                best.update(images, values, self.judge.evading)
            self._show(images, step)
            images = move(images, gradient, values, step)
        self._show(images, steps)
        return images

    def score(self, images: Tensor, best: Best) -> None:
        """Let iterates compete that no gradient was taken of."""
        with torch.no_grad():
            values = objective_values(self.classifier, images, self.judge, self.precision)
        best.update(images, values, self.judge.evading)

    def _show(self, images: Tensor, step: int) -> None:
        if self.watch is not None:
            self.watch(unfold(images, self.variants), step)


@dataclass(frozen=True, eq=False)
class Batch:
    """Images under attack: R = variants * B rows of ``origin``, ``best`` and ``last``, B labels."""

    origin: Tensor
    best: Best
    last: Tensor
    labels: Tensor
    keys: SampleKeys

    def standing(self, classifier: Classifier, eps: float, norm: Norm) -> Tensor:
        """Numbers of the images whose 8-bit best evades in no variant, int64 (S,)."""
        count = len(self.labels)
        clean = to_bytes(self.origin[:count])
        evaded = torch.zeros_like(self.labels, dtype=torch.bool)
        for images in quantise(unfold(self.best.images, self._variants), clean, eps, norm):
            evaded |= evades(decide(classifier, images, self.labels).outcomes)
        return (~evaded).nonzero().squeeze(1)

    def part(self, rows: Tensor) -> Batch:
        """Copy some of the B images."""
        folded = self._folded(rows)
        keys = SampleKeys(self.keys.seed, self.keys.device, self.keys.indices[rows])
        best = Best(*(held[folded] for held in self.best.held))
        return Batch(self.origin[folded], best, self.last[folded], self.labels[rows], keys)

    def put(self, rows: Tensor, part: Batch) -> None:
        """Take over what :meth:`part` became."""
        folded = self._folded(rows)
        for held, found in zip(self.best.held, part.best.held, strict=True):
            held[folded] = found
        self.last[folded] = part.last

    @property
    def _variants(self) -> int:
        return len(self.origin) // len(self.labels)

    def _folded(self, rows: Tensor) -> Tensor:
        firsts = torch.arange(self._variants, device=rows.device) * len(self.labels)
        return (firsts.unsqueeze(1) + rows).flatten()


class Judge:
    """An objective that also notes which of the rows it was last asked about evade.

    From the same forward pass, so in the attack's own precision: it chooses among iterates, and
    decides nothing about the result.
    """

    def __init__(self, classifier: Classifier, value: Value, labels: Tensor) -> None:
        self._classifier, self._value, self._labels = classifier, value, labels
        self.evading = torch.zeros_like(labels, dtype=torch.bool)

    def __call__(self, raw: Tensor) -> Tensor:
        """Value of raw head values, (R, D) to (R,)."""
        decoded = self._classifier.decode(self._classifier.outputs(raw.detach()))
        self.evading = decoded != self._labels
        return self._value(raw)


@dataclass(frozen=True, eq=False)
class Best:
    """Each row's best iterate so far: one that evades, and of these the one of largest value.

    By value alone an iterate of DOWN that left the interval upwards would be forgotten.
    """

    images: Tensor
    values: Tensor
    evading: Tensor

    @classmethod
    def at(cls, images: Tensor) -> Best:
        """Begin with images of no value at all."""
        worst = images.new_full((len(images),), -torch.inf)
        return cls(images.clone(), worst, torch.zeros_like(worst, dtype=torch.bool))

    @property
    def held(self) -> tuple[Tensor, Tensor, Tensor]:
        """Images, values, and which evade."""
        return self.images, self.values, self.evading

    def update(self, images: Tensor, values: Tensor, evading: Tensor) -> None:
        """Keep the rows that are better; NaN never is."""
        better = (evading > self.evading) | ((evading == self.evading) & (values > self.values))
        better &= ~values.isnan()
        torch.where(better, values, self.values, out=self.values)
        torch.where(better, evading, self.evading, out=self.evading)
        torch.where(better.view(-1, 1, 1, 1), images, self.images, out=self.images)
