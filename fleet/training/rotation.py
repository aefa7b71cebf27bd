"""Re-key a device whose weights were extracted: another order, another seed. No torch.

A rotation keeps its files in ``rotations/NAME-GENERATION/`` of the run::

    rotation.json      the device before and after, how far the rotation is, and its proof
    images/            adversarial images made on the burnt weights
    burnt/             the burnt weights and their training, which nothing packages or loads
    twin/              the twin of the burnt key, if it was the first device's: it gets the new one

The steps, each of them whole or not at all: the images are kept, the rotation is noted, the burnt
weights leave the place where they would be packaged, the run's profile takes the new device, and
the training fills its place. A rotation that was killed goes on; between two steps the device is
not trained, and nothing takes one generation's weights for the other's.
"""

import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from fleet.encoding import IntervalEncoding
from fleet.encoding.orders import Order, reverse, shared_dichotomies
from fleet.errors import CheckpointError
from fleet.files import make_directory, read_json, storage_error, write_json
from fleet.profiles.control import derive_twin
from fleet.profiles.spec import DeviceSpec, FamilySpec, read_family
from fleet.rundir import RunDirectory

SCHEMA = "fleet.rotation/1"

Status = Literal["begun", "training", "proven", "not proven"]

_TRIES = 64
"""Orders that a new one is the best of."""


@dataclass(frozen=True)
class Rotation:
    """One rotation of one device.

    Attributes:
        root: Its directory.
        generation: Of the new weights; those of the profile are 1.
        written: The device as the profile has it.
        before: The device that was burnt.
        after: The device that takes its place.
        status: ``begun`` while weights and profile are exchanged, then ``training``, and at the end
            what the proof said.
        proof: What it found, plain JSON values.
    """

    root: Path
    generation: int
    written: DeviceSpec
    before: DeviceSpec
    after: DeviceSpec
    status: Status = "begun"
    proof: dict[str, Any] | None = None

    @property
    def device(self) -> str:
        """Device name."""
        return self.after.name

    @property
    def images(self) -> Path:
        """Directory of the images made on the burnt weights."""
        return self.root / "images"

    def save(self) -> None:
        """Write ``rotation.json``, whole or not at all.

        Raises:
            StorageError: It cannot be written.
        """
        plain = {
            "schema": SCHEMA,
            "generation": self.generation,
            "written": self.written.to_dict(),
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "status": self.status,
            "proof": self.proof,
        }
        write_json(self.root / "rotation.json", plain)


def read_rotations(run: RunDirectory) -> list[Rotation]:
    """All rotations of a run, those of one device in order of generation.

    Raises:
        CheckpointError: One is damaged.
    """
    found = [_read(path.parent) for path in run.rotations.glob("*/rotation.json")]
    return sorted(found, key=lambda rotation: (rotation.device, rotation.generation))


def as_written(run: RunDirectory, recorded: FamilySpec, written: FamilySpec) -> FamilySpec:
    """A run's family with each rotated device as the profile has it, before its rotations.

    A profile that already has the new device is taken as it is.
    """
    first = {rotation.device: rotation.written for rotation in read_rotations(run)}
    now = {device.name: device for device in written.devices}
    devices = tuple(
        first.get(device.name, device) if now.get(device.name) != device else device
        for device in recorded.devices
    )
    return replace(recorded, devices=devices)


def check_settled(run: RunDirectory) -> None:
    """Refuse to train a run in which the exchange of a device was interrupted.

    Raises:
        CheckpointError: One was; ``fleet rotate`` goes on with it.
    """
    for rotation in read_rotations(run):
        if rotation.status == "begun":
            raise CheckpointError(
                f"the rotation of {rotation.device} in {run.root} was interrupted",
                hint=f"`fleet rotate {rotation.device} {run.root}` goes on with it",
            )


def next_rotation(
    run: RunDirectory, device: str, *, keep_order: bool = False, seed: int | None = None
) -> Rotation:
    """The rotation of a device that is under way, or a new one, not yet noted.

    Args:
        run: A training.
        device: Name of the device that is burnt.
        keep_order: Change the seed alone.
        seed: Draws the new key; by default the operating system does, and nobody who knows the run
            can draw it again.

    Raises:
        CheckpointError: There is no such device, or it is not trained.
    """
    family = read_family(run)
    known = {spec.name: spec for spec in family.devices}
    if device not in known:
        names = ", ".join(known)
        raise CheckpointError(f"no device {device!r} in {run.root}", hint=f"it has {names}")
    earlier = [rotation for rotation in read_rotations(run) if rotation.device == device]
    if earlier and earlier[-1].status in {"begun", "training"}:
        return earlier[-1]
    if not run.model(device).exists():
        raise CheckpointError(
            f"{device} is not trained yet in {run.root}", hint="`fleet train` trains it"
        )
    generation = earlier[-1].generation + 1 if earlier else 2
    others = [spec for spec in family.trained if spec.name != device]
    written = earlier[-1].written if earlier else known[device]
    burnt = [rotation.before for rotation in earlier] + [known[device]]
    return Rotation(
        root=run.rotations / f"{device}-{generation}",
        generation=generation,
        written=written,
        before=known[device],
        after=rekey(known[device], burnt, others, keep_order=keep_order, seed=seed),
    )


