"""What counts: each decided image is correct, rejected, or flipped to a wrong class."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fleet.data import to_unit
from fleet.encoding import REJECTED
from fleet.models import Classifier

CORRECT = 0
REJECT = 1
FLIP = 2
"""Outcomes in order of harm, so that the worst case over attacks is their maximum."""

Criterion = Callable[[Tensor], Tensor]
"""Which outcomes count: int8 of any shape to bool of the same shape."""


def flips(outcomes: Tensor) -> Tensor:
    """Count wrong classes only."""
    return outcomes == FLIP


def rejects(outcomes: Tensor) -> Tensor:
    """Count None only."""
    return outcomes == REJECT


def evades(outcomes: Tensor) -> Tensor:
    """Count whatever is not the true class."""
    return outcomes > CORRECT


@dataclass(frozen=True, eq=False)
class Decisions:
    """How a classifier decided a batch.

    Attributes:
        outputs: Scalars, float32 (B,), or logits, float32 (B, K).
        outcomes: ``CORRECT``, ``REJECT`` or ``FLIP``, int8 (B,).
    """

    outputs: Tensor
    outcomes: Tensor


def decide(classifier: Classifier, images: Tensor, labels: Tensor) -> Decisions:
    """Decide 8-bit images in float32, autocast or not outside; call inside ``attackable``.

    Args:
        classifier: In eval mode.
        images: uint8 (B, C, H, W).
        labels: True classes, int64 (B,).
    """
    unit = to_unit(images).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast(unit.device.type, enabled=False):
        outputs = classifier(unit).float()
        decoded = classifier.decode(outputs)
    return Decisions(outputs, outcomes_of(decoded, labels))


def outcomes_of(decoded: Tensor, labels: Tensor) -> Tensor:
    """Name decoded classes ``CORRECT``, ``REJECT`` or ``FLIP``, int8 (B,)."""
    wrong = torch.where(decoded == REJECTED, REJECT, FLIP)
    return torch.where(decoded == labels, CORRECT, wrong).to(torch.int8)


@dataclass(frozen=True, eq=False)
class Queried:
    """What an attacker with a budget of queries reached; all images are 8-bit images.

    Attributes:
        images: The first image that met the criterion; where none did, the best that was found,
            uint8 (B, C, H, W).
        success: Whether the criterion was met, bool (B,).
        queries: Images sent until then, that one included, int64 (B,); all of them where none met
            it.
    """

    images: Tensor
    success: Tensor
    queries: Tensor
