"""Attacks on several classifiers at once: one image that is to fool as many as possible.

An attacker who owns several devices ascends ``sum_i w_i h(reach_i)``: ``reach_i`` is how far device
i's output is beyond the nearer edge of the true interval, so its sign (up or down) is chosen device
by device, and ``h`` is linear up to ``CAP`` and almost flat behind, so that devices already fooled
stop mattering. Each device's gradient is divided by its mean size, and weighted. The nearer edge is
not always the weaker one, so a further run sends each device that held to its other edge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from fleet.attacks.ball import Ball, ball
from fleet.attacks.gradient import attackable
from fleet.attacks.joint_members import BoundMember, Standing, bind, look_all
from fleet.attacks.keys import SampleKeys
from fleet.attacks.pixels import check_eps
from fleet.attacks.steps import SignStep, StepRule
from fleet.errors import AuditError
from fleet.models import Classifier
from fleet.vocabulary import Norm, Precision

CAP = 1.5
"""Slots beyond the edge (or logits) after which a device counts as fooled for good."""

LEAK = 0.05
"""What a device counts behind the cap, so that images on which all fall still move on."""

JOINT_STEPS = SignStep(2.0, 0.02)
"""From 2 eps down to eps/50, as for one device. Measured on four undefended devices, 128 validation
images, 10 steps, uniform weights, coalitions of 1 / 2 / 3, eps 0.2: owned devices evaded .90 / .91
/ .92 and the others .50 / .59 / .65. The same steps with momentum 1: .82 / .83 / .83 and .47 / .56
/ .61, with momentum 0.5: .88 / .88 / .89 and .50 / .60 / .66. Momentum 1 with constant steps of
eps/5: .61 / .57 / .57 and .29 / .37 / .39."""


class JointAttack:
    """Makes one adversarial image of each image for several classifiers, the best of some runs."""

    eps: float
    steps: int
    restarts: int
    rule: StepRule
    precision: Precision
    norm: Norm

    def __post_init__(self) -> None:
        check_eps(self.eps, self.norm)
        if self.steps < 1 or self.restarts < 1:
            raise AuditError(
                f"steps is {self.steps} and restarts is {self.restarts}",
                hint="an attack takes at least one step and one run",
            )

    def __call__(
        self, classifiers: Sequence[Classifier], images: Tensor, labels: Tensor, keys: SampleKeys
    ) -> Tensor:
        """Attack a batch.

        Args:
            classifiers: One or more of the same classes and image shape; left exactly as they were.
            images: float32 (B, C, H, W) in [0, 1].
            labels: True classes, int64 (B,).
            keys: Names the random numbers.

        Returns:
            float32 (B, C, H, W) in [0, 1], within eps of ``images``.

        Raises:
            AuditError: There is no classifier.
        """
        if not classifiers:
            raise AuditError("no network to attack", hint="give one or more")
        around = ball(images.contiguous(memory_format=torch.channels_last), self.eps, self.norm)
        best = Best(around.center)
        with ExitStack() as stack:
            for classifier in classifiers:
                stack.enter_context(attackable(classifier))
            members = bind(classifiers, labels, self.precision)
            for restart in range(self.restarts):
                start = around.random(keys, "start", restart) if restart else around.center.clone()
                self.climb(members, start, best.next_sides(members), around, best)
        return best.images

    def climb(
        self,
        members: Sequence[BoundMember],
        images: Tensor,
        sides: Sequence[Tensor | None],
        around: Ball,
        best: Best,
    ) -> None:
        """Take the steps of one run.

        Args:
            members: M networks.
            images: Where the run starts, float32 (B, C, H, W).
            sides: Which edge each network is to leave by, (B,) each; None for the nearer one.
            around: Where images may go.
            best: Takes over what is better.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class JointAscent(JointAttack):
    """Ascent of the weighted sum; returns each image's best iterate.

    The best iterate fools the most devices; among equals the one with the largest ``sum_i h_i``.
    The weights of a step come from the step before it, so one gradient is held at a time whatever
    the number of devices.

    Attributes:
        eps: Radius in pixel units.
        weighting: How devices are weighed against each other.
        steps: Gradients taken of each device in each restart.
        restarts: Independent runs; the first starts at the image, the others at random points.
        rule: How to move; :class:`fleet.attacks.Momentum` makes it MI-FGSM on an ensemble.
        precision: Of forward and backward passes.
        norm: How the radius is measured.
    """

    eps: float
    weighting: Weighting = "uniform"
    steps: int = 20
    restarts: int = 1
    rule: StepRule = JOINT_STEPS
    precision: Precision = "fp32"
    norm: Norm = "linf"

    def climb(
        self,
        members: Sequence[BoundMember],
        images: Tensor,
        sides: Sequence[Tensor | None],
        around: Ball,
        best: Best,
    ) -> None:
        """Move all networks' weighted sum; every iterate counts."""
        move, reweigh = self.rule.begin(around, self.steps), REWEIGH[self.weighting]
        weights = images.new_full((len(members), len(images)), 1 / len(members))
        for step in range(self.steps):
            total, standing = joint_gradient(members, images, weights, sides)
            best.update(images, standing)
            weights = reweigh(weights, standing)
            images = move(images, total, standing.reach.sum(0), step)
        best.update(images, look_all(members, images))