def rekey(
    device: DeviceSpec,
    burnt: Sequence[DeviceSpec],
    others: Sequence[DeviceSpec],
    *,
    keep_order: bool = False,
    seed: int | None = None,
) -> DeviceSpec:
    """Give a device another seed, and an order that shares little with burnt ones and others'.

    Args:
        device: As it is now.
        burnt: Its generations so far.
        others: The other networks of the run.
        keep_order: Change the seed alone.
        seed: Draws both; by default the operating system does.
    """
    draw = random.SystemRandom() if seed is None else random.Random(seed)  # noqa: S311
    training = replace(device.training, seed=draw.getrandbits(62))
    encoding = device.encoding
    if encoding is not None and not keep_order:
        order = _new_order(encoding, _orders(burnt), _orders(others), draw)
        encoding = replace(encoding, order=order)
    return replace(device, encoding=encoding, training=training)


def exchange(run: RunDirectory, rotation: Rotation) -> Rotation:
    """Take the burnt weights out of the run, and put the new device into its profile.

    Can be called again after a kill at any moment.

    Returns:
        The rotation, ready for the training.

    Raises:
        StorageError: A directory cannot be moved, or a file cannot be written.
    """
    if rotation.status != "begun":
        return rotation
    rotation.save()
    _retire(run.model(rotation.device).parent, rotation.root / "burnt")
    family = read_family(run)
    devices = tuple(rotation.after if d.name == rotation.device else d for d in family.devices)
    controls = family.controls
    if devices[0] is rotation.after and rotation.before.encoding != rotation.after.encoding:
        for twin in twins_of(family):
            _retire(run.model(twin).parent, rotation.root / twin)
        controls = tuple(derive_twin(devices) if c.encoding is not None else c for c in controls)
    new = replace(family, devices=devices, controls=controls)
    write_json(run.profile, new.to_dict())
    rotation = replace(rotation, status="training")
    rotation.save()
    return rotation


def twins_of(family: FamilySpec) -> list[str]:
    """Names of the networks beside a family that repeat its first device."""
    return [control.name for control in family.controls if control.encoding is not None]


def _retire(place: Path, to: Path) -> None:
    """Move a network's directory out of the run, once."""
    if to.exists() and place.exists():
        shutil.rmtree(place)  # somebody else's work on it after the kill
    elif place.exists():
        make_directory(to.parent)
        try:
            place.rename(to)
        except OSError as error:
            raise storage_error(to, error) from error


def _orders(devices: Sequence[DeviceSpec]) -> list[Order]:
    return [device.encoding.slots for device in devices if device.encoding is not None]


def _new_order(
    encoding: IntervalEncoding, burnt: list[Order], others: list[Order], draw: random.Random
) -> Order:
    """The best of some drawn orders; the present one where there is no other."""
    count = encoding.num_classes
    drawn = [tuple(draw.sample(range(count), count)) for _ in range(_TRIES)]
    taken = {*burnt, *map(reverse, burnt)}
    fresh = [order for order in drawn if order not in taken and order not in others]
    return min(
        fresh,
        key=lambda order: (
            max(shared_dichotomies(order, known) for known in burnt),
            sum(shared_dichotomies(order, known) for known in others),
        ),
        default=encoding.slots,
    )


def _read(root: Path) -> Rotation:
    path = root / "rotation.json"
    plain = read_json(path)
    try:
        if plain["schema"] != SCHEMA:
            raise ValueError(f"schema {plain['schema']!r}")
        return Rotation(
            root=root,
            generation=int(plain["generation"]),
            written=DeviceSpec.from_dict(plain["written"]),
            before=DeviceSpec.from_dict(plain["before"]),
            after=DeviceSpec.from_dict(plain["after"]),
            status=plain["status"],
            proof=plain["proof"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged: {error!r}", hint="restore it from a copy of the run"
        ) from error
