"""The sections of a manifest: frozen values, each with the bounds of what it may hold.

Fields that this version does not know are kept in ``extra`` and written back, so that a later
addition survives an older tool.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from fleet.bundle.archive import MAX_MODEL_BYTES, MODEL_MEMBER
from fleet.bundle.fields import SHA256, Fields
from fleet.profiles.spec import Architecture, Head

UNSEALED = "none"
RESIZE_RULES = ("stretch-bilinear-antialias",)
MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Section:
    """Base of the sections; each has an ``extra`` for its unknown fields."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, the unknown fields included."""
        plain = {f.name: to_plain(getattr(self, f.name)) for f in dataclasses.fields(self)}
        extra = plain.pop("extra")
        return {**plain, **extra}


def to_plain(value: Any) -> Any:
    """Turn sections into objects and tuples into lists."""
    if isinstance(value, Section):
        return value.to_dict()
    return [to_plain(item) for item in value] if isinstance(value, tuple) else value


@dataclass(frozen=True)
class ModelSection(Section):
    """Which network the weights belong to.

    Attributes:
        architecture: Backbone name.
        head: ``linear`` or ``ordinal`` for task ``int``; ``logits`` otherwise.
        width: Channel multiplier of the paper's NN, 0.01 to 16.
        batch_norm: BatchNorm in the paper's NN and in AlexNet.
        num_classes: 2 or more.
        input_shape: Channels, height, width of one image.
        extra: Unknown fields.
    """

    architecture: Architecture
    head: Head
    width: float
    batch_norm: bool
    num_classes: int
    input_shape: tuple[int, int, int]
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Fields) -> ModelSection:
        """Take the section's fields."""
        num_classes = fields.integer("num_classes", 2, 10_000)
        shape = fields.value("input_shape")
        if not (isinstance(shape, list) and len(shape) == 3 and all(type(n) is int for n in shape)):
            raise fields.error("input_shape", "must be [channels, height, width]")
        return cls(
            architecture=cast(
                Architecture, fields.choice("architecture", get_args(Architecture))
            ),
            head=cast(Head, fields.choice("head", get_args(Head))),
            width=fields.number("width", 0.01, 16.0),
            batch_norm=fields.boolean("batch_norm"),
            num_classes=num_classes,
            input_shape=(shape[0], shape[1], shape[2]),
            extra=fields.rest,
        )


@dataclass(frozen=True)
class Preprocessing(Section):
    """What an image must look like before it goes into the network.

    Normalisation is *not* to be applied: it lives inside the model. ``mean`` and ``std`` say what
    the model does, for people and for other runtimes that check it.

    Attributes:
        channels: 1 (grey) or 3 (RGB).
        image_size: Height and width in pixels, 1 to 1024.
        pixel_range: Always (0.0, 1.0).
        resize: Rule for images of another size.
        mean: Per channel, in pixel units.
        std: Per channel, in pixel units, above 0.
        extra: Unknown fields.
    """

    channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: str = RESIZE_RULES[0]
    pixel_range: tuple[float, float] = (0.0, 1.0)
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Fields) -> Preprocessing:
        """Take the section's fields."""
        channels = fields.integer("channels", 1, 3)
        if channels == 2:
            raise fields.error("channels", "must be 1 or 3")
        std = fields.numbers("std", channels)
        if min(std) <= 0:
            raise fields.error("std", "must be above 0")
        if fields.numbers("pixel_range", 2) != (0.0, 1.0):
            raise fields.error("pixel_range", "must be [0.0, 1.0]")
        return cls(
            channels=channels,
            image_size=fields.integer("image_size", 1, 1024),
            mean=fields.numbers("mean", channels),
            std=std,
            resize=fields.choice("resize", RESIZE_RULES),
            extra=fields.rest,
        )


@dataclass(frozen=True)
class Payload(Section):
    """The weights as they lie in the bundle.

    Attributes:
        name: Member name.
        sha256: Digest of the member.
        length: Bytes of the member.
        seal: ``none``: not encrypted, the only kind of format version 1.
        extra: Unknown fields.
    """

    sha256: str
    length: int
    name: str = MODEL_MEMBER
    seal: str = UNSEALED
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Fields) -> Payload:
        """Take the section's fields."""
        return cls(
            sha256=fields.text("sha256", SHA256),
            length=fields.integer("length", 0, 8 * MAX_MODEL_BYTES),
            name=fields.choice("name", (MODEL_MEMBER,)),
            seal=fields.choice("seal", (UNSEALED,)),
            extra=fields.rest,
        )


@dataclass(frozen=True)
class Metrics(Section):
    """Clean figures, without any attack.

    Attributes:
        split: Which images: ``test``.
        n: Number of images.
        accuracy: Share decoded correctly, None counted as wrong, [0, 1].
        reject_rate: Share decoded as None, [0, 1].
        extra: Unknown fields.
    """

    split: str
    n: int
    accuracy: float
    reject_rate: float
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Fields) -> Metrics:
        """Take the section's fields."""
        return cls(
            split=fields.text("split"),
            n=fields.integer("n", 1, 2**53),
            accuracy=fields.number("accuracy", 0.0, 1.0),
            reject_rate=fields.number("reject_rate", 0.0, 1.0),
            extra=fields.rest,
        )


@dataclass(frozen=True)
class AuditRow(Section):
    """The adaptive worst case at one eps, with this device as the victim.

    Attributes:
        eps: Linf radius in pixel units, (0, 1].
        white_box_evade: Evade rate when the attacker has this device.
        transfer_evade: Largest evade rate when the attacker has another device of the family.
        extra: Unknown fields.
    """

    eps: float
    white_box_evade: float
    transfer_evade: float
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Fields) -> AuditRow:
        """Take the row's fields."""
        return cls(
            eps=fields.number("eps", 0.0, 1.0),
            white_box_evade=fields.number("white_box_evade", 0.0, 1.0),
            transfer_evade=fields.number("transfer_evade", 0.0, 1.0),
            extra=fields.rest,
        )


@dataclass(frozen=True)
class AuditSummary(Section):
    """The transfer audit of these very weights.

    Attributes:
        sha256: Digest of ``audit.json``.
        failed_checks: Reliability checks that failed; with any, the rates are lower bounds.
        rows: One for each eps, ascending.
        extra: Unknown fields.
    """

    sha256: str
    failed_checks: int
    rows: tuple[AuditRow, ...]
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Fields) -> AuditSummary:
        """Take the section's fields."""
        return cls(
            sha256=fields.text("sha256", SHA256),
            failed_checks=fields.integer("failed_checks", 0, 10_000),
            rows=tuple(AuditRow.read(row) for row in fields.objects("rows")),
            extra=fields.rest,
        )


@dataclass(frozen=True)
class Provenance(Section):
    """Where the weights come from.

    Attributes:
        dataset: Dataset name.
        dataset_sha256: Digest of the images.
        profile_digest: Digest of the resolved profile.
        seed: Seed of the training.
        fleet_version: Version that trained.
        torch_version: Version that trained.
        extra: Unknown fields.
    """

    dataset: str
    dataset_sha256: str
    profile_digest: str
    seed: int
    fleet_version: str
    torch_version: str
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Fields) -> Provenance:
        """Take the section's fields."""
        return cls(
            dataset=fields.text("dataset"),
            dataset_sha256=fields.text("dataset_sha256", SHA256),
            profile_digest=fields.text("profile_digest", SHA256),
            seed=fields.integer("seed", 0, MAX_SEED),
            fleet_version=fields.text("fleet_version"),
            torch_version=fields.text("torch_version"),
            extra=fields.rest,
        )
