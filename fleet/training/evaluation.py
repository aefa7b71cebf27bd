"""Clean accuracy, None counted as wrong."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fleet.data import Split, to_unit
from fleet.models import Classifier

LARGEST_BATCH = 500
"""More images at a time make an evaluation no quicker."""


@dataclass(frozen=True)
class Tally:
    """Decisions on one split.

    Attributes:
        n: Images.
        correct: Decoded as their class.
        rejected: Decoded as None; counted as wrong.
    """

    n: int
    correct: int
    rejected: int

    @property
    def accuracy(self) -> float:
        """``correct / n``."""
        return self.correct / self.n


def evaluate(classifier: Classifier, split: Split, *, batch_size: int) -> Tally:
    """Count decisions in fp32 and eval mode; the network's mode is as before afterwards.

    Args:
        classifier: Any device.
        split: Not empty.
        batch_size: Images at a time, :data:`LARGEST_BATCH` at most; changes time and memory, not
            the result. With that of the training, less memory is taken than by a training step.
    """
    was_training = classifier.training
    classifier.eval()
    correct = rejected = 0
    with torch.inference_mode():
        for indices in torch.arange(len(split)).split(min(batch_size, LARGEST_BATCH)):
            unit = to_unit(split.images(indices)).contiguous(memory_format=torch.channels_last)
            decided = classifier.decode(classifier(unit))
            correct += int((decided == split.labels[indices]).sum())
            rejected += int((decided < 0).sum())
    classifier.train(was_training)
    return Tally(len(split), correct, rejected)
