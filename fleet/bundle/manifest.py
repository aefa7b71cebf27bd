"""The manifest: what a bundle is, what its model expects, and where it comes from.

Its sections are frozen values, each field with the bounds of what it may hold. Fields that this
version does not know are kept in ``extra`` and written back, so that a later addition survives an
older tool.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Self, cast, get_args, get_type_hints

from fleet.bundle.archive import MAX_MODEL_BYTES, MODEL_MEMBER
from fleet.bundle.fields import NAME, SHA256, UTC_TIME, Fields
from fleet.encoding import IntervalEncoding
from fleet.errors import BundleError
from fleet.vocabulary import (
    ARCHITECTURES,
    HEADS,
    ZOO,
    Fit,
    ModelSpec,
    Task,
    plain_settings,
    printable,
)

UNSEALED = "none"
MAX_SEED = 2**63 - 1


def _taken(method: str, *bounds: Any, default: Any = dataclasses.MISSING) -> Any:
    """A field that a method of :class:`Fields` takes, with its bounds."""
    return field(default=default, metadata={"take": (method, bounds)})


@dataclass(frozen=True)
class Section:
    """Base of the sections.

    Attributes:
        extra: Unknown fields.
    """

    extra: dict[str, Any] = field(default_factory=dict, kw_only=True)

    @classmethod
    def read(cls, fields: Fields, **given: Any) -> Self:
        """Take the section's fields, except those that are ``given``."""
        for one in dataclasses.fields(cls):
            if "take" in one.metadata and one.name not in given:
                method, bounds = one.metadata["take"]
                given[one.name] = getattr(fields, method)(one.name, *bounds)
        return cls(**given, extra=fields.rest)

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
    """

    num_classes: int = field(kw_only=True)
    input_shape: tuple[int, int, int] = field(kw_only=True)

    @classmethod
    def read(cls, fields: Fields, **given: Any) -> Self:
        """Take the section's fields."""
        num_classes = fields.integer("num_classes", 2, 10_000)
        shape = fields.value("input_shape")
        if not (isinstance(shape, list) and len(shape) == 3 and all(type(n) is int for n in shape)):
            raise fields.error("input_shape", "must be [channels, height, width]")
        hints = _hints()
        settings = {
            setting.name: _setting(fields, setting, hints[setting.name])
            for setting in dataclasses.fields(ModelSpec)
            if setting.metadata["network"]
        }
        size = {"num_classes": num_classes, "input_shape": tuple(shape)}
        return super().read(fields, **settings, **size, **given)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; settings that the weights do not depend on are left out."""
        hidden = {f.name for f in dataclasses.fields(ModelSpec) if not f.metadata["network"]}
        plain = super().to_dict()
        return {key: plain[key] for key in plain if key not in hidden or key in self.extra}


@cache
def _hints() -> dict[str, Any]:
    return get_type_hints(ModelSpec)


def _setting(fields: Fields, setting: dataclasses.Field[Any], hint: Any) -> Any:
    """Take one setting of the network, by its type; a later one may be absent."""
    name, bounds = setting.name, setting.metadata["written"]
    if setting.metadata["later"] and name not in fields.rest:
        return setting.default
    if get_args(hint):
        return fields.choice(name, get_args(hint))
    if hint is bool:
        return fields.boolean(name)
    if hint is str:  # the only text that is none of a few words
        return _architecture(fields, name)
    take = fields.number if hint is float else fields.integer
    return take(name, bounds["ge"], bounds["le"])


def _architecture(fields: Fields, name: str) -> str:
    value = fields.value(name)
    if value in ARCHITECTURES or (printable(value) and re.fullmatch(ZOO, value)):
        return str(value)
    raise fields.error(name, f"must be one of: {', '.join(ARCHITECTURES)}, torchvision/NAME")


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
    """

    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int = _taken("integer", 1, 1024)
    fit: Fit = _taken("choice", get_args(Fit))
    pixel_range: tuple[float, float] = (0.0, 1.0)

    @classmethod
    def read(cls, fields: Fields, **given: Any) -> Self:
        """Take the section's fields."""
        channels = fields.integer("channels", 1, 3)
        if channels == 2:
            raise fields.error("channels", "must be 1 or 3")
        std = fields.numbers("std", channels)
        if min(std) <= 0:
            raise fields.error("std", "must be above 0")
        if fields.numbers("pixel_range", 2) != (0.0, 1.0):
            raise fields.error("pixel_range", "must be [0.0, 1.0]")
        mean = fields.numbers("mean", channels)
        return super().read(fields, channels=channels, mean=mean, std=std, **given)


