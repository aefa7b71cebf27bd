"""A profile file to a :class:`FamilySpec`: every mistake at once, or the whole family."""

import re
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

from fleet.encoding.interval import CanonicalEncoding
from fleet.encoding.orders import Order, spread_orders
from fleet.profiles.control import CONTROL, TWIN, derive_controls, derive_twin
from fleet.profiles.data_section import resolve_data
from fleet.profiles.device_section import device_problems, encoding_section, resolve_device
from fleet.profiles.draw import drawn_fields
from fleet.profiles.expand import expand
from fleet.profiles.inherit import inherit
from fleet.profiles.problems import Mark, Problem, Source
from fleet.profiles.schema import DataSection, DeviceSection, ProfileSection
from fleet.profiles.secret import (
    FamilySecret,
    NewSecret,
    new_secret,
    read_secret,
    refuse_doubtful,
    secret_path,
)
from fleet.profiles.spec import DataSpec, DeviceSpec, FamilySpec
from fleet.profiles.tree import Node
from fleet.profiles.validate import problems_of, shown, value_of
from fleet.profiles.yaml_text import parse, read_source


class _Device(NamedTuple):
    section: DeviceSection
    node: Node


def load_profile(
    path: Path | str, *, secret: Path | None = None, check_data: bool = True
) -> FamilySpec:
    """Read, check and resolve a profile; writes nothing.

    Args:
        path: The profile (YAML).
        secret: The family secret, which ``auto`` values are drawn from; ``FAMILY.secret`` beside
            the profile by default. Read only for a profile that says ``auto``.
        check_data: Whether the data's directory must exist, and the files that devices name.

    Returns:
        The family, every default filled in. ``DeviceSpec.drawn`` names what came from the secret;
        where there is none yet, ``FamilySpec.new_secret`` is the one that a training will write.

    Raises:
        ProfileError: Names every mistake with file, line and column.
        ProfileFileError: The profile or the secret cannot be read.
    """
    path = Path(path)
    source, text = read_source(path)
    root, problems = expand(parse(source, text))
    root, found, orphans = inherit(root)
    problems += found
    _check_version(source, root)
    problems += problems_of(ProfileSection, root)
    data, found = _resolve_data(root, path.parent, check_data=check_data)
    problems += found
    devices = []
    faulty: dict[Mark, bool] = {}  # devices of one entry have the same mistakes
    for device in _valid_devices(root, orphans):
        if device.node.mark not in faulty:
            found = device_problems(device.section, device.node, data)
            problems += found
            faulty[device.node.mark] = bool(found)
        devices += [] if faulty[device.node.mark] else [device]
    if data is None:
        raise source.error(problems)
    drawn = any(drawn_fields(encoding_section(device.section)) for device in devices)
    place = secret or secret_path(path, path.stem if problems else root.plain["name"])
    kept = read_secret(place) if drawn else None
    if drawn and kept is None and secret is None:
        refuse_doubtful(path, place)
    key = kept or new_secret()
    specs, found = _resolve_devices(devices, data, key, path.parent)
    problems += found
    if check_data:
        problems += _absent_files(devices, specs)
    control, twin = root.plain.get("control", True), root.plain.get("twin")
    twin = control and _comparable(specs) if twin is None else twin
    problems += _reserved_names(devices, control=control, twin=twin)
    if twin and specs and specs[0].encoding is None:
        mark = devices[0].node.nearest(["task"]).mark
        text = f"`twin: true` repeats an encoding, and {specs[0].name!r} has none"
        problems.append(Problem(mark, text, "put a device of task `int` first"))
    if problems:
        raise source.error(problems)
    beside = (*(derive_controls(specs) if control else ()), *([derive_twin(specs)] if twin else []))
    return FamilySpec(
        root.plain["name"],
        data,
        specs,
        beside,
        key.fingerprint if drawn else None,
        root.plain.get("accelerator", "auto"),
        _per_job(root.plain.get("per_job") or {}),
        NewSecret(place, key) if drawn and kept is None else None,
    )


def _comparable(specs: tuple[DeviceSpec, ...]) -> bool:
    """Whether only a twin can show what another encoding buys: no two devices have the same."""
    free = all(spec.name.casefold() != TWIN for spec in specs)
    encoded = [spec.encoding.canonical() for spec in specs if spec.encoding is not None]
    return free and len(set(encoded)) == len(encoded) > 1 and specs[0].encoding is not None


def _per_job(written: dict[str, Any]) -> str:
    """What a job takes, as the option ``--per-job`` writes it."""
    return ",".join(f"{name}={value}" for name, value in written.items() if value is not None)


