"""Gradient attacks: one step (FGSM) and iterative (PGD), for any objective, step rule and norm."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fleet.attacks.ball import Ball, ball
from fleet.attacks.climb import Batch, Best, Climb, Judge, Watch
from fleet.attacks.diversity import View
from fleet.attacks.gradient import checked, fold, input_gradient, unfold
from fleet.attacks.keys import SampleKeys
from fleet.attacks.objectives import Objective
from fleet.attacks.pixels import check_eps
from fleet.attacks.state import attackable
from fleet.attacks.steps import TENTH, SignStep, StepRule
from fleet.errors import AuditError
from fleet.models import Classifier
from fleet.vocabulary import Norm, Precision

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
    ) -> Tensor:
        """See :class:`Attack`.

        ``watch`` is shown every iterate of every image; so a pursuit then runs all images.
        """
        origin = fold(checked(images), self.variants)
        batch = Batch(origin, Best.at(origin), origin.clone(), labels, keys)
        with attackable(classifier):
            for run in range(self.restarts):
                self._run(classifier, batch, run, watch)
            for run in range(self.restarts, self.restarts + self.pursuit):
                if watch is not None:
                    self._run(classifier, batch, run, watch)
                    continue
                rows = batch.standing(classifier, self.eps, self.norm)
                if len(rows) > 0:
                    part = batch.part(rows)
                    self._run(classifier, part, run, None)
                    batch.put(rows, part)
        return unfold(batch.best.images, self.variants)

    def _run(self, classifier: Classifier, batch: Batch, number: int, watch: Watch | None) -> None:
        """Climb once, and score the last iterate too."""
        around = ball(batch.origin, self.eps, self.norm)
        start = self._start(around, batch, number)
        climb = Climb(
            classifier=classifier,
            judge=Judge(
                classifier,
                self.objective.bind(classifier, batch.labels),
                batch.labels.repeat(self.variants),
            ),
            precision=self.precision,
            look=None if self.view is None else self.view.begin(batch.keys, number),
            watch=watch,
            variants=self.variants,
        )
        last = climb(start, self.rule.begin(around, self.steps), self.steps, batch.best)
        climb.score(last, batch.best)
        batch.last.copy_(last)

    def _start(self, around: Ball, batch: Batch, number: int) -> Tensor:
        """A copy of each row's first image in a run."""
        if number == 0 and not self.random_start:
            return batch.origin.clone()
        if self.crossed and number % CHAIN > 0:
            return batch.last.roll(len(batch.labels), 0)
        return around.random(batch.keys, "start", number)
