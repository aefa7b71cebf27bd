"""Clean accuracy, None counted as wrong."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fleet.data import Split, to_unit
from fleet.models import Classifier


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


def evaluate(classifier: Classifier, split: Split, *, batch_size: int = 500) -> Tally:
    """Count decisions in fp32 and eval mode; the network's mode is as before afterwards.

    Args:
        classifier: Any device.
        split: Not empty.
        batch_size: Changes the time, not the result.
    """
    was_training = classifier.training
    classifier.eval()
    correct = rejected = 0
    with torch.inference_mode():
        for indices in torch.arange(len(split)).split(batch_size):
            unit = to_unit(split.images(indices)).contiguous(memory_format=torch.channels_last)
            decided = classifier.decode(classifier(unit))
            correct += int((decided == split.labels[indices]).sum())
            rejected += int((decided < 0).sum())
    classifier.train(was_training)
    return Tally(len(split), correct, rejected)
