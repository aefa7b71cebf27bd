"""The commented profile that ``fleet profiles new`` writes."""

import json
import math
import string
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

from fleet.encoding.orders import spread_orders
from fleet.profiles.data_section import DATASETS
from fleet.vocabulary import HEADS, Architecture, DatasetName, HeadName

_PITCH = 20.0
"""Alpha + beta of every device; the paper's 4 and 16."""

_PHOTOS = 64
"""Pixels of photos in a starter; twice as many take four times as long."""

_HEAD: HeadName = "softmax"
"""A head that learns photos."""

_WIDTH = 0.5
"""Of the `cnn` that a folder of few photos gets. On 180 photos it is right as often as the paper's
network, learns in half the time, and its audits take a third."""

_STEPS = 600
"""Steps that a network should have for a start."""


@dataclass(frozen=True)
class Photos:
    """What was found in a folder of photos.

    Attributes:
        classes: Number of classes.
        channels: 1 (grey) or 3 (colour).
        side: Median of the short sides, in pixels.
        images: Images for training, validation included.
    """

    classes: int
    channels: int
    side: int
    images: int


@dataclass(frozen=True)
class _Recipe:
    """What differs between datasets in a starter."""

    classes: int
    facts: str
    architecture: Architecture
    head: HeadName
    epochs: int = 8
    batch_size: int = 128
    mirror: str = ""
    width: float = 1.0


def template(
    name: str,
    *,
    dataset: DatasetName = "mnist",
    devices: int = 4,
    root: str = "../data",
    photos: Photos | None = None,
) -> str:
    """Write a starter profile.

    Args:
        name: Name of the family.
        dataset: Dataset name.
        devices: How many devices to list.
        root: Where the dataset lies, relative to the profile.
        photos: What was found there; a `folder` needs it.

    Returns:
        YAML with comments; valid as it stands.
    """
    recipe = _recipe(dataset, photos)
    text = resources.files("fleet.profiles").joinpath("templates/starter.yaml").read_text("utf-8")
    return string.Template(text).substitute(
        name=json.dumps(name, ensure_ascii=False),
        dataset=dataset,
        root=json.dumps(root, ensure_ascii=False),
        facts=recipe.facts,
        architecture=recipe.architecture,
        width=_width(recipe),
        head=recipe.head,
        heads=" or ".join(HEADS["int"]),
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        mirror=recipe.mirror,
        devices="".join(_devices(recipe.classes, devices)),
    )


def starter_sections(
    dataset: DatasetName, photos: Photos | None
) -> tuple[int, dict[str, Any], dict[str, Any], dict[str, Any]]:
    """What a starter says, for a profile that is written otherwise.

    Args:
        dataset: Dataset name.
        photos: What was found of a ``folder``.

    Returns:
        Number of classes, and sections ``data:`` (without dataset and root), ``model:`` and
        ``training:`` as written. The head is ``ordinal`` where the starter has the paper's.
    """
    recipe = _recipe(dataset, photos)
    head = "ordinal" if recipe.head == "linear" else recipe.head
    width = {} if recipe.width == 1 else {"width": recipe.width}
    model = {"architecture": recipe.architecture, **width, "head": head}
    training = {"epochs": recipe.epochs, "batch_size": recipe.batch_size}
    return recipe.classes, yaml.safe_load(recipe.facts) or {}, model, training


def _recipe(dataset: DatasetName, photos: Photos | None) -> _Recipe:
    facts = DATASETS[dataset]
    if photos is None:
        small = facts.image_size < _PHOTOS
        classes = facts.num_classes or 10
        return _Recipe(classes, "", "nn" if small else "resnet18", "linear" if small else _HEAD)
    size = min(_PHOTOS, max(16, photos.side // 4 * 4))
    validation = min(5000, max(1, round(photos.images * 0.15)))
    left = max(2, photos.images - validation)
    batch_size = min(128, max(2, 2 ** int(math.log2(max(2, left / 8)))))
    epochs = min(60, max(8, math.ceil(_STEPS / (left // batch_size))))
    written = (
        f"  classes: {photos.classes}  # directories found\n"
        f"  channels: {photos.channels}  # 1 (grey) or 3 (colour)\n"
        f"  image_size: {size}  # pixels; more see finer things and take longer\n"
        f"  validation: {validation}  # of the {photos.images} images for training\n"
        "  skip_broken: false  # true leaves out images that cannot be read\n"
    )
    mirror = "    mirror: true  # false where left and right differ\n"
    network: Architecture = "resnet18" if photos.images >= 5000 else "cnn"
    width = 1.0 if network == "resnet18" else _WIDTH
    return _Recipe(photos.classes, written, network, _HEAD, epochs, batch_size, mirror, width)


def _width(recipe: _Recipe) -> str:
    return "" if recipe.width == 1 else f"    width: {recipe.width:g}  # multiplies its channels\n"


def _devices(classes: int, count: int) -> Iterator[str]:
    """Devices with an order each; where there are no more orders, beta/(alpha+beta) differs."""
    orders = spread_orders(classes, count)
    digits, rounds = max(2, len(str(count))), math.ceil(count / len(orders))
    for i in range(count):
        again, place = divmod(i, len(orders))
        lengths = ""
        if again:
            alpha = round(4 + 4 * again / rounds, 4)
            lengths = f"alpha: {alpha:g}, beta: {round(_PITCH - alpha, 4):g}, "
        order = list(orders[place])
        yield f"  - {{name: device-{i + 1:0{digits}d}, encoding: {{{lengths}order: {order}}}}}\n"
