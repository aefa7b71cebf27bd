"""The words and settings that every package shares, each defined once.

A setting of a device is a field of :class:`ModelSpec` or :class:`TrainingSpec`. The reader of
profiles, the JSON Schema, the documented tables, the digest of a profile and the model section of
a manifest follow from the field; ``make docs`` writes the schema and the tables again.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Task = Literal["int", "tra", "hin"]
DatasetName = Literal["mnist", "fashion-mnist", "cifar10", "folder", "imagenet10"]
Fit = Literal["squash", "crop"]
Architecture = str
ARCHITECTURES = ("nn", "cnn", "alexnet", "resnet18", "densenet121")
"""Networks that are adapted to small and to grey images."""

TORCHVISION = "torchvision/"
"""Before the name of any other classifier of torchvision, which stays as torchvision builds it."""

ZOO = rf"{TORCHVISION}[a-z0-9_]+"
"""The form of such a name, a regular expression."""

Activation = Literal["relu", "clip"]
HeadName = Literal["linear", "ordinal", "softmax", "logits"]
Stem = Literal["auto", "cifar", "imagenet"]
Start = Literal["range", "zero"]
Method = Literal["standard", "adversarial", "certified", "cross"]
Precision = Literal["bf16", "fp32"]
Norm = Literal["linf", "l2"]
Length = Literal["l1", "l2", "linf"]
Protocol = Literal["paper", "adaptive"]

LONGEST_NAME = 256
"""Characters of a name in a manifest, for example that of a class."""

HEADS: dict[Task, tuple[HeadName, ...]] = {
    "int": ("linear", "ordinal", "softmax"),
    "tra": ("logits",),
    "hin": ("logits",),
}
"""Heads that fit a task; the first is the default."""


def counted(count: int, one: str, more: str = "") -> str:
    """A count in words: ``1 device``, ``2 devices``; ``more`` where an s is not enough."""
    return f"{count} {one if count == 1 else more or one + 's'}"


def setting(
    default: Any,
    meaning: str,
    *,
    later: bool = False,
    network: bool = True,
    **bounds: float,
) -> Any:
    """Make a field of a specification that a profile can set.

    Args:
        default: What it is unless a profile says otherwise; MISSING where that follows from
            other settings, so that a profile may leave it out and code may not.
        meaning: One sentence for the documentation.
        later: The setting came after the first release: at its default it stays out of digests
            and manifests, which are then as they were without it.
        network: For :class:`ModelSpec`: finished weights depend on it, so manifests name it.
        bounds: ``ge``, ``gt``, ``le``, ``lt``.
    """
    metadata = {
        "written": {"description": meaning, **bounds},
        "later": later,
        "network": network,
    }
    if default is MISSING:
        return dataclasses.field(kw_only=True, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def plain_settings(spec: DataclassInstance) -> dict[str, Any]:
    """The fields by name, without later settings that have their default."""
    return {
        field.name: getattr(spec, field.name)
        for field in dataclasses.fields(spec)
        if not (field.metadata.get("later") and getattr(spec, field.name) == field.default)
    }


@dataclass(frozen=True)
class ModelSpec:
    """The network of a device."""

    architecture: Architecture = setting(
        "nn",
        "`nn` is the paper's own network; `cnn` a smaller one that can be certified; "
        "`torchvision/NAME`, for example `torchvision/mobilenet_v3_small`, any other classifier "
        "of torchvision.",
    )
    head: HeadName = setting(
        MISSING,
        "`linear` (as in the paper), `ordinal` or `softmax` for task `int`; `logits` for `tra` and "
        "`hin`. "
        "Null is `linear` or `logits`.",
    )
    width: float = setting(
        1.0, "Multiplies the channels of `nn` and `cnn` (1.0: 32 and 64).", ge=0.0625, le=16
    )
    batch_norm: bool = setting(True, "BatchNorm in `nn` and `alexnet`; the others always have it.")
    pretrained: bool = setting(
        False,
        "Start from torchvision's ImageNet weights; colour images of 64 pixels or more.",
        network=False,
    )
    weights: str | None = setting(
        None,
        "Start from a trained network of this backbone: `model.safetensors` of a run, or a state "
        "dictionary of torchvision's network (.safetensors, .pth); relative to this profile.",
        later=True,
        network=False,
    )
    stem: Stem = setting(
        "auto",
        "First layers of `alexnet`, `resnet18` and `densenet121`: `cifar` (3x3, stride 1), "
        "`imagenet` (shrinks early), or `auto`: `cifar` below 64 pixels.",
    )
    activation: Activation = setting(
        "relu",
        "Activation of `cnn`: `clip` is a ReLU that saturates where each neuron learns to.",
        later=True,
    )


@dataclass(frozen=True)
class TrainingSpec:
    """How to fit one device."""

    loss: Literal["paper", "scaled"] = setting(
        "scaled",
        "For task `int`: `paper` is Eq. 3 as printed; `scaled` is Eq. 3 in slot units with a "
        "Huber tail and an inner margin.",
    )
    margin: float = setting(
        0.3, "Inner margin of the scaled loss, as a share of β on each side.", ge=0, lt=0.5
    )
    epochs: int = setting(8, "Passes over the training set.", ge=1, le=10_000)
    batch_size: int = setting(
        128, "Images in a step; an epoch's last partial batch is dropped.", ge=2, le=65_536
    )
    optimizer: Literal["adam", "adamw", "sgd"] = setting("adam", "`sgd` has momentum 0.9.")
    learning_rate: float = setting(3e-3, "Peak learning rate.", gt=0, le=100)
    weight_decay: float = setting(0.0, "As the optimiser defines it.", ge=0, le=1)
    schedule: Literal["one-cycle", "cosine", "constant"] = setting(
        "one-cycle", "Course of the learning rate."
    )
    precision: Precision = setting(
        "bf16",
        "`bf16` runs the backbone under autocast, where the processor has instructions for it; "
        "head and loss stay in fp32.",
    )
    shift: int = setting(
        1, "Augmentation: random translation of up to this many pixels.", ge=0, le=512
    )
    mirror: bool = setting(False, "Augmentation: random horizontal flip.")
    gradient_clip: float | None = setting(
        None, "Largest gradient 2-norm; null does not clip.", gt=0
    )
    seed: int = setting(
        0, "Seed of weights, batches and augmentation, with the device's name.", ge=0, lt=2**63
    )
    start: Start = setting(
        "range",
        "Where the outputs of a `linear` head begin: `range` in the middle of the intervals with "
        "their spread; `zero` at 0, PyTorch's own (the paper names none).",
    )
    dropout: float = setting(
        0.5,
        "Share that `alexnet` drops before its fully connected layers; 0 for task `int`, whose "
        "scalar would shift between training and use. The others have none.",
        ge=0,
        lt=1,
    )
    validate_every: int | None = setting(
        None, "Validate after every so many steps too, for a finer curve.", ge=1
    )
    method: Method = setting(
        "standard",
        "How the device is trained: `standard` is undefended; `adversarial` fits attacked images "
        "too; `certified` makes it provable that no perturbation within `eps` changes the decision "
        "(heads `softmax` and `ordinal`); `cross` fits images that are attacked on the networks of "
        "`pool`: images made on other devices fool it less, and images made on the device itself "
        "no less than without.",
        later=True,
    )
    eps: float = setting(
        0.0,
        "For all methods but `standard`: largest change of a pixel, on the scale from 0 to 1.",
        later=True,
        ge=0,
        lt=1,
    )
    eps_factor: float = setting(
        1.15,
        "Certified training ends at this many times `eps`: bounds of unseen images are looser.",
        later=True,
        ge=1,
        le=4,
    )
    kappa: float = setting(
        0.4,
        "Weight of the clean loss at the end of certified training, against the worst case's.",
        later=True,
        ge=0,
        le=1,
    )
    warm_up: float = setting(
        0.05,
        "Share of the steps at eps 0, for all methods but `standard`.",
        later=True,
        ge=0,
        lt=1,
    )
    ramp: float = setting(
        0.5,
        "Share of the steps in which eps grows, and the clean loss's weight falls (`certified`).",
        later=True,
        gt=0,
        le=1,
    )
    attack_steps: int = setting(
        7,
        "Steps of the attack, for `adversarial` and `cross`; few large ones collapse.",
        later=True,
        ge=2,
        le=1000,
    )
    l1: float = setting(
        0.0, "Weight of the sum of all weights' sizes in certified training.", later=True, ge=0
    )
    pool: tuple[str, ...] = setting(
        (),
        "For `cross`: finished networks to attack, each a `devices/NAME/model.safetensors` of a "
        "run with the same classes and image shape; relative to this profile.",
        later=True,
    )

    def __post_init__(self) -> None:
        """Take the pool as JSON has it, a list."""
        object.__setattr__(self, "pool", tuple(self.pool))


def printable(value: object) -> bool:
    """Whether a value can be a name in a manifest: each character stands for itself in print.

    Spaces are; tabs, no-break spaces, soft hyphens and joiners are not.
    """
    return isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and value.isprintable()


def shown(name: str) -> str:
    """A name for messages; characters that look like others are named by their code points."""
    odd = [c for c in name if not (c.isascii() and c.isprintable())]
    if not odd and name == name.strip():
        return name
    points = ", ".join(f"U+{ord(c):04X} {unicodedata.name(c, '')}".strip() for c in odd[:3])
    return f"{name!r}{f' ({points})' if odd else ''}".encode(errors="backslashreplace").decode()
