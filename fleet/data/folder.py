"""Image folders, one directory for each class, and ImageNet's first ten classes among them."""

import hashlib
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fleet.data.pictures import SUFFIXES, RawDataset, RawSplit
from fleet.errors import DataError
from fleet.vocabulary import Fit, counted, printable, shown

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

    Without any of these directories, pictures in ``root/CLASS/*`` are split (:func:`split`).
    Classes are the directories' names, sorted. What is hidden is skipped.

    Raises:
        DataError: A part is absent or empty, the two parts have different classes, or a class has
            a name that cannot be packaged.
    """
    folders, stray = class_folders(root)
    train, test = folders.parts
    if stray:
        raise DataError(
            f"{train} and {test} have different classes: {', '.join(stray)}",
            hint="give both the same directories, or move those away",
        )
    classes = {name: name for name in folders.names}
    return _dataset(root, folders.parts, classes, folders.left_out)


TEST_SHARE = 5
"""Of photos without ``train`` and ``test``, one of so many of each class is for test."""

SPLIT = (
    f"there is no train/ and test/, so of each class 1 photo of {TEST_SHARE} is kept for test, "
    "chosen by the SHA-256 of its name; photos of one scene on both sides flatter every figure, so "
    "then make train/ and test/ yourself"
)
"""What :func:`split` does, in words."""


def split(pictures: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Split the pictures of one class into those for training and those for test.

    The same names give the same split on every machine: the fifth (rounded, one at least) with the
    lowest SHA-256 of the file name is for test.

    Args:
        pictures: Sorted.
    """
    ranked = sorted(pictures, key=lambda path: hashlib.sha256(os.fsencode(path.name)).digest())
    tests = set(ranked[: max(1, round(len(ranked) / TEST_SHARE))])
    return [p for p in pictures if p not in tests], [p for p in pictures if p in tests]


@dataclass(frozen=True)
class ClassFolders:
    """The two parts of a folder of images.

    Attributes:
        parts: ``train``, and ``test`` or ``val``; twice the folder itself if it has none of these.
        names: Classes that have a directory in both, sorted.
        left_out: What else lies there.
    """

    parts: tuple[Path, Path]
    names: list[str]
    left_out: list[Path]

    @property
    def is_split(self) -> bool:
        """Whether the folder says which pictures are for test."""
        return self.parts[0] != self.parts[1]

    def pictures(self, name: str) -> tuple[list[Path], list[Path]]:
        """Pictures of a class for training and for test, each sorted.

        Raises:
            DataError: A directory cannot be read.
        """
        train, test = (pictures_in(part / name) for part in self.parts)
        return (train, test) if self.is_split else split(train)


def class_folders(root: Path) -> tuple[ClassFolders, list[str]]:
    """Find the directories of the classes; those in one part alone come second, in words.

    Raises:
        DataError: A part is absent, or a class has a name that cannot be packaged.
    """
    train = root / "train"
    tests = [root / name for name in ("test", "val") if (root / name).is_dir()]
    if not tests and not train.is_dir():
        train, tests = root, [root]
    if not tests:
        raise DataError(
            f"no test images: there is neither {root / 'test'} nor {root / 'val'}",
            hint="put one directory for each class under it, as under `train`; or move the classes "
            f"from `train` to {root} itself, where 1 photo of {TEST_SHARE} is taken for test",
        )
    left_out = tests[1:]
    names: list[list[str]] = []
    for part in dict.fromkeys((train, tests[0])):
        entries = _entries(part)
        names.append([entry.name for entry in entries if entry.is_dir()])
        left_out += [entry for entry in entries if not entry.is_dir()]
        _check_names(part, names[-1])
    names = [names[0], names[-1]]
    stray = [
        f"{shown(name)} (only in {part})"
        for part, own, other in (("train", *names), (tests[0].name, *reversed(names)))
        for name in own
        if name not in other
    ]
    both = [name for name in names[0] if name in names[1]]
    return ClassFolders((train, tests[0]), both, left_out), stray


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of one class, sorted.

    Raises:
        DataError: The directory cannot be read.
    """
    return [path for path in _entries(folder) if _is_picture(path)]


def read_imagenet10(root: Path) -> RawDataset:
    """List ImageNet's first ten classes in a standard tree: ``root/{train,val}/WNID``.

    Raises:
        DataError: One of the ten directories is absent or empty.
    """
    credit = "ImageNet (ILSVRC 2012) by O. Russakovsky et al.; its terms of access apply"
    return _dataset(root, (root / "train", root / "val"), IMAGENET10, [], credit, fit="crop")


def _check_names(part: Path, names: list[str]) -> None:
    """Refuse names that bundles refuse, and names that look the same."""
    first: dict[str, str] = {}
    for name in names:
        if not printable(name):
            raise DataError(
                f"the class {shown(name)} in {part} cannot be packaged: not every character of "
                "its name prints as itself",
                hint="rename the directory, under `train` and `test` alike",
            )
        other = first.setdefault(unicodedata.normalize("NFC", name), name)
        if other != name:
            raise DataError(
                f"two classes in {part} look the same: {shown(other)} and {shown(name)}",
                hint="join the two directories, or rename one",
            )


def _dataset(
    root: Path,
    parts: tuple[Path, Path],
    classes: Mapping[str, str],
    left_out: list[Path],
    credit: str = "image folder",
    *,
    fit: Fit = "squash",
) -> RawDataset:
    """Make a dataset of two trees; ``classes`` gives each directory its class name."""
    train, test = (_list(part, classes, left_out) for part in parts)
    if parts[0] == parts[1]:
        train, test = _split(train)
        left_out = list(dict.fromkeys(left_out))
    words = _in_words(root, left_out)
    return RawDataset(train, test, tuple(classes.values()), credit, root, fit, words)


def _list(part: Path, folders: Mapping[str, str], left_out: list[Path]) -> RawSplit:
    """List the pictures of each class, sorted, with their labels."""
    paths: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        entries = _entries(part / folder)
        found = [path for path in entries if _is_picture(path)]
        if not found:
            raise DataError(
                f"no images in {part / folder}",
                hint=f"remove the directory, or put {', '.join(sorted(SUFFIXES))} files into it",
            )
        left_out += [path for path in entries if not _is_picture(path)]
        paths += found
        labels += [label] * len(found)
    return RawSplit(np.array(labels, dtype=np.int64), tuple(paths))


def _split(whole: RawSplit) -> tuple[RawSplit, RawSplit]:
    """:func:`split` for each class."""
    paths = np.array(whole.pictures, dtype=object)
    tests: set[Path] = set()
    for label in np.unique(whole.labels):
        found = list(paths[whole.labels == label])
        if len(found) < 2:
            raise DataError(
                f"{found[0].parent} holds one picture, which cannot be split",
                hint="put more pictures there (one is for training and one for test), or take the "
                "folder away",
            )
        tests |= set(split(found)[1])
    for_test = np.array([path in tests for path in paths])
    return whole.select(np.flatnonzero(~for_test)), whole.select(np.flatnonzero(for_test))


def _is_picture(path: Path) -> bool:
    """By its name; a link to nothing is one too, and an error when it is read."""
    return path.suffix.lower() in SUFFIXES and (path.is_file() or not path.exists())


def _entries(folder: Path) -> list[Path]:
    """What is not hidden in a directory, sorted."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(
            f"cannot read the directory {folder}: {error.strerror}",
            hint="images lie in ROOT/CLASS/, or in ROOT/train/CLASS/ and ROOT/test/CLASS/ (or "
            "ROOT/val/CLASS/)",
        ) from error


def _in_words(root: Path, left_out: list[Path]) -> str:
    """Count and name what was left out: ``2 files (train/a/b.gif, train/a/c.txt)``."""
    words = []
    for kind in ("file", "folder"):
        found = [path for path in left_out if path.is_dir() == (kind == "folder")]
        if found:
            names = [shown(str(path.relative_to(root))) for path in found[:3]]
            names += ["..."] if len(found) > 3 else []
            words.append(f"{counted(len(found), kind)} ({', '.join(names)})")
    return " and ".join(words)
