"""CIFAR-10 through torchvision.

Its files are pickles. torchvision compares the MD5 of each with the published one before it
unpickles it, so a file that is merely damaged or swapped is never executed.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
from torchvision.datasets import CIFAR10

from fleet.data.raw import Arrays, RawDataset, array_dataset
from fleet.errors import DataError


def read_cifar10(root: Path) -> RawDataset:
    """Read CIFAR-10 from ``root/cifar-10-batches-py``, fetching it if it is not there.

    Raises:
        DataError: It is absent and cannot be fetched, or damaged.
    """
    folder = root / CIFAR10.base_folder
    try:
        train, names = _read(root, train=True, download=not folder.exists())
        test, _ = _read(root, train=False, download=False)
    except (OSError, RuntimeError) as error:
        state = "is incomplete or damaged" if folder.exists() else "is not there"
        raise DataError(
            f"CIFAR-10: {folder} {state}: {error}",
            hint=f"unpack cifar-10-python.tar.gz ({CIFAR10.url}) into {root}",
        ) from error
    return array_dataset(train, test, names, "CIFAR-10 by A. Krizhevsky, V. Nair and G. Hinton")


def _read(root: Path, *, train: bool, download: bool) -> tuple[Arrays, tuple[str, ...]]:
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        # The pickles are from 2009 and make NumPy 2.4 warn of an old way to write a dtype.
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
        found = CIFAR10(str(root), train=train, download=download)
    labels = np.asarray(found.targets, dtype=np.int64)
    return (np.ascontiguousarray(found.data), labels), tuple(found.classes)
