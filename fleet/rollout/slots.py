"""Two slots for bundles, and which of them counts: an install never touches the model in use.

``state.json`` is replaced whole, and is the only file that says which slot counts. So at any power
cut a device has the old model or the new one. A new bundle is *pending* until ``commit``: it
runs, but after :data:`TRIES` starts without a commit the device goes back to the old one. The
sealed payload stays sealed in its slot; it is opened in memory only.

``floor.json`` holds what must never go back: the lowest counter that a committed release allows,
the latest time, and the newest version of the repository that was seen. It lies outside the TUF
cache, whose loss would otherwise open the door to old releases.

Tests cut the power before each step by which a device changes its flash (:class:`Disk`).
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from fleet.errors import DiskError, RollbackError, RolloutError


class Disk:
    """A real file system, one method for each step that can be the last one before a power cut."""

    def write(self, path: Path, data: bytes) -> None:
        """Write a file in place; after a cut it may be there in part, whole, or not at all."""
        path.write_bytes(data)

    def sync(self, path: Path) -> None:
        """Make a file's content, or a directory's names, survive a cut."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name, replacing what has it."""
        source.replace(target)

    def remove(self, path: Path) -> None:
        """Remove a file that may be there."""
        path.unlink(missing_ok=True)

    def replace(self, path: Path, data: bytes) -> None:
        """Give ``path`` new content, whole or not at all, durable when this returns.

        Raises:
            DiskError: The device cannot write; ``path`` is then as it was.
        """
        temporary = path.with_name(f".{path.name}.new")
        try:
            self.write(temporary, data)
            self.sync(temporary)
            self.rename(temporary, path)
            self.sync(path.parent)
        except OSError as error:
            raise disk_error(path, error) from error


def disk_error(path: Path, error: OSError) -> DiskError:
    """Turn an ``OSError`` met while writing on a device into a :class:`DiskError`."""
    return DiskError(
        f"cannot write {path}: {error.strerror or error}",
        hint="the device keeps its present model; free some space and run the command again",
    )


SlotName = Literal["a", "b"]
TRIES = 3
"""Starts of a pending model without a commit before the device goes back by itself."""


@dataclass(frozen=True)
class Installed:
    """A bundle in a slot.

    Attributes:
        slot: Which slot.
        release: Its release.
        counter: Its counter.
        sha256: Digest of the whole file.
        floor: Lowest counter that it allows once it is committed.
    """

    slot: SlotName
    release: str
    counter: int
    sha256: str
    floor: int = 0


@dataclass(frozen=True)
class State:
    """What a device runs.

    Attributes:
        active: The committed model, or None before the first commit.
        pending: A new model that runs on trial, or None.
        tries: How often the pending model was started.
        sequence: Number of state changes; reports carry it, so an old report cannot pass as new.
        error: Why the last install or trial failed, or None.
        failed: The release that it was of; None where none was reached, as without a network.
    """

    active: Installed | None = None
    pending: Installed | None = None
    tries: int = 0
    sequence: int = 0
    error: str | None = None
    failed: str | None = None

    @property
    def current(self) -> Installed | None:
        """The model that runs."""
        return self.pending or self.active


@dataclass(frozen=True)
class Floor:
    """What must never go back.

    Attributes:
        counter: Lowest counter that may be installed.
        clock: Latest time that was seen, seconds since 1970.
        version: Newest version of the repository that was seen.
    """

    counter: int = 0
    clock: int = 0
    version: int = 0