class Best:
    """Each image's best iterate so far: most devices fooled, then the largest loss."""

    def __init__(self, images: Tensor) -> None:
        self.images = images.clone()
        self.score = images.new_full((len(images),), -torch.inf)
        self.standing: Standing | None = None

    def update(self, images: Tensor, standing: Standing) -> None:
        """Keep the images that are better."""
        score = rank(standing)
        better = score > self.score
        self.score = torch.where(better, score, self.score)
        self.images = torch.where(better.view(-1, 1, 1, 1), images, self.images)
        old = standing if self.standing is None else self.standing
        self.standing = Standing(
            torch.where(better, standing.reach, old.reach),
            torch.where(better, standing.fooled, old.fooled),
            torch.where(better, standing.side, old.side),
        )

    def take(self, other: Best) -> None:
        """Keep another run's images where they are better."""
        if other.standing is not None:
            self.update(other.images, other.standing)

    def next_sides(self, members: Sequence[BoundMember]) -> list[Tensor | None]:
        """Edges for the next run: as before for devices that fell, the other for those that held.

        None, the nearer edge at every step, before the first run.
        """
        if self.standing is None:
            return [None] * len(members)
        rows = zip(members, self.standing.fooled, self.standing.side, strict=True)
        return [torch.where(fell, side, member.other(side)) for member, fell, side in rows]


def rank(standing: Standing) -> Tensor:
    """Devices fooled plus a share in (0, 1) that grows with the loss, float32 (B,)."""
    reach = standing.reach.nan_to_num(nan=0.0)
    loss = (reach.clamp(max=CAP) + LEAK * reach).sum(0)
    return standing.fooled.sum(0) + (1 + loss / (1 + loss.abs())) / 2


def joint_gradient(
    members: Sequence[BoundMember],
    images: Tensor,
    weights: Tensor,
    sides: Sequence[Tensor | None],
) -> tuple[Tensor, Standing]:
    """Sum the devices' gradients, one device after the other.

    Args:
        members: M networks.
        images: float32 (B, C, H, W).
        weights: float32 (M, B).
        sides: Which edge each network is to leave by, (B,) each; None for the nearer one.
    """
    total = torch.zeros_like(images)
    parts = []
    for member, weight, side in zip(members, weights, sides, strict=True):
        gradient, standing = member.ascend(images, side)
        pull = weight * torch.where(standing.reach > CAP, LEAK, 1.0)
        total.add_(gradient.mul_(pull.view(-1, 1, 1, 1)))
        parts.append(standing)
    return total, Standing.stack(parts)


