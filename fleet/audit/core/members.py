"""What is audited: devices in memory, and how thoroughly."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fleet import attacks
from fleet.accelerator import torch_device
from fleet.assembly import load_trained
from fleet.audit.core.result import Role
from fleet.errors import AuditError, CheckpointError
from fleet.files import canonical_json, read_json
from fleet.models import Classifier, weights_bytes, weights_digest
from fleet.profiles.spec import DeviceSpec, FamilySpec
from fleet.rundir import RunDirectory
from fleet.vocabulary import Norm, Precision, plain_settings

LATER = {"later": True}
"""Of a setting that came after the first: :func:`fleet.vocabulary.plain_settings`."""


@dataclass(frozen=True, eq=False)
class Member:
    """One device of an audit.

    Attributes:
        name: Unique in the audit.
        classifier: Attacked as surrogate, tried as victim; left exactly as it was.
        weights_sha256: Digest of the weights, for the record.
        architecture: Backbone name, for the record.
        head: Head name, for the record.
        private: Keep the encoding out of the result, because it was drawn from a secret.
        role: ``device``, or ``control`` for an ordinary network that is audited for comparison.
    """

    name: str
    classifier: Classifier
    weights_sha256: str = ""
    architecture: str = ""
    head: str = ""
    private: bool = False
    role: Role = "device"

    def digest(self) -> str:
        """SHA-256 of all that determines its decisions: weights, task, head and encoding.

        The weights themselves go into it, not their digest, so that an encoding drawn from a secret
        cannot be found by trying all of them.
        """
        encoding = self.classifier.encoding
        rules = {
            "task": self.classifier.task,
            "head": self.classifier.head_name,
            "encoding": None if encoding is None else encoding.to_dict(),
        }
        weights = weights_bytes(self.classifier)
        return hashlib.sha256(weights + canonical_json(rules).encode("utf-8")).hexdigest()

    def key(self) -> list[Any]:
        """All that determines what is found and said about it, plain JSON values."""
        said = [self.weights_sha256, self.architecture, self.head, self.private, self.role]
        return [self.name, self.digest(), *said]


def at_least_one(settings: object, *names: str) -> None:
    """Refuse fields that are below 1.

    Raises:
        AuditError: One is.
    """
    for name in names:
        if getattr(settings, name) < 1:
            raise AuditError(
                f"{name} is {getattr(settings, name)}", hint=f"{name} must be 1 or more"
            )


@dataclass(frozen=True)
class Settings:
    """What the settings of several audits share.

    Attributes:
        eps: Radii in pixel units, at least one 8-bit level each; kept ascending. ``linf``: (0, 1].
    """

    eps: tuple[float, ...]

    def check(self, *counts: str, norm: Norm = "linf") -> None:
        """Sort the radii, and refuse those that no image can have, and counts below 1.

        Raises:
            AuditError: A value is out of range.
        """
        if not self.eps:
            raise AuditError("no eps to audit", hint="give one or more, for example 0.1 or 8/255")
        object.__setattr__(self, "eps", tuple(sorted(set(self.eps))))
        for eps in self.eps:
            attacks.exact_eps(eps, norm)
        at_least_one(self, *counts)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; a :data:`LATER` field is named at other values than its default."""
        plain = plain_settings(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in plain.items()}


@dataclass(frozen=True)
class TransferSettings(Settings):
    """How thoroughly to attack.

    Attributes:
        eps: Radii in pixel units, at least one 8-bit level each; kept ascending. ``linf``: (0, 1].
        steps: Steps of each iterative run.
        restarts: Runs of each iterative attack.
        batch_size: Images attacked at once, 2 directions of each in one batch, fewer where they
            are large (:func:`fleet.attacks.pixels.at_once`); changes the time and the memory.
            Measured on the paper's NN on CPU, it does not change one bit of the images or outcomes
            from 4 on; with fewer, single pixels.
        seed: Seed of random starts and of the noise.
        noise_draws: Draws of the noise floor; 7 is as many tries as the default adaptive
            portfolio has images.
        targets: Slots at which TARGET aims.
        precision: Of forward and backward passes inside attacks; scoring is always fp32, and so
            is ``bf16`` where the processor lacks instructions for it
            (:func:`fleet.accelerator.precise`).
        norm: How ``eps`` is measured: ``linf`` or ``l2``.
        brief: Look again at fewer images that stand, and leave the costly minimum-norm attacks out;
            a check that this leaves open warns.

    Raises:
        AuditError: A value is out of range.
    """

    eps: tuple[float, ...]
    steps: int = 15
    restarts: int = 3
    batch_size: int = 128
    seed: int = 0
    noise_draws: int = 7
    targets: attacks.TargetChoice = "neighbours"
    precision: Precision = "bf16"
    norm: Norm = "linf"
    brief: bool = field(default=False, metadata=LATER)

    def __post_init__(self) -> None:
        self.check("steps", "restarts", "batch_size", "noise_draws", norm=self.norm)

    def portfolio(self, classifier: Classifier, eps: float) -> tuple[attacks.Entry, ...]:
        """The attacks on a device at ``eps``, on the 8-bit grid inside it."""
        return attacks.portfolio(
            classifier,
            attacks.exact_eps(eps, self.norm),
            steps=self.steps,
            restarts=self.restarts,
            targets=self.targets,
            precision=self.precision,
            norm=self.norm,
        )

    def levels(self) -> list[int] | None:
        """Whole 8-bit levels inside each ``linf`` eps; None for ``l2``, which has none."""
        return [attacks.radius(eps) for eps in self.eps] if self.norm == "linf" else None


