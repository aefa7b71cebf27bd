"""A dataset as its reader finds it, before any split, limit or scaling."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleet.data.pictures import THREADS
from fleet.errors import DataError
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
        credit: Whom the images come from.
        root: What the files' names in the digests begin below.
        fit: How pictures of another shape are brought into the frame.
        left_out: What is there and was not read, in words; "" for nothing.
    """

    train: RawSplit
    test: RawSplit
    class_names: tuple[str, ...]
    credit: str
    root: Path = Path()
    fit: Fit = "squash"
    left_out: str = ""

    def identity(self) -> dict[str, Any]:
        """What makes two datasets the same images, plain JSON values.

        Raises:
            DataError: A file cannot be read.
        """
        train, whole = self.digests
        return {"sha256": whole, "train_sha256": train, "class_names": list(self.class_names)}

    @cached_property
    def digests(self) -> tuple[str, str]:
        """SHA-256 of the training set, on which alone the weights depend, and of all.

        Over type, shape and bytes of pictures and labels; for files, over each one's path below
        ``root``, its size and its content, in order.

        Raises:
            DataError: A file cannot be read.
        """
        digest, found = hashlib.sha256(), []
        for split in (self.train, self.test):
            if isinstance(split.pictures, np.ndarray):
                for array in (split.pictures, split.labels):
                    digest.update(f"{array.dtype.str}{array.shape}".encode("ascii"))
                    digest.update(array.tobytes())
            else:
                with ThreadPoolExecutor(THREADS) as pool:
                    contents = pool.map(_digest_file, split.pictures)
                    for path, (size, content) in zip(split.pictures, contents, strict=True):
                        name = os.fsencode(path.relative_to(self.root))
                        digest.update(b"%d:%b:%d:%b" % (len(name), name, size, content))
            found.append(digest.hexdigest())
        return found[0], found[1]


def _digest_file(path: Path) -> tuple[int, bytes]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    return len(content), hashlib.sha256(content).digest()
