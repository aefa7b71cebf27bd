"""Resolved specifications: what a profile says once every default is filled in.

Frozen values with plain fields; nothing here reads YAML or imports torch. The rest of the product
takes these and never sees a profile file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet.encoding import IntervalEncoding
from fleet.errors import CheckpointError
from fleet.files import read_bytes
from fleet.rundir import RunDirectory
from fleet.vocabulary import DatasetName, ModelSpec, Task, TrainingSpec, plain_settings

if TYPE_CHECKING:
    from fleet.profiles.secret import NewSecret


@dataclass(frozen=True)
class DataSpec:
    """Which images, and how they are split.

    Attributes:
        dataset: Dataset name.
        root: Absolute path of the directory that holds it.
        num_classes: Number of classes.
        channels: 1 (grey) or 3 (colour).
        image_size: Height and width in pixels after resizing.
        validation: Images cut from the training set for every choice; the test set is only for
            final figures.
        train_limit: Train on this many images only (smoke tests), or None for all.
        split_seed: Seed of the validation split.
        test_limit: Test on this many test images only (smoke tests), or None for all.
        skip_broken: Leave out images that cannot be read.
    """

    dataset: DatasetName
    root: Path
    num_classes: int
    channels: int
    image_size: int
    validation: int
    train_limit: int | None
    split_seed: int
    test_limit: int | None = None
    skip_broken: bool = False


@dataclass(frozen=True)
class DeviceSpec:
    """One deployment target.

    Attributes:
        name: Unique name; letters, digits, ``.``, ``-`` and ``_``.
        task: ``int`` (interval), ``tra`` (cross-entropy) or ``hin`` (multi-class hinge).
        encoding: The device's intervals; None for ``tra`` and ``hin``.
        model: Network.
        training: Recipe.
        drawn: Fields of the encoding that ``auto`` drew from the family secret. They are not to
            be shown unasked, and no part of :meth:`FamilySpec.digest`.
    """

    name: str
    task: Task
    encoding: IntervalEncoding | None
    model: ModelSpec
    training: TrainingSpec
    drawn: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Show what was drawn as ``auto``, so that no log holds it."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if self.drawn:
            plain["encoding"] = "auto"
        return f"DeviceSpec({', '.join(f'{name}={value!r}' for name, value in plain.items())})"

    @property
    def reads(self) -> tuple[str, ...]:
        """Files outside its run that its training reads."""
        pool = self.training.pool
        runs = {str(RunDirectory(Path(path).parent.parent.parent).profile) for path in pool}
        weights = (self.model.weights,) if self.model.weights else ()
        return (*weights, *pool, *sorted(runs))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; :meth:`from_dict` is the inverse."""
        return {
            "name": self.name,
            "task": self.task,
            "encoding": None if self.encoding is None else self.encoding.to_dict(),
            "model": dataclasses.asdict(self.model),
            "training": {**dataclasses.asdict(self.training), "pool": list(self.training.pool)},
            "drawn": list(self.drawn),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> DeviceSpec:
        """Rebuild a specification from :meth:`to_dict`."""
        encoding = data["encoding"]
        return cls(
            name=data["name"],
            task=data["task"],
            encoding=None if encoding is None else IntervalEncoding.from_dict(encoding),
            model=ModelSpec(**data["model"]),
            training=TrainingSpec(**data["training"]),
            drawn=tuple(data.get("drawn", ())),
        )


@dataclass(frozen=True)
class FamilySpec:
    """A whole profile.

    Attributes:
        name: Name of the family; part of the run directory's name.
        data: Images.
        devices: In the order of the profile.
        controls: Trained and audited for comparison and shipped to nobody: undefended networks of
            the same backbones, and the twin of the first device (:mod:`fleet.profiles.control`).
        secret: Fingerprint of the secret that values were drawn from, or None; no part of the
            digest.
        accelerator: Where networks are trained and audited: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        per_job: What a job takes of a node under Ray, as ``--per-job`` writes it; empty for Ray's
            own; no part of the digest.
        new_secret: The secret, if it is in no file yet; no part of :meth:`to_dict`.
    """

    name: str
    data: DataSpec
    devices: tuple[DeviceSpec, ...]
    controls: tuple[DeviceSpec, ...] = ()
    secret: str | None = None
    accelerator: str = "auto"
    per_job: str = dataclasses.field(default="", compare=False)
    new_secret: NewSecret | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def trained(self) -> tuple[DeviceSpec, ...]:
        """All that is trained and audited: the devices, then the controls."""
        return (*self.devices, *self.controls)

    def device(self, name: str) -> DeviceSpec:
        """Look up a device or a control.

        Raises:
            KeyError: There is none of this name.
        """
        for device in self.trained:
            if device.name == name:
                return device
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; :meth:`from_dict` is the inverse."""
        later = {} if self.secret is None else {"secret": self.secret}
        if self.accelerator != "auto":  # so that digests of before stay
            later["accelerator"] = self.accelerator
        if self.per_job:
            later["per_job"] = self.per_job
        return {
            "version": 1,
            "name": self.name,
            **later,
            "data": {**dataclasses.asdict(self.data), "root": str(self.data.root)},
            "devices": [device.to_dict() for device in self.devices],
            "controls": [control.to_dict() for control in self.controls],
        }

    def redacted(self) -> dict[str, Any]:
        """:meth:`to_dict` with ``auto`` in place of what was drawn from the family secret."""
        plain = self.to_dict()
        for device in plain["devices"] + plain["controls"]:  # the twin may have a drawn encoding
            for name in device["drawn"]:
                device["encoding"][name] = "auto"
        return plain

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> FamilySpec:
        """Rebuild a specification from :meth:`to_dict`."""
        return cls(
            name=data["name"],
            data=DataSpec(**{**data["data"], "root": Path(data["data"]["root"])}),
            devices=tuple(map(DeviceSpec.from_dict, data["devices"])),
            controls=tuple(map(DeviceSpec.from_dict, data.get("controls", ()))),
            secret=data.get("secret"),
            accelerator=data.get("accelerator", "auto"),
            per_job=data.get("per_job", ""),
        )

    def digest(self) -> str:
        """SHA-256 of the profile: neither paths nor drawn values.

        It stands in public manifests, and drawn values come from a set small enough to try. A key
        that came later is left out at its default, so that older digests stay.
        """
        plain = self.redacted()
        plain.pop("secret", None)
        plain.pop("per_job", None)
        del plain["data"]["root"]
        if not self.data.skip_broken:
            del plain["data"]["skip_broken"]
        for device, spec in zip(plain["devices"] + plain["controls"], self.trained, strict=True):
            device["model"] = plain_settings(spec.model)
            if spec.model.weights is not None:
                device["model"]["weights"] = Path(spec.model.weights).name
            device["training"] = plain_settings(spec.training)
            if spec.training.pool:
                device["training"]["pool"] = [Path(p).parent.name for p in spec.training.pool]
        encoded = json.dumps(plain, sort_keys=True, separators=(",", ":")).encode("utf-8")
        return hashlib.sha256(encoded).hexdigest()


def read_family(run: RunDirectory) -> FamilySpec:
    """Read what a run was trained from.

    Raises:
        CheckpointError: The file is absent, damaged, or of another version.
    """
    try:
        return FamilySpec.from_dict(json.loads(read_bytes(run.profile)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{run.profile} is no resolved profile: {type(error).__name__}: {error}",
            hint="another version of fleet may have written it; train again",
        ) from error


def read_device(model: Path) -> tuple[RunDirectory, FamilySpec, DeviceSpec]:
    """Read what a run says of one of its networks, given the network's file.

    Args:
        model: ``devices/NAME/model.safetensors`` in a run.

    Returns:
        The run, its family, and the network.

    Raises:
        CheckpointError: The file lies in no run, or the run's profile does not name the network.
    """
    name, run = model.parent.name, RunDirectory(model.parent.parent.parent)
    try:
        family = read_family(run)
        return run, family, family.device(name)
    except (CheckpointError, KeyError) as error:
        raise CheckpointError(
            f"{model} is no network of a run: {error}",
            hint="name `devices/NAME/model.safetensors` where a run trained it; a copy elsewhere "
            "says nothing of its encoding",
        ) from error
