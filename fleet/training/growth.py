"""Compare a run with the profile that is to continue it: what is new, and what has changed.

A fleet grows in place: devices that a profile has and its run does not are trained into the run,
and all that is there stays as it is. No torch here.
"""

import json
from dataclasses import dataclass, replace
from typing import Any

from fleet.profiles.control import derive_controls, derive_twin
from fleet.profiles.spec import DeviceSpec, FamilySpec, read_family
from fleet.rundir import RunDirectory
from fleet.training.rotation import as_written


@dataclass(frozen=True)
class Growth:
    """A profile beside the run that it goes on with.

    Attributes:
        spec: The run's networks as they are there, in its order, and then the new ones.
        added: Names of the new devices and controls.
        removed: Places of those that the profile lacks, as ``devices[cam-01]``.
        changed: Every other field that differs, as ``devices[cam-01].training.epochs: 8 -> 10``.
    """

    spec: FamilySpec
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]


def compare(recorded: FamilySpec, written: FamilySpec) -> Growth:
    """Find what a profile adds to a run, and what it would change in it.

    Controls of the run stay as they are: neither the place of a new device in the file nor its
    backbone gives them another name or recipe.

    Args:
        recorded: What the run was trained from.
        written: The profile as it is now.
    """
    devices = _known_first(recorded.devices, written.devices)
    controls = _known_first(recorded.controls, _controls(recorded, written, devices))
    after = replace(written, devices=devices, controls=controls)
    before = {network.name for network in recorded.trained}
    names = {network.name for network in after.trained}
    return Growth(
        spec=after,
        added=tuple(network.name for network in after.trained if network.name not in before),
        removed=tuple(
            f"{part}[{network.name}]"
            for part in ("devices", "controls")
            for network in getattr(recorded, part)
            if network.name not in names
        ),
        changed=tuple(_changes(_among(recorded, names), _among(after, before))),
    )


def compare_run(run: RunDirectory, written: FamilySpec) -> Growth:
    """Compare a run with a profile, which knows nothing of the run's rotations.

    Raises:
        CheckpointError: The run's profile or the record of a rotation is damaged.
    """
    recorded = read_family(run)
    growth = compare(as_written(run, recorded, written), written)
    now = {device.name: device for device in recorded.devices}
    devices = tuple(now.get(device.name, device) for device in growth.spec.devices)
    return replace(growth, spec=replace(growth.spec, devices=devices))


def _known_first(
    recorded: tuple[DeviceSpec, ...], written: tuple[DeviceSpec, ...]
) -> tuple[DeviceSpec, ...]:
    places = {network.name: place for place, network in enumerate(recorded)}
    return tuple(sorted(written, key=lambda network: places.get(network.name, len(places))))


def _controls(
    recorded: FamilySpec, written: FamilySpec, devices: tuple[DeviceSpec, ...]
) -> tuple[DeviceSpec, ...]:
    """The controls that the profile asks for: the run's own, and those of new backbones."""
    ordinary = any(control.encoding is None for control in written.controls)
    twin = any(control.encoding is not None for control in written.controls)
    known = {control.model: control for control in recorded.controls if control.encoding is None}
    twins = [control for control in recorded.controls if control.encoding is not None]
    return (
        *(known.get(c.model, c) for c in derive_controls(devices if ordinary else ())),
        *((twins or [derive_twin(devices)]) if twin and devices else ()),
    )


def _among(family: FamilySpec, names: set[str]) -> dict[str, Any]:
    """Plain values of a family without the networks of other names; what was drawn is wrapped."""
    plain = family.to_dict()
    for part in ("devices", "controls"):
        plain[part] = [network for network in plain[part] if network["name"] in names]
        for network in plain[part]:
            for name in network["drawn"]:
                network["encoding"][name] = _Drawn(network["encoding"][name])
    return plain


@dataclass(frozen=True)
class _Drawn:
    """A value that ``auto`` drew from the family secret: compared, but shown to nobody."""

    value: Any


def _shown(value: Any) -> str:
    return "a drawn value" if isinstance(value, _Drawn) else json.dumps(value)


def _changes(old: Any, new: Any, where: str = "") -> list[str]:
    """Name every field that differs, as ``devices[cam-01].training.epochs: 8 -> 10``."""
    if isinstance(old, dict) and isinstance(new, dict):
        ignored = {"root"} if where == "data" else set()
        if not where and old.get("secret") is None:  # runs of before have no fingerprint
            ignored = {"secret"}
        keys = [key for key in {**old, **new} if key not in ignored]
        prefix = f"{where}." if where else ""
        return [c for key in keys for c in _changes(old.get(key), new.get(key), f"{prefix}{key}")]
    if where in {"devices", "controls"}:
        before = {device["name"]: device for device in old}
        after = {device["name"]: device for device in new}
        names = list({**before, **after})
        return [c for n in names for c in _changes(before.get(n), after.get(n), f"{where}[{n}]")]
    if old == new:
        return []
    if isinstance(old, _Drawn) and isinstance(new, _Drawn):
        return [f"{where}: a drawn value -> another"]
    return [f"{where}: {_shown(old)} -> {_shown(new)}"]
