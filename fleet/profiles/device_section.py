"""One device's merged settings to a :class:`DeviceSpec`."""

from collections.abc import Iterator
from pathlib import Path

from fleet.encoding.orders import Order
from fleet.profiles.data_section import training_images
from fleet.profiles.draw import ALL_AUTO, build_encoding, drawn_fields
from fleet.profiles.problems import Mark, Problem
from fleet.profiles.schema import DeviceSection, EncodingSection
from fleet.profiles.secret import FamilySecret
from fleet.profiles.spec import DataSpec, DeviceSpec
from fleet.profiles.tree import Node
from fleet.vocabulary import HEADS, ModelSpec, TrainingSpec


def encoding_section(device: DeviceSection) -> EncodingSection | None:
    """What is written of the encoding, ``encoding: auto`` spelt out."""
    return ALL_AUTO if device.encoding == "auto" else device.encoding


def device_problems(device: DeviceSection, node: Node, data: DataSpec | None) -> list[Problem]:
    """What is wrong with one device beyond its single values.

    Args:
        device: The merged settings.
        node: Where they were written.
        data: The images, or None if they are not known; checks that need them are then left out.
    """
    return [
        *_model_problems(device, node),
        *_method_problems(device, node),
        *_encoding_problems(device, node, data),
        *(_image_problems(device, node, data) if data else ()),
    ]


def resolve_device(
    device: DeviceSection,
    data: DataSpec,
    secret: FamilySecret,
    directory: Path,
    spread: Order | None = None,
) -> DeviceSpec:
    """Fill in a device that :func:`device_problems` finds nothing wrong with.

    Args:
        device: The merged settings.
        data: The images.
        secret: Where ``auto`` values come from.
        directory: The profile's, which paths are relative to.
        spread: The device's order, if it says ``spread``.

    Raises:
        ValueError: The encoding's values make no encoding.
    """
    section = encoding_section(device)
    encoding = None
    if section is not None:
        encoding = build_encoding(
            section,
            device=device.name,
            num_classes=data.num_classes,
            secret=secret,
            spread=spread,
        )
    model = vars(device.model)
    model = {**model, "head": model["head"] or HEADS[device.task][0]}
    if model["weights"] is not None:
        model["weights"] = str((directory / model["weights"]).resolve())
    pool = tuple(str((directory / path).resolve()) for path in device.training.pool)
    return DeviceSpec(
        name=device.name,
        task=device.task,
        encoding=encoding,
        model=ModelSpec(**model),
        training=TrainingSpec(**{**vars(device.training), "pool": pool}),
        drawn=drawn_fields(section),
    )


def _place(node: Node, *keys: str | int) -> tuple[Mark, str]:
    """Where a device's value was written, and its path there.

    For a value that was left out: the nearest mapping around it, and the path it would have.
    """
    written = node.find(*keys)
    if written is not None:
        return written.mark, written.path
    return node.nearest(keys).mark, ".".join([node.path, *map(str, keys)])


def _model_problems(device: DeviceSection, node: Node) -> Iterator[Problem]:
    model, owner = device.model, f"device {device.name!r}"
    allowed = HEADS[device.task]
    if model.head is not None and model.head not in allowed:
        mark, path = _place(node, "model", "head")
        text = f"{path} {model.head!r} does not fit task {device.task!r} of {owner}"
        yield Problem(mark, text, f"this task takes {' or '.join(allowed)}")
    if model.width != 1.0 and model.architecture not in {"nn", "cnn"}:
        mark, path = _place(node, "model", "width")
        yield Problem(
            mark, f"{path} is only for 'nn' and 'cnn'; {owner} has {model.architecture!r}"
        )
    if model.activation != "relu" and model.architecture != "cnn":
        mark, path = _place(node, "model", "activation")
        yield Problem(mark, f"{path} is only for 'cnn'; {owner} has {model.architecture!r}")
    if not model.batch_norm and model.architecture not in {"nn", "alexnet"}:
        mark, path = _place(node, "model", "batch_norm")
        yield Problem(mark, f"{path} must be true; only 'nn' and 'alexnet' can be built without")
    if model.stem != "auto" and model.architecture not in {"alexnet", "resnet18", "densenet121"}:
        mark, path = _place(node, "model", "stem")
        text = f"{path} is not for {model.architecture!r}; {owner} has no other first layers"
        yield Problem(mark, text)
    if model.weights and model.pretrained:
        mark, path = _place(node, "model", "weights")
        yield Problem(mark, f"{path} and `pretrained: true` of {owner} exclude each other")
    if model.stem == "cifar" and model.pretrained:
        mark, path = _place(node, "model", "stem")
        yield Problem(mark, f"{path} must be 'imagenet' or 'auto' for pretrained weights")
    if model.pretrained and model.architecture in {"nn", "cnn"}:
        mark, path = _place(node, "model", "pretrained")
        text = f"{path} must be false; there are no pretrained weights of {model.architecture!r}"
        yield Problem(mark, text)


