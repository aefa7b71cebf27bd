"""Batches whose content depends only on names and numbers, and the clean accuracy over a split."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fleet.accelerator import halving
from fleet.data import Split, to_unit
from fleet.models import Classifier
from fleet.seeding import derive_seed


def epoch_order(images: int, batch_size: int, *keys: int | str) -> Tensor:
    """Indices of one epoch's batches; the last partial batch is dropped.

    Args:
        images: Size of the training set.
        batch_size: Images in a batch; a set smaller than one batch is one batch.
        keys: Seed, device name and epoch.

    Returns:
        int64 (steps, batch).
    """
    generator = torch.Generator().manual_seed(derive_seed(*keys, "order"))
    order = torch.randperm(images, generator=generator)
    batch = min(batch_size, images)
    return order[: images // batch * batch].reshape(-1, batch)


def training_batch(
    split: Split, indices: Tensor, *keys: int | str, shift: int, mirror: bool
) -> tuple[Tensor, Tensor]:
    """Read and augment one batch.

    Args:
        split: Training images.
        indices: int64 (B,).
        keys: Seed, device name, epoch and step.
        shift: Largest translation in pixels each way; the border is filled with black.
        mirror: Flip half of the images left to right.

    Returns:
        Images, float32 (B, C, H, W) in [0, 1], channels last, and labels, int64 (B,).
    """
    images = split.images(indices)
    generator = torch.Generator().manual_seed(derive_seed(*keys, "augment"))
    if shift:
        images = _translate(images, shift, generator)
    if mirror:
        flip = torch.rand(len(images), generator=generator) < 0.5
        turned = flip[:, None, None, None].to(images.device)
        images = torch.where(turned, images.flip(3), images)
    unit = to_unit(images).contiguous(memory_format=torch.channels_last)
    return unit, split.labels[indices]


def _translate(images: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    """Move each image by its own whole number of pixels: one gather, no loop."""
    batch, channels, height, width = images.shape
    padded = functional.pad(images, (shift, shift, shift, shift))
    down, right = torch.randint(0, 2 * shift + 1, (2, batch), generator=generator)
    rows = (down[:, None] + torch.arange(height))[:, None, :, None]
    columns = (right[:, None] + torch.arange(width))[:, None, None, :]
    which = torch.arange(batch)[:, None, None, None]
    plane = torch.arange(channels)[None, :, None, None]
    return padded[which, plane, rows, columns]


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

    def count(indices: Tensor) -> tuple[int, int]:
        unit = to_unit(split.images(indices)).contiguous(memory_format=torch.channels_last)
        decided = classifier.decode(classifier(unit))
        return int((decided == split.labels[indices]).sum()), int((decided < 0).sum())

    with torch.inference_mode():
        parts = torch.arange(len(split)).split(min(batch_size, LARGEST_BATCH))
        counts = [found for indices in parts for found in halving(count, indices)]
    classifier.train(was_training)
    return Tally(len(split), *map(sum, zip(*counts, strict=True)))