class Slots:
    """The slots of one device.

    Args:
        home: The device's directory; exists.
        disk: How to write.
    """

    def __init__(self, home: Path, disk: Disk | None = None) -> None:
        self.home, self._disk = home, disk or Disk()

    def file(self, slot: SlotName) -> Path:
        """Where a slot's bundle lies."""
        return self.home / f"slot-{slot}.fleet"

    def state(self) -> State:
        """Read which model counts.

        Raises:
            RolloutError: The state is damaged, which no power cut can do.
        """
        value = self._read("state.json")
        return State(
            _installed(value.get("active")),
            _installed(value.get("pending")),
            value.get("tries", 0),
            value.get("sequence", 0),
            value.get("error"),
            value.get("failed"),
        )

    def floor(self) -> Floor:
        """Read what must never go back."""
        value = self._read("floor.json")
        return Floor(value.get("counter", 0), value.get("clock", 0), value.get("version", 0))

    def raise_floor(self, *, counter: int = 0, clock: int = 0, version: int = 0) -> Floor:
        """Raise the floor; it never falls, and is written only if it rises."""
        old = self.floor()
        new = Floor(max(old.counter, counter), max(old.clock, clock), max(old.version, version))
        if new != old:
            self._write("floor.json", asdict(new))
        return new

    def now(self, clock: datetime) -> datetime:
        """The device's clock, or the latest time seen if the clock says less.

        Args:
            clock: What the machine's clock says, in UTC.
        """
        return max(clock, datetime.fromtimestamp(self.floor().clock, UTC))

    def put(self, data: bytes, release: str, counter: int, floor: int = 0) -> State:
        """Write a verified bundle into the slot that is not in use, and start its trial.

        Args:
            data: The whole file, checked already.
            release: Its release.
            counter: Its counter.
            floor: Lowest counter that it allows once it is committed.

        Returns:
            The new state, with the bundle pending.

        Raises:
            RollbackError: The counter is below the floor.
            DiskError: The device cannot write; it runs what it ran.
        """
        lowest = self.floor().counter
        if counter < lowest:
            raise RollbackError(
                f"release {release} has counter {counter}; this device takes {lowest} or more",
                hint="it is older than what was committed here; publish it under a higher counter",
            )
        state = self.state()
        if state.pending is not None:  # an install replaces a trial; the committed model stays
            state = self._change(state, pending=None, tries=0)
        slot: SlotName = "b" if state.active is not None and state.active.slot == "a" else "a"
        path = self.file(slot)
        self._disk.replace(path, data)
        digest = hashlib.sha256(data).hexdigest()
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise RolloutError(
                f"{path} does not read back as it was written", hint="check the disk"
            )
        installed = Installed(slot, release, counter, digest, min(floor, counter))
        return self._change(state, pending=installed, tries=0, error=None, failed=None)

    def start(self) -> tuple[State, Path | None]:
        """Count one start, and say which bundle to run.

        A pending model that was started :data:`TRIES` times and never committed is given up.

        Returns:
            The state after this start, and the bundle's file; None if there is none.
        """
        state = self.state()
        if state.pending is not None and state.tries >= TRIES:
            state = self.rollback(f"started {TRIES} times without a commit")
        elif state.pending is not None:
            state = self._change(state, tries=state.tries + 1)
        current = state.current
        return state, None if current is None else self.file(current.slot)

    def commit(self) -> State:
        """Make the pending model the one that counts, and raise the floor to what it allows.

        Doing it again does nothing more, so a power cut between the two steps is mended by a retry.

        Raises:
            DiskError: The device cannot write; the trial goes on.
        """
        state = self.state()
        if state.pending is not None:
            state = self._change(
                state, active=state.pending, pending=None, tries=0, error=None, failed=None
            )
        if state.active is not None:
            self.raise_floor(counter=state.active.floor)
        return state

    def rollback(self, reason: str) -> State:
        """Give the pending model up; does nothing if there is none.

        Args:
            reason: Kept in the state, and reported.

        Raises:
            DiskError: The device cannot write; the trial goes on.
        """
        state = self.state()
        if state.pending is None:
            return state
        release = state.pending.release
        return self._change(state, pending=None, tries=0, error=reason, failed=release)

    def failed(self, reason: str | None, release: str | None) -> State:
        """Record why an install failed, and of which release, for the next report; None forgets."""
        return self._change(self.state(), error=reason, failed=release)

    def _change(self, state: State, **changes: Any) -> State:
        new = replace(state, sequence=state.sequence + 1, **changes)
        self._write("state.json", asdict(new))
        return new

    def _write(self, name: str, value: dict[str, Any]) -> None:
        text = json.dumps(value, sort_keys=True)
        self._disk.replace(self.home / name, text.encode("utf-8"))

    def _read(self, name: str) -> dict[str, Any]:
        path = self.home / name
        try:
            value = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise RolloutError(f"cannot read {path}: {error}", hint="install again") from error
        if not isinstance(value, dict):
            raise RolloutError(f"{path} is not a JSON object", hint="install again")
        return value


def _installed(value: Any) -> Installed | None:
    return None if value is None else Installed(**value)
