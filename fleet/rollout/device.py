"""The device's side: install on trial, commit, go back, run, report.

An install never touches the model in use, and nothing that it fetched is believed before its
signature, its name and its self-test hold. Each function does the whole step; a power cut at any
point leaves the old model or the new one, and doing it again finishes it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load

from fleet import errors
from fleet.bundle import Bundle, Envelope, read_bundle
from fleet.files import locked, make_directory, write_bytes
from fleet.rollout.keys import Identity, load_identity, make_identity
from fleet.rollout.poll import Offer, download, poll
from fleet.rollout.reports import make_report
from fleet.rollout.requirements import Requirement
from fleet.rollout.slots import Disk, Installed, Slots, State
from fleet.runtime import DeviceClassifier, load_engine

TOLERANCE = 1e-3
"""How far an output may be from the one that was recorded when the bundle was packaged."""


@dataclass(frozen=True)
class Device:
    """One device; make one with :func:`open_device`.

    Attributes:
        home: Its directory.
        identity: Its keys.
        slots: Its models.
    """

    home: Path
    identity: Identity
    slots: Slots


def init_device(home: Path, name: str, trust: Path | None = None) -> Identity:
    """Make a device's keys, and let it trust a repository.

    Args:
        home: The device's directory; created with mode 0700.
        name: Device name, as in the profile.
        trust: The operator's ``root.json``; can be given later by copying it to
            ``HOME/trust/root.json``.

    Raises:
        RolloutError: The device has an identity already, or the root cannot be read.
    """
    root = None
    if trust is not None:
        try:
            root = trust.read_bytes()
        except OSError as error:
            raise errors.RolloutError(
                f"cannot read {trust}: {error.strerror}",
                hint="`fleet keys init` writes it as DEPOT/root.json",
            ) from error
    identity = make_identity(home, name)
    make_directory(home / "trust")
    if root is not None:
        write_bytes(home / "trust" / "root.json", root)
    return identity


def open_device(home: Path, *, disk: Disk | None = None) -> Device:
    """Load a device's keys and slots.

    Raises:
        RolloutError: There is no device in ``home``, or its keys are damaged.
    """
    return Device(home, load_identity(home), Slots(home, disk))


def install(
    device: Device,
    url: str,
    *,
    clock: datetime | None = None,
    require: tuple[Requirement, ...] = (),
) -> State | None:
    """Fetch this device's newest bundle, test it, and start its trial.

    Args:
        device: The device.
        url: Address of the repository: ``http``, ``https``, or ``file`` for a stick.
        clock: What the machine's clock says, in UTC; now by default.
        require: What the bundle's certificate and audit have to say.

    Returns:
        The new state, or None if this very bundle is installed already.

    Raises:
        RolloutError: Its subclass says what is wrong; the device runs what it ran, and keeps the
            reason for its next report.
    """
    now, offer = clock or datetime.now(UTC), None
    with _alone(device):
        try:
            offer = poll(device.home, device.identity.enrolment.id, url, device.slots, now)
            return _install(device, offer, require)
        except errors.FleetError as error:
            _remember(device, error, None if offer is None else offer.release)
            raise


def commit(device: Device) -> State:
    """Test the model on trial once more, and make it the one that counts.

    Raises:
        SelfTestError: It fails its test; the device went back to the committed model.
        RolloutError: Nothing is on trial and nothing was ever committed.
    """
    with _alone(device):
        state = device.slots.state()
        if state.current is None:
            raise errors.RolloutError("nothing is installed here", hint="`fleet install` first")
        if state.pending is not None:
            try:
                check_answers(open_installed(device, state.pending))
            except (errors.SelfTestError, errors.BundleError) as error:
                device.slots.rollback(error.message)
                raise errors.SelfTestError(
                    f"{error.message}; the device went back", hint=error.hint
                ) from error
        return device.slots.commit()


def rollback(device: Device) -> State:
    """Give the model on trial up, and run the committed one.

    Raises:
        RolloutError: Nothing is on trial.
    """
    with _alone(device):
        if device.slots.state().pending is None:
            raise errors.RolloutError(
                "nothing is on trial here",
                hint="a committed release is taken back by the operator: `fleet rollout rollback`",
            )
        return device.slots.rollback("asked for")


def start(device: Device) -> DeviceClassifier:
    """Open the model to run; counts a start while it is on trial.

    Raises:
        RolloutError: Nothing is installed.
        BundleError: The slot is damaged, or sealed to another device.
        BackendError: No engine can run it here.
    """
    with _alone(device):
        state, _ = device.slots.start()
    if state.current is None:
        raise errors.RolloutError("nothing is installed here", hint="`fleet install` first")
    bundle = open_installed(device, state.current)
    return DeviceClassifier(bundle.manifest, load_engine("auto", bundle))


def report(device: Device, clock: datetime | None = None) -> dict[str, Any]:
    """Describe this device, signed; a JSON object for the operator."""
    return make_report(device.identity, device.slots.state(), clock or datetime.now(UTC))


def open_installed(device: Device, installed: Installed) -> Bundle:
    """Read a slot and open its payload in memory.

    Raises:
        BundleError: The slot is damaged, or sealed to another device.
    """
    return read_bundle(device.slots.file(installed.slot), key=device.identity.seal_key)


def check_answers(bundle: Bundle) -> int:
    """Compare what a model answers here with what it answered when it was packaged.

    Args:
        bundle: An opened bundle.

    Returns:
        Number of images compared; 0 if the bundle carries no test.

    Raises:
        SelfTestError: An output is off by more than :data:`TOLERANCE`, or a class differs.
        BackendError: No engine can run it here.
    """
    if bundle.self_test is None:
        return 0
    try:
        test = load(bundle.self_test)
        images, outputs, labels = (test[name] for name in ("images", "outputs", "labels"))
    except Exception as error:
        raise errors.SelfTestError(f"the bundle's self-test is damaged: {error}") from error
    found = load_engine("auto", bundle).outputs(images.astype(np.float32) / np.float32(255))
    encoding = bundle.manifest.encoding
    decoded = found.argmax(axis=1) if encoding is None else encoding.decode_array(found)
    off = float(np.abs(found - outputs).max(initial=0.0))
    wrong = int((decoded != labels).sum())
    if not off <= TOLERANCE or wrong:  # a NaN is not <= anything
        raise errors.SelfTestError(
            f"the model answers {wrong} of {len(labels)} test images otherwise than when it was "
            f"packaged, and its outputs differ by up to {off:.2g}",
            hint="this engine, or this machine, computes it wrongly; report it",
        )
    return len(labels)


def _install(device: Device, offer: Offer, require: tuple[Requirement, ...]) -> State | None:
    state = device.slots.state()
    if state.current is not None and state.current.sha256 == offer.sha256:
        if state.error is not None and state.failed is None:
            device.slots.failed(None, None)  # the network is back
        return None
    partial = device.home / "download.part"
    data = download(offer, partial)
    bundle = _open_download(device, partial, offer)
    for requirement in require:
        requirement.check(_envelope(bundle))
    check_answers(bundle)
    state = device.slots.put(data, offer.release, offer.counter, _envelope(bundle).floor)
    partial.unlink(missing_ok=True)
    return state


def _open_download(device: Device, partial: Path, offer: Offer) -> Bundle:
    """Read a download whose signature holds, and compare its names with the signed ones."""
    try:
        bundle = read_bundle(partial, key=device.identity.seal_key)
        envelope = _envelope(bundle)
        name = device.identity.enrolment.name
        if envelope.device != name:
            raise errors.WrongDeviceError(
                f"the bundle is for {envelope.device!r}; this is {name!r}",
                hint="the operator published one device's bundle for another",
            )
        if (envelope.release, envelope.counter) != (offer.release, offer.counter):
            raise errors.SignatureError(
                f"the bundle is release {envelope.release}, counter {envelope.counter}; the "
                f"repository signed {offer.release}, {offer.counter}",
                hint="the operator publishes it again",
            )
    except errors.BundleError as error:
        partial.unlink(missing_ok=True)
        raise errors.WrongDeviceError(
            f"the bundle cannot be opened here: {error.message}", hint=error.hint
        ) from error
    except errors.RolloutError:
        partial.unlink(missing_ok=True)
        raise
    return bundle


def _envelope(bundle: Bundle) -> Envelope:
    if bundle.envelope is None:
        raise errors.SignatureError(
            "the bundle is of format version 1, which no device installs",
            hint="`fleet package --depot DEPOT` writes version 2",
        )
    return bundle.envelope


def _remember(device: Device, error: errors.FleetError, release: str | None) -> None:
    """Keep the reason for the next report; a device that cannot write keeps quiet."""
    try:
        device.slots.failed(f"{type(error).__name__}: {error.message}", release)
    except (errors.FleetError, OSError):
        return


@contextmanager
def _alone(device: Device) -> Iterator[None]:
    with locked(device.home, "fleet command"):
        yield
