"""The manifest: what a bundle is, what its model expects, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast, get_args

from fleet.bundle.fields import NAME, UTC_TIME, Fields
from fleet.bundle.sections import (
    AuditSummary,
    Metrics,
    ModelSection,
    Payload,
    Preprocessing,
    Provenance,
    Section,
)
from fleet.encoding import IntervalEncoding
from fleet.errors import BundleError
from fleet.vocabulary import HEADS, Task

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
