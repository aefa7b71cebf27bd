"""Look into a folder of photos before a profile names it: what is there, and what is broken."""

import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from fleet.data.folder import class_folders
from fleet.data.pictures import FORMATS, THREADS, Frame, RawDataset, RawSplit, read_picture
from fleet.errors import DataError
from fleet.vocabulary import counted, shown

_SAMPLE = 200
"""Pictures whose size and colours are looked at."""

_GREY = frozenset({"1", "L", "LA", "La", "I", "I;16", "F"})


@dataclass(frozen=True)
class Survey:
    """What a folder of photos holds.

    Attributes:
        classes: Classes that have pictures for training and for test, sorted.
        train: Pictures for training, validation included, of each of them.
        test: Pictures for test of each.
        stray: Class folders that are of no use, each with the reason.
        channels: 1 where all pictures looked at are grey, else 3.
        side: Median of the pictures' short sides, in pixels; 0 where none can be read.
        is_split: Whether the folder says which pictures are for test.
    """

    classes: tuple[str, ...]
    train: tuple[int, ...]
    test: tuple[int, ...]
    stray: tuple[str, ...]
    channels: int
    side: int
    is_split: bool


def survey_folder(root: Path) -> Survey:
    """Look into ``root/train`` and ``root/test`` (or ``val``), or ``root``; none is decoded.

    Raises:
        DataError: There are no such folders, or fewer than two classes in them.
    """
    folders, stray = class_folders(root)
    found = {name: folders.pictures(name) for name in folders.names}
    both = {name: pair for name, pair in found.items() if all(pair)}
    if len(both) < 2:
        where = " and ".join(part.name for part in folders.parts)
        under = f" under both {where}" if folders.is_split else ""
        held = counted(len(both), "class", "classes")
        raise DataError(
            f"{root} holds {held} with pictures{under}; a family needs 2",
            hint="photos lie in ROOT/CLASS/, or in ROOT/train/CLASS/ and ROOT/test/CLASS/",
        )
    few = "no pictures" if folders.is_split else "fewer than 2 pictures"
    stray += [f"{shown(name)} ({few})" for name in found if name not in both]
    train = [path for pair in both.values() for path in pair[0]]
    looks = list(filter(None, map(_look, train[:: max(1, len(train) // _SAMPLE)])))
    grey, sides = all(grey for grey, _ in looks), [side for _, side in looks]
    return Survey(
        tuple(both),
        tuple(len(pair[0]) for pair in both.values()),
        tuple(len(pair[1]) for pair in both.values()),
        tuple(stray),
        1 if grey and sides else 3,
        int(statistics.median(sides)) if sides else 0,
        folders.is_split,
    )


def _look(path: Path) -> tuple[bool, int] | None:
    """Whether a picture is grey, and its short side; None for one that cannot be opened."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.mode in _GREY, min(image.size)
    except Exception:
        return None


def broken_pictures(paths: Sequence[Path], frame: Frame) -> dict[Path, str]:
    """Bring files into a frame; give all that cannot be read, each with the reason."""
    with ThreadPoolExecutor(THREADS) as pool:
        reasons = pool.map(lambda path: _reason(path, frame), paths)
        return {path: why for path, why in zip(paths, reasons, strict=True) if why}


def check_pictures(*splits: RawSplit, frame: Frame) -> None:
    """Refuse pictures that cannot be read, all of them at once.

    Raises:
        DataError: There are some; the message names each.
    """
    paths = [p for s in splits if not isinstance(s.pictures, np.ndarray) for p in s.pictures]
    broken = broken_pictures(paths, frame)
    if broken:
        raise DataError(
            f"{len(broken)} of {len(paths)} images cannot be read:\n"
            + "\n".join(f"  {why}" for why in broken.values()),
            hint="repair or remove them, or leave them out: `skip_broken: true` under `data:`",
        )


def without_broken(raw: RawDataset) -> RawDataset:
    """Leave out the pictures of a folder that cannot be read, and say which."""
    parts, names = [], []
    for split in (raw.train, raw.test):
        if isinstance(split.pictures, np.ndarray):
            return raw
        broken = broken_pictures(split.pictures, Frame(3, 224, raw.fit))
        names += [shown(str(path.relative_to(raw.root))) for path in broken]
        kept = [row for row, path in enumerate(split.pictures) if path not in broken]
        parts.append(split.select(np.array(kept, dtype=np.int64)))
    if not names:
        return raw
    words = f"{counted(len(names), 'broken image')} ({', '.join(names)})"
    left_out = f"{raw.left_out} and {words}" if raw.left_out else words
    return replace(raw, train=parts[0], test=parts[1], left_out=left_out)


def _reason(path: Path, frame: Frame) -> str:
    try:
        read_picture(path, frame)
    except DataError as error:
        return error.message
    return ""