def _check_version(source: Source, root: Node) -> None:
    """Refuse another version alone: its other fields may mean anything."""
    node = root.find("version")
    if node is None or (type(node.value) is int and node.value == 1):
        return
    text = f"version must be 1 (got {shown(node)})"
    hint = "a later version of the profile language needs a later fleet"
    raise source.error([Problem(node.mark, text, hint)])


def _resolve_data(
    root: Node, directory: Path, *, check_data: bool
) -> tuple[DataSpec | None, list[Problem]]:
    node = root.find("data")
    section = value_of(DataSection, node)
    if node is None or section is None:
        return None, []
    return resolve_data(section, node, directory, check_data=check_data)


def _valid_devices(root: Node, orphans: set[int]) -> list[_Device]:
    devices = root.find("devices")
    nodes = devices.items if devices else ()
    whole = (node for index, node in enumerate(nodes) if index not in orphans)
    found = ((value_of(DeviceSection, node), node) for node in whole)
    return [_Device(section, node) for section, node in found if section is not None]


def _resolve_devices(
    devices: list[_Device], data: DataSpec, secret: FamilySecret, directory: Path
) -> tuple[tuple[DeviceSpec, ...], list[Problem]]:
    specs: list[DeviceSpec] = []
    problems: list[Problem] = []
    first: dict[CanonicalEncoding, _Device] = {}
    told: set[Mark] = set()  # one of the devices that an entry stands for is enough
    spread = _spread_orders(devices, data.num_classes)
    for device in devices:
        try:
            order = spread.get(device.section.name)
            spec = resolve_device(device.section, data, secret, directory, order)
        except ValueError as error:
            problems.append(_no_encoding(device, error))
            continue
        specs.append(spec)
        if spec.encoding is None or device.section.allow_equivalent:
            continue
        other = first.setdefault(spec.encoding.canonical(), device)
        if other.section.name != spec.name and device.node.mark not in told:
            told.add(device.node.mark)
            problems.append(_equivalent(device, other))
    return tuple(specs), problems


def _absent_files(devices: list[_Device], specs: tuple[DeviceSpec, ...]) -> list[Problem]:
    nodes = {device.section.name: device.node for device in devices}
    named = [(spec.name, "model", "weights", spec.model.weights) for spec in specs]
    named += [(s.name, "training", "pool", path) for s in specs for path in s.training.pool]
    return [
        Problem(
            nodes[name].nearest((section, key)).mark,
            f"{section}.{key} of device {name!r} is no file: {path!r}",
        )
        for name, section, key, path in named
        if path is not None and not Path(path).is_file()
    ]


def _order(device: _Device) -> tuple[int, ...] | str | None:
    section = encoding_section(device.section)
    return None if section is None else section.order


def _spread_orders(devices: list[_Device], classes: int) -> dict[str, Order]:
    """Orders of the devices that say ``spread``, by name; where they run out they begin again."""
    orders = [_order(device) for device in devices]
    names = [d.section.name for d, order in zip(devices, orders, strict=True) if order == "spread"]
    written = [order for order in orders if isinstance(order, tuple)]
    found = spread_orders(classes, len(names), written) or spread_orders(classes, len(names))
    return dict(zip(names, cycle(found), strict=False))


def _reserved_names(devices: list[_Device], *, control: bool, twin: bool) -> list[Problem]:
    kept = {CONTROL: rf"{CONTROL}(-.*)?"} if control else {}
    kept |= {TWIN: TWIN} if twin else {}
    return [
        Problem(
            device.node.nearest(["name"]).mark,
            f"the name {device.section.name!r} is kept for the {word} of the audits",
            f"choose another name, or write `{word}: false` at the top",
        )
        for device in devices
        for word, pattern in kept.items()
        if re.fullmatch(pattern, device.section.name, re.IGNORECASE)
    ]


def _no_encoding(device: _Device, error: ValueError) -> Problem:
    written = device.node.nearest(["encoding"])
    section = encoding_section(device.section)
    # The error may quote drawn values, which are secret.
    reason = "drawn values do not fit the written ones" if drawn_fields(section) else str(error)
    return Problem(written.mark, f"{written.path} of device {device.section.name!r}: {reason}")


def _equivalent(device: _Device, other: _Device) -> Problem:
    written = device.node.nearest(["encoding"])
    line = other.node.mark.line
    text = (
        f"{written.path}: the encoding of device {device.section.name!r} is equivalent to that of "
        f"{other.section.name!r} (line {line}); s0, a common scale of alpha and beta, and "
        "reversing the order carry no diversity"
    )
    hint = (
        "change the order (`order: spread` takes one that no other device has) or "
        "beta/(alpha+beta), or write `allow_equivalent: true` in one of the two if only their "
        "weights shall differ"
    )
    return Problem(written.mark, text, hint)