@dataclass(frozen=True)
class Payload(Section):
    """The weights as they lie in the bundle.

    Attributes:
        name: Member name.
        sha256: Digest of the member.
        length: Bytes of the member.
        seal: ``none``: not encrypted, the only kind of format version 1.
    """

    sha256: str = _taken("text", SHA256)
    length: int = _taken("integer", 0, 8 * MAX_MODEL_BYTES)
    name: str = _taken("choice", (MODEL_MEMBER,), default=MODEL_MEMBER)
    seal: str = _taken("choice", (UNSEALED,), default=UNSEALED)


@dataclass(frozen=True)
class Metrics(Section):
    """Clean figures, without any attack.

    Attributes:
        split: Which images: ``test``.
        n: Number of images.
        accuracy: Share decoded correctly, None counted as wrong, [0, 1].
        reject_rate: Share decoded as None, [0, 1].
    """

    split: str = _taken("text")
    n: int = _taken("integer", 1, 2**53)
    accuracy: float = _taken("number", 0.0, 1.0)
    reject_rate: float = _taken("number", 0.0, 1.0)


@dataclass(frozen=True)
class AuditRow(Section):
    """The adaptive worst case at one eps, with this device as the victim.

    Attributes:
        eps: Linf radius in pixel units, [0, 1].
        n: Attacked images, those that this device decodes correctly without an attack.
        white_box_evade: Evade rate when the attacker has this device.
        transfer_evade: Largest evade rate when the attacker has another device of the family, as
            `--max-transfer` counts; that of the control where there is no other device.
    """

    eps: float = _taken("number", 0.0, 1.0)
    n: int = _taken("integer", 1, 2**53)
    white_box_evade: float = _taken("number", 0.0, 1.0)
    transfer_evade: float = _taken("number", 0.0, 1.0)


