"""The sections of a manifest that say how good a model is and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fleet.bundle.fields import SHA256, Fields
from fleet.bundle.sections import Section

MAX_SEED = 2**63 - 1


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
        eps: Linf radius in pixel units, [0, 1].
        n: Attacked images, those that this device decodes correctly without an attack.
        white_box_evade: Evade rate when the attacker has this device.
        transfer_evade: Largest evade rate when the attacker has another device of the family.
        extra: Unknown fields.
    """

    eps: float
    n: int
    white_box_evade: float
    transfer_evade: float
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Fields) -> AuditRow:
        """Take the row's fields."""
        return cls(
            eps=fields.number("eps", 0.0, 1.0),
            n=fields.integer("n", 1, 2**53),
            white_box_evade=fields.number("white_box_evade", 0.0, 1.0),
            transfer_evade=fields.number("transfer_evade", 0.0, 1.0),
            extra=fields.rest,
        )


@dataclass(frozen=True)
class AuditSummary(Section):
    """The transfer audit of these very weights.

    Attributes:
        sha256: Digest of what was found (:func:`fleet.bundle.audited.findings_digest`).
        failed_checks: Reliability checks that failed; with any, the rates are lower bounds.
        rows: One for each eps, ascending; at least one.
        split: Which images: ``test`` or ``validation``; None in bundles that do not say.
        extra: Unknown fields.
    """

    sha256: str
    failed_checks: int
    rows: tuple[AuditRow, ...]
    split: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Fields) -> AuditSummary:
        """Take the section's fields."""
        return cls(
            sha256=fields.text("sha256", SHA256),
            failed_checks=fields.integer("failed_checks", 0, 10_000),
            rows=tuple(AuditRow.read(row) for row in fields.objects("rows")),
            split=fields.optional_text("split") if "split" in fields.rest else None,
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