def _method_problems(device: DeviceSection, node: Node) -> Iterator[Problem]:
    model, training, owner = device.model, device.training, f"device {device.name!r}"
    if model.head == "softmax" and training.loss == "paper":
        mark, path = _place(node, "training", "loss")
        text = (
            f"{path} cannot train the head 'softmax' of {owner}, whose gate hides Eq. 3's gradient"
        )
        yield Problem(mark, text, "leave `loss` out")
    if (training.method == "cross") != bool(training.pool):
        mark, path = _place(node, "training", "pool")
        if training.pool:
            text = f"{path} of {owner} is for method 'cross', not {training.method!r}"
            yield Problem(mark, text, "write `method: cross`, or leave `pool` out")
        else:
            text = f"{path} is missing; method 'cross' of {owner} attacks other networks"
            yield Problem(mark, text, "write `pool: [../runs/RUN/devices/NAME/model.safetensors]`")
    if training.method == "standard":
        return
    if training.eps == 0:
        mark, path = _place(node, "training", "eps")
        text = f"{path} is missing; method {training.method!r} of {owner} defends a radius"
        yield Problem(mark, text, "write for example `eps: 0.1`")
    if training.method == "certified" and model.head not in {"softmax", "ordinal"}:
        mark, path = _place(node, "model", "head")
        text = f"{path} of {owner} cannot be certified"
        yield Problem(mark, text, "write `head: softmax`, or `head: ordinal`")
    if training.method == "certified" and model.architecture not in {"nn", "cnn"}:
        mark, path = _place(node, "model", "architecture")
        text = f"{path} {model.architecture!r} of {owner} has no bounds to train"
        yield Problem(mark, text, "write `architecture: cnn`")


def _encoding_problems(
    device: DeviceSection, node: Node, data: DataSpec | None
) -> Iterator[Problem]:
    mark, path = _place(node, "encoding")
    section = encoding_section(device)
    if device.task != "int":
        if section is not None:
            text = f"{path} is only for task 'int'; device {device.name!r} has task {device.task!r}"
            yield Problem(mark, text, "write `encoding: null` in that device")
        return
    if section is None:
        text = f"{path} is missing; task 'int' needs intervals"
        yield Problem(mark, text, "write alpha and beta, or `encoding: auto`")
        return
    for key in ("alpha", "beta"):
        if getattr(section, key) is None:
            yield Problem(mark, f"{path}.{key} is missing for device {device.name!r}")
    if section.alpha == "auto" and _is_zero(section.beta):
        mark, path = _place(node, "encoding", "alpha")
        yield Problem(mark, f"{path} cannot be auto beside a beta of 0, which gives it no scale")
    if data is not None:
        yield from _class_problems(section, node, data.num_classes)


def _is_zero(value: float | str | tuple[float, ...] | None) -> bool:
    return not any(value) if isinstance(value, tuple) else value == 0


def _class_problems(section: EncodingSection, node: Node, num_classes: int) -> Iterator[Problem]:
    for key in ("alpha", "beta", "order"):
        value = getattr(section, key)
        if isinstance(value, tuple) and len(value) != num_classes:
            mark, path = _place(node, "encoding", key)
            text = f"{path} must have one value for each of {num_classes} classes"
            yield Problem(mark, f"{text} (got {len(value)})")
    if isinstance(section.order, tuple) and len(section.order) == num_classes:
        yield from _order_problems(section.order, node, num_classes)


def _order_problems(order: tuple[int, ...], node: Node, num_classes: int) -> Iterator[Problem]:
    owners: dict[int, int] = {}
    for y, slot in enumerate(order):
        owner = owners.setdefault(slot, y)
        if slot < num_classes and owner == y:
            continue
        mark, path = _place(node, "encoding", "order", y)
        if slot >= num_classes:
            yield Problem(mark, f"{path} must be a slot from 0 to {num_classes - 1} (got {slot})")
        else:
            text = f"{path} gives slot {slot} a second time; the first is class {owner}"
            yield Problem(mark, text, "two classes cannot share a slot")


def _image_problems(device: DeviceSection, node: Node, data: DataSpec) -> Iterator[Problem]:
    if device.model.pretrained and (data.channels != 3 or data.image_size < 64):
        mark, path = _place(node, "model", "pretrained")
        images = f"{data.channels}-channel images of {data.image_size} pixels"
        yield Problem(mark, f"{path} takes colour images of 64 pixels or more, not {images}")
    if device.training.shift >= data.image_size:
        mark, path = _place(node, "training", "shift")
        yield Problem(mark, f"{path} must be smaller than the image ({data.image_size} pixels)")
    available = training_images(data)
    if available is not None and device.training.batch_size > available:
        mark, path = _place(node, "training", "batch_size")
        text = f"{path} {device.training.batch_size} is more than the {available} training images"
        yield Problem(mark, text, "an epoch would have no full batch")
