"""Load a dataset by name: read, split, bring into the frame, measure."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fleet.data.dataset import ImageData, Split, open_images, to_unit
from fleet.data.pictures import Frame, RawDataset, RawSplit
from fleet.data.read import read_dataset
from fleet.data.survey import check_pictures
from fleet.errors import DataError, warn
from fleet.seeding import derive_seed
from fleet.vocabulary import counted, shown

MEMORY_BUDGET = 2 * 1024**3
"""Bytes of uint8 images, all splits together, up to which a dataset is held in memory."""

_SAMPLE = 2048
"""Training images from which mean and standard deviation are taken."""

_BATCH = 64
"""Images of them that are held at a time."""


def load_data(
    dataset: str,
    root: Path,
    *,
    channels: int,
    image_size: int,
    num_classes: int,
    validation: int,
    train_limit: int | None = None,
    test_limit: int | None = None,
    split_seed: int = 0,
    skip_broken: bool = False,
    memory_budget: int = MEMORY_BUDGET,
) -> ImageData:
    """Load a dataset.

    The validation split is cut from the training set by a seeded permutation; ``train_limit``
    keeps the first images of the rest and leaves validation and test as they are.

    Args:
        dataset: ``mnist``, ``fashion-mnist``, ``cifar10``, ``folder`` or ``imagenet10``.
        root: Directory that holds it; only written to if a torchvision dataset must be fetched.
        channels: 1 (grey) or 3 (colour); pictures of the other kind are converted.
        image_size: Height and width in pixels; pictures of another size are scaled.
        num_classes: Number of classes that the dataset must have.
        validation: Images to cut from the training set.
        train_limit: Largest number of training images, or None for all.
        test_limit: Largest number of test images, drawn by ``split_seed``, or None for all.
        split_seed: Seed of the validation split.
        skip_broken: Leave out the pictures of a folder that cannot be read, and say which.
        memory_budget: Bytes of decoded images up to which all are held in memory; a larger dataset
            is decoded batch by batch, to the same bytes.

    Raises:
        DataError: The data are absent, unreadable, or not what the arguments say.
    """
    raw, parts = list_splits(
        dataset,
        root,
        num_classes=num_classes,
        validation=validation,
        train_limit=train_limit,
        test_limit=test_limit,
        split_seed=split_seed,
        skip_broken=skip_broken,
    )
    frame = Frame(channels, image_size, raw.fit)
    in_memory = sum(map(len, parts)) * math.prod(frame.shape) <= memory_budget
    try:
        train, kept, tested = (_open(part, frame, in_memory) for part in parts)
        mean, std = _channel_statistics(train)
    except DataError:
        check_pictures(*parts, frame=frame)  # names all that are broken, not the first
        raise
    return ImageData(
        name=dataset,
        train=train,
        validation=kept,
        test=tested,
        class_names=raw.class_names,
        mean=mean,
        std=std,
        provenance={
            "dataset": dataset,
            "sha256": raw.digests[1],
            "train_sha256": raw.digests[0],
            "train": len(train),
            "validation": len(kept),
            "test": len(tested),
            "split_seed": split_seed,
            "fit": raw.fit,
            "credit": raw.credit,
        },
    )


def list_splits(
    dataset: str,
    root: Path,
    *,
    num_classes: int,
    validation: int,
    train_limit: int | None,
    test_limit: int | None,
    split_seed: int,
    skip_broken: bool = False,
) -> tuple[RawDataset, list[RawSplit]]:
    """Read or list a dataset and split it as :func:`load_data` does; no picture is decoded.

    Returns:
        The dataset; its images for training, for validation and for test.

    Raises:
        DataError: The data are absent, damaged, or not what the arguments say.
    """
    raw = read_dataset(dataset, root, skip_broken=skip_broken)
    if raw.left_out:
        warn(f"left out of {root}: {raw.left_out}")
    if len(raw.class_names) != num_classes:
        found = counted(len(raw.class_names), "class", "classes")
        raise DataError(
            f"{dataset} in {root} has {found}, not {num_classes}",
            hint=f"set `data.classes` to {len(raw.class_names)}",
        )
    fit, held_out = _split_rows(len(raw.train), validation, train_limit, split_seed)
    test = raw.test if test_limit is None else _draw(raw.test, test_limit, split_seed)
    return raw, [raw.train.select(fit), raw.train.select(held_out), test]


def check_training(labels: NDArray[np.int64], class_names: Sequence[str]) -> None:
    """Refuse images that nothing can be learnt from.

    Args:
        labels: Those of the images for training, int64 (N,).
        class_names: In label order.

    Raises:
        DataError: There is one image alone, or a class has none.
    """
    if len(labels) < 2:
        raise DataError(
            "there is 1 image for training; a batch needs 2",
            hint="lower `data.validation` or raise `data.train_limit`",
        )
    counts = np.bincount(labels, minlength=len(class_names))
    missing = [shown(name) for name, count in zip(class_names, counts, strict=True) if not count]
    if missing:
        raise DataError(
            f"no image for training is of class {', '.join(missing[:5])}"
            f"{f' and {len(missing) - 5} more' if len(missing) > 5 else ''}: "
            "all are kept for validation or cut off by the limit",
            hint="lower `data.validation`, raise `data.train_limit`, or add images",
        )


def _split_rows(
    count: int, validation: int, train_limit: int | None, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw the rows to fit and the rows to hold out."""
    if not 0 <= validation < count:
        raise DataError(
            f"cannot cut {validation} validation images from {count} training images",
            hint="lower `data.validation`",
        )
    if train_limit is not None and train_limit < 1:
        raise DataError(f"train_limit is {train_limit}", hint="use 1 or more, or leave it out")
    generator = torch.Generator().manual_seed(derive_seed(seed, "validation-split"))
    order = torch.randperm(count, generator=generator).numpy()
    stop = None if train_limit is None else validation + train_limit
    return order[validation:stop], order[:validation]


def _draw(part: RawSplit, limit: int, seed: int) -> RawSplit:
    """A seeded sample in the order of the files, which come class by class in some datasets."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "test-sample"))
    rows = torch.randperm(len(part), generator=generator)[:limit].sort().values
    return part.select(rows.numpy())


def _open(part: RawSplit, frame: Frame, in_memory: bool) -> Split:
    return Split(torch.from_numpy(part.labels), open_images(part, frame, in_memory=in_memory))


def _channel_statistics(split: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel on [0, 1], from the first images of a split.

    Taken from counts of the 256 levels, so that a batch of images is all that is held. A channel
    that never varies gets one grey level as its standard deviation, so that dividing by it stays
    finite.
    """
    batches = torch.arange(min(len(split), _SAMPLE)).split(_BATCH)
    counts = torch.stack([_level_counts(split.images(batch)) for batch in batches]).sum(0)
    levels = to_unit(torch.arange(256, dtype=torch.uint8)).double()
    shares = counts / counts.sum(1, keepdim=True)
    mean = shares @ levels
    std = (shares * (levels - mean[:, None]).square()).sum(1).sqrt().clamp_min(1 / 255)
    return tuple(mean.tolist()), tuple(std.tolist())


def _level_counts(images: torch.Tensor) -> torch.Tensor:
    """Pixels of each level in each channel, float64 (C, 256)."""
    planes = images.transpose(0, 1).flatten(1)
    return torch.stack([plane.bincount(minlength=256) for plane in planes]).double()