@dataclass(frozen=True)
class AuditSummary(Section):
    """The transfer audit of these very weights.

    Attributes:
        sha256: Digest of what was found (:func:`fleet.bundle.described.findings_digest`).
        failed_checks: Reliability checks of the adaptive figures that failed, each id once; with
            any, the rates are lower bounds.
        rows: One for each eps, ascending; at least one.
        split: Which images: ``test`` or ``validation``; None in bundles that do not say.
    """

    sha256: str = _taken("text", SHA256)
    failed_checks: int = _taken("integer", 0, 10_000)
    rows: tuple[AuditRow, ...] = _taken("objects")
    split: str | None = None

    @classmethod
    def read(cls, fields: Fields, **given: Any) -> Self:
        """Take the section's fields."""
        rows = tuple(AuditRow.read(row) for row in fields.objects("rows"))
        split = fields.optional_text("split") if "split" in fields.rest else None
        return super().read(fields, rows=rows, split=split, **given)


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
    """

    dataset: str = _taken("text")
    dataset_sha256: str = _taken("text", SHA256)
    profile_digest: str = _taken("text", SHA256)
    seed: int = _taken("integer", 0, MAX_SEED)
    fleet_version: str = _taken("text")
    torch_version: str = _taken("text")


FORMAT = "fleet-bundle"
FORMAT_VERSION = 1
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Manifest(Section):
    """Everything about a bundle but its weights; plain frozen values.

    Attributes:
        device: Device name; letters, digits, ``.``, ``-`` and ``_``, at most 64.
        release: Release name, of the same form.
        created: UTC time, ``YYYY-MM-DDTHH:MM:SSZ``, or None where no time was asked for.
        task: ``int``, ``tra`` or ``hin``.
        encoding: The device's intervals; None for ``tra`` and ``hin``.
        model: Which network the weights belong to.
        preprocessing: What an image must look like.
        class_names: One for each class, all different.
        payload: Digest and length of the weights.
        metrics: Clean figures.
        audit: Summary of the transfer audit of these weights, or None.
        provenance: Where the weights come from.
        format: Always ``fleet-bundle``.
        version: Format version, always 1.
    """

    device: str
    release: str
    created: str | None
    task: Task
    encoding: IntervalEncoding | None = field(repr=False)  # may be drawn from a secret
    model: ModelSection
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    payload: Payload
    metrics: Metrics
    audit: AuditSummary | None
    provenance: Provenance
    format: str = FORMAT
    version: int = FORMAT_VERSION

    @property
    def file_name(self) -> str:
        """``DEVICE-RELEASE.fleet``."""
        return f"{self.device}-{self.release}.fleet"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; :meth:`from_dict` is the inverse."""
        encoding = None if self.encoding is None else self.encoding.to_dict()
        return {**super().to_dict(), "encoding": encoding}

    @classmethod
    def from_dict(cls, data: object) -> Manifest:
        """Check plain JSON values and make a manifest of them; the only way in from a file.

        Raises:
            BundleError: A field is missing, of another type or out of bounds, or two sections
                contradict each other. The message names the field.
        """
        fields = Fields(data)
        fields.choice("format", (FORMAT,))
        fields.integer("version", FORMAT_VERSION, FORMAT_VERSION)
        audit = fields.optional_object("audit")
        manifest = cls(
            device=fields.text("device", NAME),
            release=fields.text("release", NAME),
            created=_time(fields),
            task=cast(Task, fields.choice("task", get_args(Task))),
            encoding=_encoding(fields),
            model=ModelSection.read(fields.object("model")),
            preprocessing=Preprocessing.read(fields.object("preprocessing")),
            class_names=fields.texts("class_names"),
            payload=Payload.read(fields.object("payload")),
            metrics=Metrics.read(fields.object("metrics")),
            audit=None if audit is None else AuditSummary.read(audit),
            provenance=Provenance.read(fields.object("provenance")),
            extra=fields.rest,
        )
        _check_agreement(manifest)
        return manifest


def _time(fields: Fields) -> str | None:
    text = fields.optional_text("created", UTC_TIME)
    if text is None:
        return None
    try:
        datetime.strptime(text, TIME_FORMAT)
    except ValueError as error:
        raise fields.error("created", f"is {text!r}, which is no date") from error
    return text


def _encoding(fields: Fields) -> IntervalEncoding | None:
    value = fields.value("encoding")
    if value is None:
        return None
    try:
        return IntervalEncoding.from_dict(value)
    except ValueError as error:
        raise fields.error("encoding", f"is not usable: {str(error)[:200]}") from error


def _check_agreement(manifest: Manifest) -> None:
    """Compare what two sections say about the same thing."""
    model, images, encoding = manifest.model, manifest.preprocessing, manifest.encoding
    classes = model.num_classes
    facts = {
        f"class_names must hold model.num_classes = {classes} names": (
            len(manifest.class_names) == classes
        ),
        f"encoding must be {'given' if manifest.task == 'int' else 'null'} for this task": (
            (encoding is not None) == (manifest.task == "int")
        ),
        f"encoding.num_classes must be model.num_classes = {classes}": (
            encoding is None or encoding.num_classes == classes
        ),
        f"model.head must be one of {', '.join(HEADS[manifest.task])} for this task": (
            model.head in HEADS[manifest.task]
        ),
        "model.input_shape must be [channels, image_size, image_size]": (
            model.input_shape == (images.channels, images.image_size, images.image_size)
        ),
    }
    for fact, holds in facts.items():
        if not holds:
            raise BundleError(f"manifest: {fact}")
