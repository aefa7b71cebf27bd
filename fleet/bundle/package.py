"""Package a finished run: one bundle for each device; the same content gives the same bytes."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fleet.bundle import archive
from fleet.bundle.described import describe_device
from fleet.bundle.fields import NAME
from fleet.bundle.manifest import Manifest
from fleet.bundle.reader import examine, version_value
from fleet.errors import BundleError, CheckpointError
from fleet.files import canonical_json, write_bytes
from fleet.profiles.spec import DeviceSpec, FamilySpec, read_family
from fleet.rundata import check_files
from fleet.rundir import RunDirectory, RunLike, open_run, run_start


@dataclass(frozen=True)
class BundleInfo:
    """A bundle on disk.

    Attributes:
        path: The file.
        sha256: Digest of the whole file.
        size: Bytes of the whole file.
    """

    path: Path
    sha256: str
    size: int


def bundle_bytes(manifest: Manifest, model: bytes) -> bytes:
    """Lay out a whole bundle in memory and read it back.

    Args:
        manifest: Its payload section names the digest and the length of ``model``.
        model: Weights, a whole safetensors file.

    Raises:
        BundleError: A reader would refuse the result: nothing is written that cannot be read.
    """
    try:
        text = canonical_json(manifest.to_dict()).encode("utf-8")
    except (ValueError, TypeError) as error:
        raise BundleError(f"manifest: a value has no JSON form: {error}") from error
    version = canonical_json(version_value(text)).encode("utf-8")
    data = archive.pack(
        {
            archive.VERSION_MEMBER: version,
            archive.MANIFEST_MEMBER: text,
            archive.MODEL_MEMBER: model,
        }
    )
    examine(io.BytesIO(data), [], max_model_bytes=archive.MAX_MODEL_BYTES)
    return data


def write_bundle(path: Path, manifest: Manifest, model: bytes, *, mode: int = 0o666) -> BundleInfo:
    """Write one bundle, whole or not at all; an existing file is replaced.

    Args:
        path: Final name, by convention :attr:`Manifest.file_name`.
        manifest: Its payload section names the digest and the length of ``model``.
        model: Weights, a whole safetensors file.
        mode: Permission bits of the file.

    Raises:
        BundleError: A reader would refuse the result.
        StorageError: It cannot be written; ``path`` is then as it was.
    """
    data = bundle_bytes(manifest, model)
    write_bytes(path, data, mode=mode)
    return BundleInfo(path, hashlib.sha256(data).hexdigest(), len(data))


State = Literal["new", "unchanged", "different"]


@dataclass(frozen=True)
class Plan:
    """One bundle that is about to be written.

    Attributes:
        manifest: Its manifest.
        weights: Where its weights are.
        info: Path, digest and size that it will have.
        state: ``unchanged`` if these very bytes are there already, ``different`` if others are.
        mode: Permission bits; for the owner only if the encoding was drawn from a secret.
    """

    manifest: Manifest
    weights: Path
    info: BundleInfo
    state: State
    mode: int


def package(
    run: RunLike | None = None,
    release: str | None = None,
    out: Path | str | None = None,
    devices: Sequence[str] | None = None,
    *,
    force: bool = False,
) -> list[BundleInfo]:
    """Write one bundle for each device of a run; see :func:`package_run`.

    Args:
        run: A run, or None for the newest.
        release: Release name; by default the date on which the run began.
        out: Directory to write to, or None for the run's own ``bundles/``.
        devices: Names, or None for all of the profile.
        force: Replace bundles of the same name and other content.

    Raises:
        FleetError: As :func:`package_run`.
    """
    found = open_run(run)
    place = None if out is None else Path(out)
    return package_run(found, release or release_of(found), place, devices, force=force)


def release_of(run: RunDirectory) -> str:
    """The date on which the run began, so that the default is the same tomorrow."""
    return f"{run_start(run):%Y.%m.%d}"


def package_run(
    run: RunDirectory,
    release: str,
    out: Path | None = None,
    devices: Sequence[str] | None = None,
    *,
    force: bool = False,
) -> list[BundleInfo]:
    """Write one bundle for each device; the same run and release give the same bytes.

    Everything is checked before the first file is written. A bundle that is there already with
    the same bytes is left alone.

    Args:
        run: A run whose devices are finished.
        release: Release name: letters, digits, ``.``, ``-`` and ``_``, at most 64.
        out: Directory to write to, or None for the run's own ``bundles/``.
        devices: Names, or None for all of the profile.
        force: Replace bundles of the same name and other content.

    Returns:
        In the order of the profile.

    Raises:
        CheckpointError: A device is unknown, unfinished, or its files do not fit each other.
        DataError: The run's images are there and became others.
        BundleError: The release name is bad, or another bundle of this name is there.
        StorageError: A bundle cannot be written; those already written are whole.
    """
    return write_plans(plan_run(run, release, out, devices), force=force)


def _alone(plans: Sequence[Plan]) -> str:
    """How to write the bundles of new devices alone, if there are any."""
    new = [f"--device {plan.manifest.device}" for plan in plans if plan.state == "new"]
    return f"write those of new devices alone ({' '.join(new)}), " if new else ""


def write_plans(plans: Sequence[Plan], *, force: bool = False) -> list[BundleInfo]:
    """Carry out what :func:`plan_run` worked out; see :func:`package_run`."""
    different = [str(plan.info.path) for plan in plans if plan.state == "different"]
    if different and not force:
        raise BundleError(
            f"other bundles of this release are there already: {', '.join(different)}",
            hint=f"{_alone(plans)}give these another --release, or replace them with --force",
        )
    for plan in plans:
        if plan.state != "unchanged":
            model = plan.weights.read_bytes()
            write_bundle(plan.info.path, plan.manifest, model, mode=plan.mode)
    return [plan.info for plan in plans]


def plan_run(
    run: RunDirectory, release: str, out: Path | None = None, devices: Sequence[str] | None = None
) -> list[Plan]:
    """Work out what :func:`package_run` would write; same arguments and errors, writes nothing."""
    if not NAME.fullmatch(release):
        raise BundleError(
            f"release {release!r} is no release name",
            hint="use letters, digits, '.', '-' and '_', at most 64, for example 2026.11.1",
        )
    spec = read_family(run)
    selected = _select(spec, devices)
    unfinished = [device.name for device in selected if not run.finished(device.name)]
    if unfinished:
        raise CheckpointError(
            f"{run.name}: not finished: {', '.join(unfinished)}",
            hint="finish them with `fleet train`, or choose others with --device",
        )
    check_files(run, spec.data)
    directory = run.bundles if out is None else out
    return [_plan(run, spec, device, release, directory) for device in selected]


def _plan(
    run: RunDirectory, spec: FamilySpec, device: DeviceSpec, release: str, directory: Path
) -> Plan:
    weights = run.model(device.name)
    model = weights.read_bytes()
    manifest = describe_device(run, spec, device, release, model)
    try:
        data = bundle_bytes(manifest, model)
    except BundleError as error:
        raise type(error)(f"{device.name}: {error.message}", hint=error.hint) from error
    path = directory / manifest.file_name
    state: State = "new"
    if path.exists():
        same = path.is_file() and path.read_bytes() == data
        state = "unchanged" if same else "different"
    info = BundleInfo(path, hashlib.sha256(data).hexdigest(), len(data))
    return Plan(manifest, weights, info, state, 0o600 if device.drawn else 0o666)


def _select(spec: FamilySpec, devices: Sequence[str] | None) -> list[DeviceSpec]:
    known = [device.name for device in spec.devices]
    unknown = [name for name in devices or () if name not in known]
    if unknown:
        raise CheckpointError(
            f"no device {unknown[0]!r} in this run", hint=f"its devices are {', '.join(known)}"
        )
    return [device for device in spec.devices if devices is None or device.name in devices]
