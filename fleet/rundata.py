"""Keep a run on the images that it began with, wherever they lie now. No torch."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fleet.data.read import lies_in, read_dataset
from fleet.errors import CheckpointError, DataError
from fleet.files import read_json, write_json
from fleet.profiles.spec import DataSpec, read_family
from fleet.rundir import RunDirectory
from fleet.vocabulary import shown


def check_data(
    run: RunDirectory, present: Mapping[str, Any], root: Path, *, tests: bool = True
) -> None:
    """Refuse images that are not those of a run.

    Args:
        run: A run with a record of its images.
        present: The record of the images that are there now, as in ``dataset.json``; it needs
            ``sha256``, ``train_sha256`` and ``class_names``.
        root: Where those lie.
        tests: Whether the test images must be the same too.

    Raises:
        DataError: They are not; the message names what changed.
        CheckpointError: The run's record is absent or damaged.
    """
    recorded = read_json(run.dataset)
    try:
        changes = list(_changes(recorded, present, tests))
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{run.dataset} is damaged: {error!r}", hint="`fleet train` writes it"
        ) from error
    if changes:
        raise DataError(
            f"the images in {root} are not those of {run.root}: {'; '.join(changes)}",
            hint="put the images back, or say where they lie with --data-root; "
            "`fleet train --resume never` begins a new run",
        )


def check_files(run: RunDirectory, data: DataSpec) -> None:
    """Refuse a run whose images became others; images that are not there are left alone.

    Raises:
        DataError: They are others or damaged; the message names what changed.
        CheckpointError: The run's record is absent or damaged.
    """
    if lies_in(data.dataset, data.root):
        raw = read_dataset(data.dataset, data.root, skip_broken=data.skip_broken)
        check_data(run, raw.identity(), data.root)


def move_images(run: RunDirectory, root: Path) -> None:
    """Tell a run where its images lie now; later commands look there.

    Raises:
        DataError: Those in ``root`` are absent, damaged, or others.
        CheckpointError: The run's profile or its record of the images is absent or damaged.
        StorageError: The run cannot be written.
    """
    family = read_family(run)
    data = dataclasses.replace(family.data, root=root.absolute())
    if not lies_in(data.dataset, data.root):
        raise DataError(f"there is no {data.dataset} data set in {root}")
    check_files(run, data)
    write_json(run.profile, dataclasses.replace(family, data=data).to_dict())


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], tests: bool) -> Iterator[str]:
    before, after = list(old["class_names"]), list(new["class_names"])
    if before != after:
        gone = ", ".join(shown(name) for name in before if name not in after)
        come = ", ".join(shown(name) for name in after if name not in before)
        told = [f"{word} {names}" for word, names in (("without", gone), ("with", come)) if names]
        yield f"the classes changed ({', '.join(told) or 'their order'})"
    known = "train_sha256" in old  # runs of before have the digest of all images alone
    if known and old["train_sha256"] != new["train_sha256"]:
        yield "the training images changed" + _sizes(old, new, "train")
    elif old["sha256"] != new["sha256"] and (tests or not known):
        yield f"the {'test ' if known else ''}images changed" + _sizes(old, new, "test")


def _sizes(old: Mapping[str, Any], new: Mapping[str, Any], part: str) -> str:
    sizes = [record.get(part) for record in (old, new)]
    return "" if sizes[0] == sizes[1] or None in sizes else f" ({sizes[0]} -> {sizes[1]})"
