"""ARC-like attack on several classifiers: one device at a time, keep only what fools more.

After *Adversarial Vulnerability of Randomized Ensembles* (Dbouk & Shanbhag 2022): gradients of an
average may point where nobody falls, so each step follows one device's own gradient and is taken
back unless more devices are fooled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fleet.attacks.ball import ball
from fleet.attacks.gradient import Precision
from fleet.attacks.joint import Best, all_attackable, check_effort, starts
from fleet.attacks.joint_members import bind, look_all
from fleet.attacks.keys import SampleKeys
from fleet.attacks.pixels import Norm
from fleet.attacks.steps import SignStep, StepRule
from fleet.models import Classifier

ARC_STEPS = SignStep(1.0, 0.02)
"""From eps down to eps/50: a step that was taken back is tried again, shorter."""


@dataclass(frozen=True)
class ArcAttack:
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

    def __post_init__(self) -> None:
        check_effort(self.eps, self.norm, self.steps, self.restarts)

    def __call__(
        self, classifiers: Sequence[Classifier], images: Tensor, labels: Tensor, keys: SampleKeys
    ) -> Tensor:
        """See :class:`fleet.attacks.joint.JointAttack`."""
        around = ball(images.contiguous(memory_format=torch.channels_last), self.eps, self.norm)
        best = Best(around.center)
        with all_attackable(classifiers):
            members = bind(classifiers, labels, self.precision)
            for start in starts(around, keys, self.restarts):
                run = Best(start)
                run.update(start, look_all(members, start))
                sides = best.next_sides(members)
                move = self.rule.begin(around, self.steps)
                for step in range(self.steps):
                    for member, side in zip(members, sides, strict=True):
                        gradient, standing = member.ascend(run.images, side)
                        tried = move(run.images.clone(), gradient, standing.reach, step)
                        run.update(tried, look_all(members, tried))
                best.take(run)
        return best.images
