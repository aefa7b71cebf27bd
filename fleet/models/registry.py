"""From names to networks."""

from pathlib import Path

import torch
from torch import nn

from fleet import vocabulary
from fleet.encoding import IntervalEncoding
from fleet.errors import ProfileError
from fleet.models.classifier import Classifier
from fleet.models.convolutional import ConvNet, PaperNN
from fleet.models.heads import Head, LinearHead, LogitsHead, OrdinalHead, SoftmaxHead
from fleet.models.weights import load_backbone


def build_classifier(
    *,
    architecture: vocabulary.Architecture,
    head: vocabulary.HeadName,
    task: vocabulary.Task,
    encoding: IntervalEncoding | None,
    num_classes: int,
    input_shape: tuple[int, int, int],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    width: float = 1.0,
    batch_norm: bool = True,
    stem: vocabulary.Stem = "auto",
    pretrained: bool = False,
    weights: str | None = None,
    activation: vocabulary.Activation = "relu",
    start: vocabulary.Start = "range",
    dropout: float = 0.5,
    seed: int,
) -> Classifier:
    """Build an untrained classifier whose weights follow from ``seed`` alone.

    PyTorch's global random state is the same before and after.

    Args:
        architecture: ``nn`` (the paper's), ``cnn``, ``alexnet``, ``resnet18``, ``densenet121``, or
            ``torchvision/NAME``, any classifier of torchvision.
        head: ``linear``, ``ordinal`` or ``softmax`` for the task ``int``, ``logits`` for
            the others.
        task: ``int``, ``tra`` or ``hin``.
        encoding: Intervals of the task ``int``; None for the others.
        num_classes: Number of classes, K.
        input_shape: (C, H, W); C is 1 or 3.
        mean: Mean of each channel on the [0, 1] scale.
        std: Standard deviation of each channel on that scale.
        width: Multiplies the channels of the paper's NN and of ``cnn``; the others ignore it.
        batch_norm: BatchNorm in the paper's NN and in AlexNet; the others always have it.
        stem: First layers of torchvision's networks: ``cifar``, ``imagenet``, or ``auto`` by the
            image size; the paper's NN ignores it.
        pretrained: Start from torchvision's ImageNet weights; colour images of 64 pixels or more.
        weights: File of a trained network whose backbone this one begins with.
        activation: ``relu`` or ``clip`` in ``cnn``; the others ignore it.
        start: Where a ``linear`` head's outputs begin: ``range`` or ``zero``.
        dropout: Share that AlexNet drops in training; the others ignore it.
        seed: Seed of the initial weights.

    Raises:
        ProfileError: The parts do not fit each other.
        CheckpointError: ``weights`` cannot be read, or is of another backbone.
        BackendError: The pretrained weights cannot be fetched, or are damaged.
    """
    _check(
        architecture=architecture,
        head=head,
        task=task,
        encoding=encoding,
        num_classes=num_classes,
        input_shape=input_shape,
        pretrained=pretrained,
    )
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that one also seeds every accelerator.
        torch.default_generator.manual_seed(seed)
        backbone, features = _backbone(
            architecture,
            input_shape,
            width,
            activation=activation,
            batch_norm=batch_norm,
            stem=stem,
            pretrained=pretrained,
            dropout=dropout,
        )
        last = _head(head, features, encoding, num_classes, start)
    if weights is not None:
        load_backbone(backbone, Path(weights))
    return Classifier(
        backbone=backbone,
        head=last,
        task=task,
        head_name=head,
        encoding=encoding,
        num_classes=num_classes,
        input_shape=input_shape,
        mean=mean,
        std=std,
    )


def _backbone(
    architecture: vocabulary.Architecture,
    input_shape: tuple[int, int, int],
    width: float,
    *,
    activation: vocabulary.Activation,
    batch_norm: bool,
    stem: vocabulary.Stem,
    pretrained: bool,
    dropout: float,
) -> tuple[nn.Module, int]:
    """Build a backbone and say how many features it gives."""
    if architecture == "nn":
        network = PaperNN(input_shape, width=width, batch_norm=batch_norm)
        return network, PaperNN.features
    if architecture == "cnn":
        return ConvNet(input_shape, width=width, activation=activation), ConvNet.features
    # torchvision takes seconds to import, and the paper's NN needs nothing of it.
    from fleet.models import vision  # noqa: PLC0415

    if architecture.startswith(vocabulary.TORCHVISION):
        name = architecture.removeprefix(vocabulary.TORCHVISION)
        return vision.build_as_published(name, input_shape, pretrained=pretrained)
    return vision.build_backbone(
        architecture,
        input_shape,
        batch_norm=batch_norm,
        stem=stem,
        pretrained=pretrained,
        dropout=dropout,
    )


def _head(
    name: vocabulary.HeadName,
    features: int,
    encoding: IntervalEncoding | None,
    classes: int,
    start: vocabulary.Start,
) -> Head:
    if encoding is None:
        return LogitsHead(features, classes)
    if name == "linear":
        return LinearHead(features, encoding, start=start)
    if name == "softmax":
        return SoftmaxHead(features, encoding)
    return OrdinalHead(features, encoding)


def _check(
    *,
    architecture: str,
    head: str,
    task: vocabulary.Task,
    encoding: IntervalEncoding | None,
    num_classes: int,
    input_shape: tuple[int, int, int],
    pretrained: bool,
) -> None:
    if architecture not in vocabulary.ARCHITECTURES and not architecture.startswith(
        vocabulary.TORCHVISION
    ):
        raise ProfileError(
            f"unknown architecture {architecture!r}",
            hint=f"one of {', '.join(vocabulary.ARCHITECTURES)} or {vocabulary.TORCHVISION}NAME",
        )
    if input_shape[0] not in {1, 3}:
        raise ProfileError(
            f"images have {input_shape[0]} channels", hint="use 1 (grey) or 3 (colour)"
        )
    if pretrained and architecture in {"nn", "cnn"}:
        raise ProfileError(
            f"there are no pretrained weights for architecture {architecture!r}",
            hint="set `pretrained: false`",
        )
    if (task == "int") != (encoding is not None):
        raise ProfileError(
            f"task {task!r} {'needs' if encoding is None else 'takes no'} encoding",
            hint="the task `int` has an encoding, `tra` and `hin` have none",
        )
    if head not in vocabulary.HEADS[task]:
        raise ProfileError(
            f"task {task!r} cannot have the head {head!r}",
            hint=f"this task takes {' or '.join(vocabulary.HEADS[task])}",
        )
    if encoding is not None and encoding.num_classes != num_classes:
        raise ProfileError(
            f"the encoding has {encoding.num_classes} classes, the data {num_classes}",
            hint="give the encoding as many classes as `data.classes`",
        )