Weighting = Literal["uniform", "reweighed", "min-max"]

Reweigh = Callable[[Tensor, Standing], Tensor]
"""Old weights, (M, B), and where the images stand to new weights, (M, B)."""

NEARNESS = 0.25
"""Slots over which the weight of a network that still holds falls to 1/e (``reweighed``)."""

RATE = 0.1
"""Step of the weights for each slot of reach (``min-max``)."""

REGULAR = 0.1
"""Pull of the weights back to equal ones (``min-max``)."""


def uniform(weights: Tensor, standing: Standing) -> Tensor:
    """Every network counts alike."""
    del standing
    return weights


def reweighed(weights: Tensor, standing: Standing) -> Tensor:
    """Networks near their edge count most, so that the next one falls soon.

    After the idea of MORA (Yu et al. 2022), which moves the weight of an ensemble attack to the
    members that decide next; here ``softmax(-distance to the edge / NEARNESS)``.
    """
    del weights
    return functional.softmax(standing.reach.clamp(max=0.0) / NEARNESS, dim=0)


def min_max(weights: Tensor, standing: Standing) -> Tensor:
    """The networks that hold best count most: a step of ``min_w sum_i w_i reach_i`` (Wang 2021).

    Projected gradient descent on the simplex with a pull towards equal weights, as in *Adversarial
    Attack Generation Empowered by Min-Max Optimization*, section 3.
    """
    equal = 1 / len(weights)
    slope = standing.reach.clamp(-1.0, 1.0) + REGULAR * (weights - equal)
    return project_to_simplex(weights - RATE * slope)


def project_to_simplex(points: Tensor) -> Tensor:
    """Nearest points with entries of 0 or more that sum to 1, column by column (Duchi et al. 2008).

    Args:
        points: float32 (M, B).
    """
    ordered = points.sort(dim=0, descending=True).values
    count = torch.arange(1, len(points) + 1, device=points.device).unsqueeze(1)
    shift = (ordered.cumsum(0) - 1) / count
    # The largest number of entries that stay above 0 after the shift.
    kept = (ordered > shift).long().mul_(count).argmax(0, keepdim=True)
    return (points - shift.gather(0, kept)).clamp_(min=0.0)


REWEIGH: dict[Weighting, Reweigh] = {
    "uniform": uniform,
    "reweighed": reweighed,
    "min-max": min_max,
}


ARC_STEPS = SignStep(1.0, 0.02)
"""From eps down to eps/50: a step that was taken back is tried again, shorter."""


@dataclass(frozen=True)
class ArcAttack(JointAttack):
    """Greedy ascent, device by device in turn; see :class:`fleet.attacks.joint.JointAttack`.

    A step is accepted if more devices are fooled, or as many and the summed loss is larger.

    Attributes:
        eps: Radius in pixel units.
        steps: Rounds; in each round every device has one step.
        restarts: Independent runs; the first starts at the image, the others at random points.
        rule: How to move.
        precision: Of forward and backward passes.
        norm: How the radius is measured.
    """

    eps: float
    steps: int = 20
    restarts: int = 1
    rule: StepRule = ARC_STEPS
    precision: Precision = "fp32"
    norm: Norm = "linf"

    def climb(
        self,
        members: Sequence[BoundMember],
        images: Tensor,
        sides: Sequence[Tensor | None],
        around: Ball,
        best: Best,
    ) -> None:
        """Take the rounds of one run, which keeps its own best images."""
        run = Best(images)
        run.update(images, look_all(members, images))
        move = self.rule.begin(around, self.steps)
        for step in range(self.steps):
            for member, side in zip(members, sides, strict=True):
                gradient, standing = member.ascend(run.images, side)
                tried = move(run.images.clone(), gradient, standing.reach, step)
                run.update(tried, look_all(members, tried))
        best.take(run)
