"""Image folders, one directory for each class, and ImageNet's first ten classes among them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fleet.data.pictures import SUFFIXES, THREADS
from fleet.data.raw import RawDataset, RawSplit
from fleet.errors import DataError
from fleet.vocabulary import Fit

IMAGENET10 = {
    "n01440764": "tench",
    "n01443537": "goldfish",
    "n01484850": "great white shark",
    "n01491361": "tiger shark",
    "n01494475": "hammerhead",
    "n01496331": "electric ray",
    "n01498041": "stingray",
    "n01514668": "cock",
    "n01514859": "hen",
    "n01518878": "ostrich",
}
"""ImageNet's first ten classes in sorted order, as in the paper (section 3.1)."""


def read_folder(root: Path) -> RawDataset:
    """List ``root/train/CLASS/*`` and ``root/test/CLASS/*`` (``val`` if there is no ``test``).

    Classes are the directories' names, sorted.

    Raises:
        DataError: A part is absent or empty, or the two parts have different classes.
    """
    train = root / "train"
    test = next((root / name for name in ("test", "val") if (root / name).is_dir()), None)
    if test is None:
        raise DataError(
            f"no test images: there is neither {root / 'test'} nor {root / 'val'}",
            hint="put one directory for each class under it, as under `train`",
        )
    classes, others = _class_names(train), _class_names(test)
    if classes != others:
        odd = ", ".join(sorted(set(classes) ^ set(others))[:5])
        raise DataError(
            f"{train} and {test} have different classes: {odd}",
            hint="give both the same directories",
        )
    return _dataset(root, (train, test), {name: name for name in classes}, "image folder")


def read_imagenet10(root: Path) -> RawDataset:
    """List ImageNet's first ten classes in a standard tree: ``root/{train,val}/WNID``.

    Raises:
        DataError: One of the ten directories is absent or empty.
    """
    parts = (root / "train", root / "val")
    credit = "ImageNet (ILSVRC 2012) by O. Russakovsky et al.; its terms of access apply"
    return _dataset(root, parts, IMAGENET10, credit, fit="crop")


def digest_files(root: Path, *parts: Sequence[Path]) -> list[str]:
    """SHA-256 over each file's path below ``root``, its size and its content, in order.

    Returns:
        The digest after each of ``parts``; the last one is of all.

    Raises:
        DataError: A file cannot be read.
    """
    digest, found = hashlib.sha256(), []
    with ThreadPoolExecutor(THREADS) as pool:
        for paths in parts:
            for path, (size, content) in zip(paths, pool.map(_digest_file, paths), strict=True):
                name = os.fsencode(path.relative_to(root))
                digest.update(b"%d:%b:%d:%b" % (len(name), name, size, content))
            found.append(digest.hexdigest())
    return found


def _dataset(
    root: Path,
    parts: tuple[Path, Path],
    classes: Mapping[str, str],
    credit: str,
    *,
    fit: Fit = "squash",
) -> RawDataset:
    """Make a dataset of two trees; ``classes`` gives each directory its class name."""
    (train, train_labels), (test, test_labels) = (_list(part, classes) for part in parts)
    train_sha256, sha256 = digest_files(root, train, test)
    return RawDataset(
        train=RawSplit(train_labels, train),
        test=RawSplit(test_labels, test),
        class_names=tuple(classes.values()),
        sha256=sha256,
        train_sha256=train_sha256,
        credit=credit,
        fit=fit,
    )


def _digest_file(path: Path) -> tuple[int, bytes]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    return len(content), hashlib.sha256(content).digest()


def _class_names(part: Path) -> tuple[str, ...]:
    names = (entry.name for entry in _entries(part) if entry.is_dir())
    return tuple(sorted(name for name in names if not name.startswith(".")))


def _list(part: Path, folders: Iterable[str]) -> tuple[tuple[Path, ...], NDArray[np.int64]]:
    """List the pictures of each class, sorted, with their labels."""
    paths: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        found = [p for p in _entries(part / folder) if p.suffix.lower() in SUFFIXES]
        if not found:
            raise DataError(
                f"no images in {part / folder}",
                hint=f"remove the directory, or put {', '.join(sorted(SUFFIXES))} files into it",
            )
        paths += sorted(found)
        labels += [label] * len(found)
    return tuple(paths), np.array(labels, dtype=np.int64)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise DataError(
            f"cannot read the directory {folder}: {error.strerror}",
            hint="images lie in ROOT/train/CLASS/ and ROOT/test/CLASS/ (or ROOT/val/CLASS/)",
        ) from error
