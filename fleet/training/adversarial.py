"""Adversarial training: fit the images that gradients find on the network as it stands.

What is ascended is the way out of the interval, or the lead of the best rival, before any clip,
gate or softmax; never Eq. 3, whose gradient is 0 exactly where the network is right.
"""

from typing import Any

import torch
from torch import Tensor

from fleet.attacks import attackable
from fleet.attacks.exits import nearest_exits
from fleet.data import to_unit
from fleet.models import Classifier
from fleet.training.method import Batch, Method, Verdict

PROBED, PROBE_STEPS = 256, 10
"""Validation images that are attacked after each epoch, and with how many steps."""

LARGEST_DROP = 0.1
"""An epoch that loses more of the probed images than this has collapsed."""

ROLLBACKS = 4
"""Epochs that are trained again at most; after that the training goes on as it is."""

PATH = 2.5
"""Length of the attack's path, in eps."""


class Adversarial(Method):
    """Half of each batch's loss is that of its adversarial images, in one pass with the clean ones.

    Training against few large steps can collapse: the network learns to hide its gradient, and one
    step more breaks it. So every epoch is probed with PGD-10 on held-out images; one that loses
    more than 10 points is taken back and trained again with steps half as long and three more.
    """

    rolls_back = True
    growth_limit = None

    def begin(self) -> None:
        """Start with the profile's attack."""
        self.steps, self.length = self.device.training.attack_steps, 1.0
        self.rollbacks, self.best = 0, 0.0

    def loss(self, batch: Batch) -> Tensor:
        """Mean loss of the clean and of the adversarial images."""
        spec = self.device.training
        share = (batch.step / batch.steps - spec.warm_up) / spec.ramp
        eps = spec.eps * min(1.0, max(0.0, share))
        if eps == 0:
            return self.clean_loss(self.raw(batch.images), batch.labels)
        step = self.length * PATH * eps / self.steps
        moved = ascend(
            self.attacked(), batch.images, batch.labels, eps, step=step, steps=self.steps
        )
        both = torch.cat([batch.images, moved]).contiguous(memory_format=torch.channels_last)
        return self.clean_loss(self.raw(both), batch.labels.repeat(2))

    def attacked(self) -> Classifier:
        """The network on which a batch's adversarial images are made: the device as it stands."""
        return self.classifier

    def end_epoch(self, epoch: int) -> Verdict:  # noqa: ARG002
        """Probe; take the epoch back if too many of the probed images fell."""
        found = self.probe()
        if found < self.best - LARGEST_DROP and self.rollbacks < ROLLBACKS:
            self.rollbacks += 1
            self.steps, self.length = self.steps + 3, self.length / 2
            return Verdict(keep=False)
        self.best = max(self.best, found)
        return Verdict(
            metrics={"probe": found, "attack_steps": self.steps, "rollbacks": self.rollbacks}
        )

    def probe(self) -> float:
        """Share of held-out images that stand PGD-10 at the profile's eps."""
        split, eps = self.images.validation, self.device.training.eps
        rows = torch.arange(min(PROBED, len(split)))
        x, labels = to_unit(split.images(rows)), split.labels[rows]
        moved = ascend(
            self.classifier, x, labels, eps, step=PATH * eps / PROBE_STEPS, steps=PROBE_STEPS
        )
        with attackable(self.classifier), torch.no_grad():
            return (self.classifier.decode(self.classifier(moved)) == labels).double().mean().item()

    def state(self) -> dict[str, Any]:
        """The attack, and what the guard remembers."""
        return {
            "steps": self.steps,
            "length": self.length,
            "rollbacks": self.rollbacks,
            "best": self.best,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take it back."""
        vars(self).update(state)


def ascend(
    classifier: Classifier, images: Tensor, labels: Tensor, eps: float, *, step: float, steps: int
) -> Tensor:
    """Take sign steps towards the nearest way out, from a random start, network in eval mode.

    Args:
        classifier: Left exactly as it was.
        images: float32 (B, C, H, W) in [0, 1].
        labels: Classes, int64 (B,).
        eps: Radius in pixel units.
        step: Length of one step.
        steps: How many.

    Returns:
        float32 (B, C, H, W), within ``eps`` of ``images`` and in [0, 1].
    """
    low, high = (images - eps).clamp(min=0), (images + eps).clamp(max=1)
    moved = torch.lerp(low, high, torch.rand_like(images))
    with attackable(classifier):
        ways = nearest_exits(classifier, labels)
        for _ in range(steps):
            moved.requires_grad_()
            value = ways.value(classifier.raw(moved).repeat(ways.count, 1))
            nearest = value.unflatten(0, (ways.count, -1)).amax(0)
            (gradient,) = torch.autograd.grad(nearest.sum(), moved)
            moved = (moved.detach() + step * gradient.sign()).clamp(low, high)
    return moved
