"""Gradient attacks: one step (FGSM) and iterative (PGD), for any objective, step rule and norm.

The loop takes gradients of inputs only, never reads a number back from the device, and works in
place on a ball that is computed once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from fleet.attacks.ball import Ball, ball, quantise
from fleet.attacks.diversity import Look, View
from fleet.attacks.gradient import (
    attackable,
    checked,
    fold,
    input_gradient,
    objective_values,
    unfold,
)
from fleet.attacks.keys import SampleKeys
from fleet.attacks.objectives import Objective, Value
from fleet.attacks.outcomes import decide, evades
from fleet.attacks.pixels import check_eps, to_bytes
from fleet.attacks.steps import TENTH, Move, SignStep, StepRule
from fleet.errors import AuditError
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

    def look_at(self, images: Tensor, step: int, best: Best) -> tuple[Tensor, Tensor]:
        """Differentiate at iterates, and let them compete: gradient and values."""
        look = None if self.look is None else partial(self.look, step=step)
        found = input_gradient(self.classifier, images, self.judge, self.precision, look)
        if look is None:
            best.update(images, found[1], self.judge.evading)
        self._show(images, step)
        return found

    def __call__(
        self, images: Tensor, first: tuple[Tensor, Tensor], move: Move, steps: int, best: Best
    ) -> Tensor:
        """Take the steps, and return the last iterate, which is scored too.

        ``first`` is what :meth:`look_at` found at the images.
        """
        images = move(images, *first, 0)
        for step in range(1, steps):
            images = move(images, *self.look_at(images, step, best), step)
        self._show(images, steps)
        self.score(images, best)
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

    def moving(self, gradient: Tensor) -> Tensor:
        """Numbers of the images whose gradient is not all 0 in every variant, int64 (S,)."""
        moves: Tensor = gradient.flatten(1).ne(0).any(1).unflatten(0, (self._variants, -1)).any(0)
        return moves.nonzero().squeeze(1)

    def part(self, rows: Tensor) -> Batch:
        """Copy some of the B images."""
        folded = self.folded(rows)
        keys = SampleKeys(self.keys.seed, self.keys.device, self.keys.indices[rows])
        best = Best(*(held[folded] for held in self.best.held))
        return Batch(self.origin[folded], best, self.last[folded], self.labels[rows], keys)

    def put(self, rows: Tensor, part: Batch) -> None:
        """Take over what :meth:`part` became."""
        folded = self.folded(rows)
        for held, found in zip(self.best.held, part.best.held, strict=True):
            held[folded] = found
        self.last[folded] = part.last

    @property
    def _variants(self) -> int:
        return len(self.origin) // len(self.labels)

    def folded(self, rows: Tensor) -> Tensor:
        """Numbers of the rows of some of the B images in every variant."""
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


def _among(whole: Tensor, folded: Tensor, variants: int, watch: Watch) -> Watch:
    """Show iterates of some rows among the others, which stand still."""
    images = whole.clone()

    def show(iterates: Tensor, step: int) -> None:
        images[folded] = iterates.flatten(0, 1)
        watch(unfold(images, variants), step)

    return show


CHAIN = 4
"""Runs from one fresh start to the next where runs are crossed. Without fresh starts an image that
has no gradient would never be left."""


@dataclass(frozen=True)
class FGSM:
    """One step of eps, no random start (Goodfellow et al. 2015).

    Attributes:
        objective: What to ascend.
        eps: Radius in pixel units.
        precision: Of the forward and backward pass.
        norm: How the radius is measured.
    """

    objective: Objective
    eps: float
    precision: Precision = "fp32"
    norm: Norm = "linf"

    def __post_init__(self) -> None:
        check_eps(self.eps, self.norm)

    @property
    def variants(self) -> int:
        """Adversarial images made for each image."""
        return self.objective.variants

    def __call__(
        self, classifier: Classifier, images: Tensor, labels: Tensor, keys: SampleKeys
    ) -> Tensor:
        """See :class:`Attack`; takes nothing from ``keys``."""
        del keys
        origin = fold(checked(images), self.variants)
        with attackable(classifier):
            value = self.objective.bind(classifier, labels)
            gradient, values = input_gradient(classifier, origin, value, self.precision)
        move = SignStep(1.0).begin(ball(origin, self.eps, self.norm), 1)
        return unfold(move(origin.clone(), gradient, values, 0), self.variants)


@dataclass(frozen=True)
class PGD:
    """Projected gradient ascent that returns each image's best iterate (Madry et al. 2018).

    The best is an iterate that evades if there is one, and among equals that of the largest value
    of the objective, over all iterates of all runs, the last one included. Through a view the
    values are not the image's own, so there the best is among the last iterates of the runs. With
    :class:`fleet.attacks.HalvingStep` it is APGD, with :class:`fleet.attacks.Momentum` MI-FGSM,
    with :class:`fleet.attacks.InputDiversity` DI.

    Attributes:
        objective: What to ascend.
        eps: Radius in pixel units.
        steps: Gradients taken in each run.
        rule: How to move.
        restarts: Runs of every image.
        random_start: Whether the first run starts at a random point of the ball instead of at the
            image.
        precision: Of forward and backward passes.
        norm: How the radius is measured.
        crossed: Whether a later run starts where the run before it ended for another variant (UP
            where DOWN ended, and DOWN where UP did), three times out of four, instead of at a
            random point.
        pursuit: Further runs, each only of the images that evade in no variant so far, decided on
            their 8-bit images in fp32. Reads one list of images from the device for each run.
        view: What the classifier sees of an iterate while its gradient is taken; None: all of it.
    """

    objective: Objective
    eps: float
    steps: int = 40
    rule: StepRule = TENTH
    restarts: int = 1
    random_start: bool = False
    precision: Precision = "fp32"
    norm: Norm = "linf"
    crossed: bool = False
    pursuit: int = 0
    view: View | None = None

    def __post_init__(self) -> None:
        check_eps(self.eps, self.norm)
        if self.crossed and self.variants < 2:
            raise AuditError(
                f"{self.objective} has one variant, so there is no other end to start from",
                hint="cross the runs of Directions or Targets, or start them at random",
            )
        if self.steps < 1 or self.restarts < 1 or self.pursuit < 0:
            raise AuditError(
                f"steps is {self.steps}, restarts is {self.restarts}, pursuit is {self.pursuit}",
                hint="an attack takes at least one step and one run; it may pursue with 0 runs",
            )

    @property
    def variants(self) -> int:
        """Adversarial images made for each image."""
        return self.objective.variants

    def __call__(
        self,
        classifier: Classifier,
        images: Tensor,
        labels: Tensor,
        keys: SampleKeys,
        *,
        watch: Watch | None = None,
        whole: bool = False,
        skip: int = 0,
    ) -> Tensor:
        """See :class:`Attack`.

        ``watch`` is shown every iterate of every image; so a pursuit then runs all images.
        ``whole`` is for a classifier that only takes all images at once: it runs none without the
        others, and pursues as long as one stands. ``skip`` runs were made before, of the same
        images: as many fewer are made, from the next fresh start on.
        """
        origin = fold(checked(images), self.variants)
        batch = Batch(origin, Best.at(origin), origin.clone(), labels, keys)
        first = -(-skip // CHAIN) * CHAIN if self.crossed else skip
        with attackable(classifier):
            for run in range(first, first + self.restarts + self.pursuit - skip):
                part, rows = batch, None
                if watch is None and run - first + skip >= self.restarts:
                    rows = batch.standing(classifier, self.eps, self.norm)
                    if len(rows) == 0:
                        break
                    part = batch if whole else batch.part(rows)
                self._run(classifier, part, run, watch, whole)
                if rows is not None and part is not batch:
                    batch.put(rows, part)
        return unfold(batch.best.images, self.variants)

    def _run(
        self,
        classifier: Classifier,
        batch: Batch,
        number: int,
        watch: Watch | None,
        whole: bool,
    ) -> None:
        """Climb once, and score the last iterate too.

        Where the objective is flat (Eq. 3 is, inside the interval) a rule without memory never
        moves, and every step would find the first one again: those images leave the run at once.
        """
        start = self._start(ball(batch.origin, self.eps, self.norm), batch, number)
        climb = self._climb(classifier, batch, number, watch)
        first = climb.look_at(start, 0, batch.best)
        resting = self.rule.rests and self.view is None and not whole
        resting = resting and start.device.type == "cpu"  # an accelerator would be waited for
        rows = batch.moving(first[0]) if resting else None
        if rows is None or len(rows) == len(batch.labels):
            self._finish(climb, batch, start, first)
            return
        batch.last.copy_(start)
        if len(rows) > 0:
            part, folded = batch.part(rows), batch.folded(rows)
            shown = None if watch is None else _among(start, folded, self.variants, watch)
            climb = self._climb(classifier, part, number, shown)
            self._finish(climb, part, start[folded], (first[0][folded], first[1][folded]))
            batch.put(rows, part)

    def _climb(
        self, classifier: Classifier, batch: Batch, number: int, watch: Watch | None
    ) -> Climb:
        value = self.objective.bind(classifier, batch.labels)
        return Climb(
            classifier=classifier,
            judge=Judge(classifier, value, batch.labels.repeat(self.variants)),
            precision=self.precision,
            look=None if self.view is None else self.view.begin(batch.keys, number),
            watch=watch,
            variants=self.variants,
        )

    def _finish(
        self, climb: Climb, batch: Batch, start: Tensor, first: tuple[Tensor, Tensor]
    ) -> None:
        move = self.rule.begin(ball(batch.origin, self.eps, self.norm), self.steps)
        batch.last.copy_(climb(start, first, move, self.steps, batch.best))

    def _start(self, around: Ball, batch: Batch, number: int) -> Tensor:
        """A copy of each row's first image in a run."""
        if number == 0 and not self.random_start:
            return batch.origin.clone()
        if self.crossed and number % CHAIN > 0:
            return batch.last.roll(len(batch.labels), 0)
        return around.random(batch.keys, "start", number)
