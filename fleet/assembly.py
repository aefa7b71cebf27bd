"""From a specification to tensors and networks: what training and audits both begin with."""

import dataclasses
import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load

from fleet.data import ImageData, load_data
from fleet.data.dataset import StreamedImages
from fleet.data.load import check_training, list_splits
from fleet.data.pictures import Frame
from fleet.data.survey import check_pictures
from fleet.errors import CheckpointError
from fleet.files import read_bytes
from fleet.models import Classifier, build_classifier, load_weights
from fleet.profiles.spec import DataSpec, DeviceSpec, read_family
from fleet.rundata import check_data
from fleet.rundir import RunDirectory
from fleet.seeding import derive_seed


def load_images(spec: DataSpec) -> ImageData:
    """Load a family's images, once in each process as long as no file under their root changes.

    Raises:
        DataError: They are absent or unreadable.
    """
    if spec in _handed:
        return _handed[spec]
    return _load(spec, _stamp(spec.root))


_handed: dict[DataSpec, ImageData] = {}


def hand_images(spec: DataSpec, images: ImageData) -> None:
    """Let this process use images that another one has loaded; the files need not be here."""
    _handed.clear()
    _handed[spec] = images


@dataclasses.dataclass(frozen=True)
class ImageCounts:
    """Images of each class, in label order.

    Attributes:
        classes: Names.
        train: Images for training.
        validation: Images cut from the training set.
        test: Images for test.
    """

    classes: tuple[str, ...]
    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


def count_images(spec: DataSpec) -> ImageCounts:
    """Count a family's images, and check them as a training does.

    Raises:
        DataError: They are absent or cannot be read (all that are broken are named), or nothing
            can be learnt from them.
    """
    raw, parts = list_splits(spec.dataset, spec.root, **_split_settings(spec))
    check_training(parts[0].labels, raw.class_names)
    if not spec.skip_broken:  # else they were left out just now
        check_pictures(*parts, frame=Frame(spec.channels, spec.image_size, raw.fit))
    counts = (np.bincount(part.labels, minlength=len(raw.class_names)) for part in parts)
    return ImageCounts(raw.class_names, *(tuple(part.tolist()) for part in counts))


def run_images(run: RunDirectory, spec: DataSpec | None = None) -> ImageData:
    """Load the images of a run, which must be those that it was begun with.

    Args:
        run: Holds the record of its images.
        spec: The run's images, where they are known already.

    Raises:
        DataError: They are absent, unreadable, or others; the message names what changed.
        CheckpointError: The run's profile or its record of the images is absent or damaged.
    """
    data = read_family(run).data if spec is None else spec
    images = load_images(data)
    check_data(run, images.record(), data.root)
    return images


def read_through(images: ImageData) -> None:
    """Decode all pictures that are read again and again, so that a damaged one is met now.

    Raises:
        DataError: Some are gone or unreadable; the message names each.
    """
    sources = (split.source for split in (images.train, images.validation, images.test))
    streamed = [source for source in sources if isinstance(source, StreamedImages)]
    if streamed:
        check_pictures(*(source.split for source in streamed), frame=streamed[0].frame)


@lru_cache(maxsize=1)
def _load(spec: DataSpec, _: int) -> ImageData:
    return load_data(
        spec.dataset,
        spec.root,
        channels=spec.channels,
        image_size=spec.image_size,
        **_split_settings(spec),
    )


def _split_settings(spec: DataSpec) -> dict[str, Any]:
    names = ("num_classes", "validation", "train_limit", "test_limit")
    return {name: getattr(spec, name) for name in (*names, "split_seed", "skip_broken")}


def _stamp(root: Path) -> int:
    """Another number once a file below ``root`` is added, removed, renamed or written to."""
    stamp = 0
    for folder, _, names in os.walk(root):
        for name in ("", *sorted(names)):
            with suppress(OSError):
                found = Path(folder, name).stat()
                stamp = hash((stamp, folder, name, found.st_mtime_ns, found.st_size))
    return stamp


def new_classifier(
    device: DeviceSpec, data: DataSpec, mean: tuple[float, ...], std: tuple[float, ...]
) -> Classifier:
    """Build a device's untrained network; its weights follow from its seed and its name.

    Args:
        device: Task, encoding, architecture and seed.
        data: Image shape and number of classes.
        mean: Mean of each channel on the [0, 1] scale.
        std: Standard deviation of each channel on that scale.
    """
    return build_classifier(
        **vars(device.model),
        task=device.task,
        encoding=device.encoding,
        num_classes=data.num_classes,
        input_shape=(data.channels, data.image_size, data.image_size),
        mean=mean,
        std=std,
        start=device.training.start,
        dropout=device.training.dropout,
        seed=derive_seed(device.training.seed, device.name, "weights"),
    )


def load_trained(run: RunDirectory, device: DeviceSpec, data: DataSpec) -> Classifier:
    """Load a finished device of a run, in eval mode.

    Raises:
        CheckpointError: The device is not finished, or its weights are damaged.
    """
    path = run.model(device.name)
    try:
        state = load(read_bytes(path))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{device.name} is not trained yet in {run.root}",
            hint="`fleet train --resume must` finishes the run",
        ) from error
    except Exception as error:  # safetensors raises types of its own for each kind of damage
        raise CheckpointError(f"{path} is damaged: {error}", hint="train the run again") from error
    channels = data.channels  # the true mean and std are buffers among the weights
    model = dataclasses.replace(device.model, pretrained=False, weights=None)  # nothing to fetch
    recipe = dataclasses.replace(device.training, start="range")  # finished weights are in slots
    device = dataclasses.replace(device, model=model, training=recipe)
    classifier = new_classifier(device, data, (0.0,) * channels, (1.0,) * channels)
    load_weights(classifier, state)
    return classifier.eval()
