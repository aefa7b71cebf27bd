"""The sections of a manifest: frozen values, each with the bounds of what it may hold.

Fields that this version does not know are kept in ``extra`` and written back, so that a later
addition survives an older tool.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, cast, get_args, get_type_hints

from fleet.bundle.archive import MAX_MODEL_BYTES, MODEL_MEMBER
from fleet.bundle.fields import SHA256, Fields
from fleet.vocabulary import Fit, ModelSpec, plain_settings

UNSEALED = "none"


@dataclass(frozen=True)
class Section:
    """Base of the sections; each has an ``extra`` for its unknown fields."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, the unknown fields included."""
        plain = {name: to_plain(value) for name, value in plain_settings(self).items()}
        extra = plain.pop("extra")
        return {**plain, **extra}


def to_plain(value: Any) -> Any:
    """Turn sections into objects and tuples into lists."""
    if isinstance(value, Section):
        return value.to_dict()
    return [to_plain(item) for item in value] if isinstance(value, tuple) else value


@dataclass(frozen=True)
class ModelSection(ModelSpec, Section):
    """Which network the weights belong to: the device's settings that finished weights depend on.

    Attributes:
        num_classes: 2 or more.
        input_shape: Channels, height, width of one image.
        extra: Unknown fields.
    """

    num_classes: int = field(kw_only=True)
    input_shape: tuple[int, int, int] = field(kw_only=True)
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Fields) -> ModelSection:
        """Take the section's fields."""
        num_classes = fields.integer("num_classes", 2, 10_000)
        shape = fields.value("input_shape")
        if not (isinstance(shape, list) and len(shape) == 3 and all(type(n) is int for n in shape)):
            raise fields.error("input_shape", "must be [channels, height, width]")
        hints = get_type_hints(ModelSpec)
        settings = {
            setting.name: _setting(fields, setting, hints[setting.name])
            for setting in dataclasses.fields(ModelSpec)
            if setting.metadata["network"]
        }
        return cls(
            **settings,
            num_classes=num_classes,
            input_shape=(shape[0], shape[1], shape[2]),
            extra=fields.rest,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; settings that the weights do not depend on are left out."""
        hidden = {f.name for f in dataclasses.fields(ModelSpec) if not f.metadata["network"]}
        plain = super().to_dict()
        return {key: plain[key] for key in plain if key not in hidden or key in self.extra}


def _setting(fields: Fields, setting: dataclasses.Field[Any], hint: Any) -> Any:
    """Take one setting of the network, by its type; a later one may be absent."""
    name, bounds = setting.name, setting.metadata["written"]
    if setting.metadata["later"] and name not in fields.rest:
        return setting.default
    if get_args(hint):
        return fields.choice(name, get_args(hint))
    if hint is bool:
        return fields.boolean(name)
    take = fields.number if hint is float else fields.integer
    return take(name, bounds["ge"], bounds["le"])


@dataclass(frozen=True)
class Preprocessing(Section):
    """What an image must look like before it goes into the network.

    Normalisation is *not* to be applied: it lives inside the model. ``mean`` and ``std`` say what
    the model does, for people and for other runtimes that check it.

    Attributes:
        channels: 1 (grey) or 3 (RGB).
        image_size: Height and width in pixels, 1 to 1024.
        pixel_range: Always (0.0, 1.0).
        fit: How pictures of another size are brought to this one: ``squash`` or ``crop``
            (docs/bundle-format.md).
        mean: Per channel, in pixel units.
        std: Per channel, in pixel units, above 0.
        extra: Unknown fields.
    """

    channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: Fit
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
            fit=cast(Fit, fields.choice("fit", get_args(Fit))),
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