@dataclass(frozen=True, eq=False)
class Sample:
    """The audited images.

    Attributes:
        images: uint8 (N, C, H, W).
        labels: True classes, int64 (N,).
        indices: Number of each image in its dataset, int64 (N,); names its random numbers.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor

    @classmethod
    def of(cls, images: Tensor, labels: Tensor) -> Sample:
        """Number images from 0, and round them to 8 bits if they are floats in [0, 1].

        Raises:
            AuditError: There are no images, they leave [0, 1], or do not match ``labels``, which
                must be integers.
        """
        if images.dim() != 4 or labels.dim() != 1 or not 0 < len(images) == len(labels):
            raise AuditError(
                f"images have shape {tuple(images.shape)} and labels {tuple(labels.shape)}",
                hint="give (N, C, H, W) and (N,) with N of 1 or more",
            )
        if labels.is_floating_point() or labels.dtype == torch.bool:
            raise AuditError(f"labels are {labels.dtype}", hint="give whole numbers, the classes")
        if images.dtype != torch.uint8:
            if not (images.amin() >= 0 and images.amax() <= 1):
                raise AuditError(
                    "float images are not within [0, 1]",
                    hint="give uint8 images, or images / 255; normalisation belongs in the model",
                )
            images = attacks.to_bytes(images)
        return cls(images, labels.long(), torch.arange(len(images)))

    def batches(self, batch_size: int) -> tuple[Tensor, ...]:
        """Positions of each batch's images, int64, see :func:`fleet.attacks.pixels.at_once`."""
        size = attacks.at_once(batch_size, self.images)
        rows: tuple[Tensor, ...] = torch.arange(len(self.images)).split(size)
        return rows

    def part(self, rows: Tensor) -> Sample:
        """The images at positions ``rows``, int64 (R,)."""
        return Sample(self.images[rows], self.labels[rows], self.indices[rows])

    def digest(self) -> str:
        """SHA-256 of the pixels, labels and indices, 64 hexadecimal digits."""
        digest = hashlib.sha256()
        for part in (self.images, self.labels, self.indices):
            digest.update(part.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def check_members(members: Sequence[Member], sample: Sample) -> None:
    """Refuse devices that cannot be compared on these images.

    Raises:
        AuditError: No devices, a name twice, another class count, or another image shape.
    """
    names = [member.name for member in members]
    if not names:
        raise AuditError("no devices to audit", hint="give one or more")
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise AuditError(f"device names repeat: {', '.join(twice)}", hint="rename one of them")
    classes = members[0].classifier.num_classes
    shape = tuple(sample.images.shape[1:])
    for member in members:
        if member.classifier.num_classes != classes:
            raise AuditError(
                f"{member.name} has {member.classifier.num_classes} classes, "
                f"{members[0].name} has {classes}",
                hint="audit devices of the same task together",
            )
        if tuple(member.classifier.input_shape) != shape:
            raise AuditError(
                f"{member.name} takes images of shape {tuple(member.classifier.input_shape)}, "
                f"these have {shape}",
                hint="audit devices and images of the same size together",
            )
    low, high = int(sample.labels.amin()), int(sample.labels.amax())
    if low < 0 or high >= classes:
        raise AuditError(
            f"labels reach from {low} to {high}, the devices know 0 to {classes - 1}",
            hint="audit with the classes that the devices were trained on",
        )


def role_of(device: DeviceSpec, family: FamilySpec) -> Role:
    """What a trained network of a family is audited as."""
    if device not in family.controls:
        return "device"
    return "control" if device.encoding is None else "twin"


def load_member(run: RunDirectory, family: FamilySpec, device: DeviceSpec) -> Member:
    """Load one finished device or control of a run.

    Raises:
        CheckpointError: It is not finished, or its weights are damaged or not those that its
            training recorded.
    """
    classifier = load_trained(run, device, family.data).to(torch_device())
    digest = weights_digest(classifier)
    recorded = read_json(run.result(device.name)).get("weights_sha256")
    if recorded != digest:
        raise CheckpointError(
            f"the weights of {device.name} in {run.root} are not those that were trained: "
            f"their SHA-256 is {digest[:12]}..., {run.result(device.name).name} says {recorded!r}",
            hint="one of the two files was changed; train the device again",
        )
    return Member(
        name=device.name,
        classifier=classifier,
        weights_sha256=digest,
        architecture=device.model.architecture,
        head=device.model.head,
        private=bool(device.drawn),
        role=role_of(device, family),
    )
