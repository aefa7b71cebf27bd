"""A dataset as its reader finds it, before any split, limit or scaling."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleet.vocabulary import Fit


@dataclass(frozen=True, eq=False)
class RawSplit:
    """Labelled pictures.

    Attributes:
        labels: int64 (N,).
        pictures: uint8 (N, H, W) or (N, H, W, 3), or N files.
    """

    labels: NDArray[np.int64]
    pictures: NDArray[np.uint8] | tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, rows: NDArray[np.int64]) -> RawSplit:
        """Take some of the pictures, in the order of ``rows``."""
        if isinstance(self.pictures, np.ndarray):
            return RawSplit(self.labels[rows], self.pictures[rows])
        return RawSplit(self.labels[rows], tuple(self.pictures[row] for row in rows))


@dataclass(frozen=True, eq=False)
class RawDataset:
    """What a reader gives.

    Attributes:
        train: The dataset's training set, validation included.
        test: Its test set.
        class_names: In label order.
        sha256: Digest of the whole content.
        train_sha256: Digest of the training set, on which alone the weights depend.
        credit: Whom the images come from.
        fit: How pictures of another shape are brought into the frame.
    """

    train: RawSplit
    test: RawSplit
    class_names: tuple[str, ...]
    sha256: str
    train_sha256: str
    credit: str
    fit: Fit = "squash"

    def identity(self) -> dict[str, Any]:
        """What makes two datasets the same images, plain JSON values."""
        names = list(self.class_names)
        return {"sha256": self.sha256, "train_sha256": self.train_sha256, "class_names": names}


Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Pictures, uint8 (N, H, W) or (N, H, W, 3), and their labels, int64 (N,)."""


def array_dataset(
    train: Arrays, test: Arrays, class_names: tuple[str, ...], credit: str
) -> RawDataset:
    """Make a dataset of arrays; its digest is over type, shape and bytes of the four, in order."""
    digest, digests = hashlib.sha256(), []
    for array in (*train, *test):
        digest.update(f"{array.dtype.str}{array.shape}".encode("ascii"))
        digest.update(array.tobytes())
        digests.append(digest.hexdigest())
    return RawDataset(
        train=RawSplit(train[1], train[0]),
        test=RawSplit(test[1], test[0]),
        class_names=class_names,
        sha256=digests[-1],
        train_sha256=digests[1],
        credit=credit,
    )
