"""What a loaded dataset is: three splits of uint8 images and their provenance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


class ImageSource(Protocol):
    """Images that can be read by number: in memory, or from files."""

    def __len__(self) -> int:
        """Count the images."""

    def read(self, indices: Tensor) -> Tensor:
        """Read images, uint8 (B, C, H, W), by their numbers, int64 (B,)."""


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a dataset.

    Attributes:
        labels: Classes, int64 (N,).
        source: The N images.
    """

    labels: Tensor
    source: ImageSource

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, indices: Tensor) -> Tensor:
        """Read images.

        Args:
            indices: int64 (B,), each in [0, N).

        Returns:
            uint8 (B, C, H, W); the same bytes whether held in memory or read from files.

        Raises:
            DataError: A file is gone or unreadable.
        """
        return self.source.read(indices)


@dataclass(frozen=True, eq=False)
class ImageData:
    """A dataset, ready for training and audit.

    Attributes:
        name: Dataset name, for example ``mnist``.
        train: Images to fit.
        validation: Images cut from the training set, for every choice.
        test: The dataset's own test set, for final figures only.
        class_names: One name for each class, in label order.
        mean: Mean of each channel of the training split, on the [0, 1] scale.
        std: Standard deviation of each channel, on the same scale.
        provenance: Plain JSON values: ``dataset``, ``sha256`` of the whole content (before any
            split or limit), ``train_sha256`` of the training set in it, sizes of the splits,
            ``split_seed``, ``fit``, ``credit``.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    provenance: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """What a run keeps of its images, plain JSON values."""
        means = {"mean": list(self.mean), "std": list(self.std)}
        return {**self.provenance, "class_names": list(self.class_names), **means}


def to_unit(images: Tensor) -> Tensor:
    """Turn 8-bit images into the classifier's input: ``images / 255``.

    Args:
        images: uint8, any shape.

    Returns:
        float32 in [0, 1], same shape and memory format.

    Raises:
        TypeError: The images are not uint8.
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"images are {images.dtype}, not torch.uint8")
    return images.to(torch.float32).div_(255)
