"""The networks of an attack on several devices at once, one at a time in memory.

Each network answers four questions about an image: how far its output is outside the true class
(its reach), on which side that is, whether it decodes wrongly, and in which direction the reach
grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fleet.accelerator import precise
from fleet.attacks.exits import Exits, nearest_exits
from fleet.models import Classifier
from fleet.vocabulary import Precision

_PIXELS = (1, 2, 3)


@dataclass(frozen=True, eq=False)
class Standing:
    """Where B images stand with M networks.

    Attributes:
        reach: Distance of the output beyond the nearest edge of the true interval, in slots; for
            logits the best wrong one minus the true one. float32 (M, B), above 0 outside.
        fooled: Whether the decoded class is not the true one, bool (M, B).
        side: Number of that edge, int64 (M, B): 0 up, 1 down; 0 for logits.
    """

    reach: Tensor
    fooled: Tensor
    side: Tensor

    @classmethod
    def stack(cls, parts: Sequence[Standing]) -> Standing:
        """Join what single networks, (B,) each, answer."""
        return cls(
            torch.stack([part.reach for part in parts]),
            torch.stack([part.fooled for part in parts]),
            torch.stack([part.side for part in parts]),
        )


@dataclass(frozen=True, eq=False)
class BoundMember:
    """One network and the ways out of the true classes of a batch.

    Attributes:
        classifier: Inside ``attackable``.
        exits: Of the labels.
        precision: Of forward and backward passes.
    """

    classifier: Classifier
    exits: Exits
    precision: Precision

    def look(self, images: Tensor) -> Standing:
        """Where images stand with this network alone: tensors (B,)."""
        with torch.no_grad():
            return self._judge(images)[0]

    def ascend(self, images: Tensor, side: Tensor | None = None) -> tuple[Tensor, Standing]:
        """Gradient towards one edge over its mean size, (B, C, H, W), and what :meth:`look` gives.

        Dividing makes networks comparable: without it the one with the steepest output decides
        alone. A gradient of zero stays zero, and so does one that is not finite.

        Args:
            images: float32 (B, C, H, W).
            side: Which edge, int64 (B,); None for the nearer one of each image.
        """
        with torch.enable_grad():
            leaf = images.detach().requires_grad_()
            standing, ways = self._judge(leaf)
            # Not amax: at a tie it would mix the gradients of up and down, which cancel.
            chosen = ways.gather(0, (standing.side if side is None else side).unsqueeze(0))
            (gradient,) = torch.autograd.grad(chosen.sum(), leaf)
        gradient = gradient.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
        size = gradient.abs().mean(dim=_PIXELS, keepdim=True)
        gradient.div_(size.clamp_(min=torch.finfo(size.dtype).tiny))
        return gradient, standing

    def other(self, side: Tensor) -> Tensor:
        """The other edge; logits have one way only."""
        return (side + 1) % self.exits.count

    def _judge(self, images: Tensor) -> tuple[Standing, Tensor]:
        """Standing, (B,), and the distance beyond every edge, (count, B), differentiable."""
        kind = images.device.type
        with precise(kind, self.precision):
            raw = self.classifier.raw(images)
        with torch.autocast(kind, enabled=False):
            every = raw.float().repeat(self.exits.count, 1)
            ways = self.exits.value(every).reshape(self.exits.count, len(images))
            reach, side = ways.detach().max(0)
            fooled = self.exits.evades(every)[: len(images)]
        return Standing(reach, fooled, side), ways


def bind(
    classifiers: Sequence[Classifier], labels: Tensor, precision: Precision
) -> list[BoundMember]:
    """Look up, once and before the loop, all that depends on the labels, int64 (B,)."""
    return [BoundMember(c, nearest_exits(c, labels), precision) for c in classifiers]


def look_all(members: Sequence[BoundMember], images: Tensor) -> Standing:
    """Ask every network about the images, without gradients."""
    return Standing.stack([member.look(images) for member in members])
