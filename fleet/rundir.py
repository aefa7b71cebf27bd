"""Every file name of a run, in one class.

A run directory holds all that one ``fleet train`` made and all that was derived from it::

    runs/20261122-213100-demo/
      started.json            when the training began; decides which run is the newest
      profile.resolved.json   every default filled in; what a resumed training must match
      environment.json        versions, machine, command line
      dataset.json            name, digest and sizes of the data
      devices/NAME/
        checkpoint.safetensors  weights and optimiser state after the last finished epoch
        model.safetensors       final weights; present only when the device is finished
        metrics.jsonl           one JSON line for each finished epoch
        result.json             status and figures
      audits/                 report.html, drawn from all audits
      audits/KIND/            audit.json, tables, figures and what a killed audit goes on from
      bundles/                NAME-RELEASE.fleet
      rotations/NAME-GENERATION/  burnt weights of a device that was re-keyed, and the proof
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fleet.errors import CheckpointError
from fleet.files import read_json, write_json

PROFILE_FILE = "profile.resolved.json"
AUDIT_FILE = "audit.json"
_STAMP = "%Y%m%d-%H%M%S"


@dataclass(frozen=True)
class RunDirectory:
    """Paths inside one run; creates nothing by itself."""

    root: Path

    @property
    def name(self) -> str:
        """Last part of the path, for messages."""
        return self.root.name

    @property
    def profile(self) -> Path:
        """The resolved profile."""
        return self.root / PROFILE_FILE

    @property
    def started(self) -> Path:
        """When the training began."""
        return self.root / "started.json"

    @property
    def environment(self) -> Path:
        """Versions, machine and command line of the training."""
        return self.root / "environment.json"

    @property
    def dataset(self) -> Path:
        """Provenance of the data."""
        return self.root / "dataset.json"

    @property
    def bundles(self) -> Path:
        """Directory of the packaged bundles."""
        return self.root / "bundles"

    @property
    def rotations(self) -> Path:
        """Directory of the rotations of devices."""
        return self.root / "rotations"

    def checkpoint(self, device: str) -> Path:
        """State after the last finished epoch, from which a training resumes."""
        return self.root / "devices" / device / "checkpoint.safetensors"

    def epoch_start(self, device: str) -> Path:
        """State at the start of the epoch, for a training method that may roll one back."""
        return self.root / "devices" / device / "epoch.safetensors"

    def model(self, device: str) -> Path:
        """Final weights."""
        return self.root / "devices" / device / "model.safetensors"

    def metrics(self, device: str) -> Path:
        """One JSON line for each finished epoch."""
        return self.root / "devices" / device / "metrics.jsonl"

    def result(self, device: str) -> Path:
        """Status and final figures of one device."""
        return self.root / "devices" / device / "result.json"

    @property
    def audits(self) -> Path:
        """Directory of all audits and of their common report."""
        return self.root / "audits"

    def audit(self, kind: str) -> Path:
        """Directory of one kind of audit, for example ``transfer``."""
        return self.audits / kind

    def audit_file(self, kind: str) -> Path:
        """Result of one kind of audit."""
        return self.audit(kind) / AUDIT_FILE

    def finished(self, device: str) -> bool:
        """Whether a device is trained: its result says so, and its weights are there.

        Raises:
            CheckpointError: The result is damaged.
        """
        if not (self.result(device).is_file() and self.model(device).is_file()):
            return False
        return bool(read_json(self.result(device)).get("status") == "complete")


def new_run(parent: Path, name: str, *, now: datetime | None = None) -> RunDirectory:
    """Name a new run directory under ``parent``; nothing is created.

    Args:
        parent: Usually ``runs/``.
        name: The profile's name; characters other than letters, digits, ``-`` and ``_`` become
            ``-``.
        now: Time to use; the present by default.

    Returns:
        A directory ``<UTC time>-<name>`` that does not exist yet.
    """
    stamp = (now or datetime.now(UTC)).strftime(_STAMP)
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "run"
    candidate = parent / f"{stamp}-{slug}"
    number = 2
    while candidate.exists():
        candidate = parent / f"{stamp}-{slug}-{number}"
        number += 1
    return RunDirectory(candidate)


def record_start(run: RunDirectory, *, now: datetime | None = None) -> None:
    """Record that the training of ``run`` begins; later than that of every run beside it.

    Args:
        run: A directory that is no run yet.
        now: Time to use; the present by default. If a run beside this one is of a later time,
            because a clock ran ahead, the record is one microsecond after that.

    Raises:
        StorageError: The record cannot be written.
    """
    moments = [run_start(other) + timedelta(microseconds=1) for other in list_runs(run.root.parent)]
    moment = max([now or datetime.now(UTC), *moments])
    write_json(run.started, {"started": moment.isoformat(timespec="microseconds")})


def list_runs(parent: Path) -> list[RunDirectory]:
    """Runs under ``parent`` in the order in which they were begun, whatever their names."""
    try:
        found = [RunDirectory(path) for path in parent.iterdir()]
    except OSError:
        return []
    return sorted(filter(_begun, found), key=lambda run: (run_start(run), _natural(run.name)))


def _begun(run: RunDirectory) -> bool:
    """Whether a directory is a run; one that may not be read is none."""
    try:
        return run.profile.is_file()
    except OSError:
        return False


def run_start(run: RunDirectory) -> datetime:
    """When a run began, in UTC: as recorded, else the time in its name, else its profile's."""
    try:
        recorded = json.loads(run.started.read_bytes())["started"]
        return datetime.fromisoformat(recorded).astimezone(UTC)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        pass
    try:
        return datetime.strptime(run.name[:15], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(run.profile.stat().st_mtime, UTC)


def _natural(name: str) -> list[tuple[str, int]]:
    """Sort key by which ``a-9`` comes before ``a-10``."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r"([^0-9]*)([0-9]*)", name)]


RunLike = RunDirectory | Path | str
"""A run: opened, or where it lies."""


def open_run(run: RunLike | None = None, runs: Path | str = "runs") -> RunDirectory:
    """Open a run.

    Args:
        run: A run directory, the bare name of one under ``runs``, or None for the newest.
        runs: Where runs are kept.

    Raises:
        CheckpointError: There is no such run; the message lists those that exist.
    """
    if isinstance(run, RunDirectory):
        run = run.root
    return find_run(None if run is None else Path(run), Path(runs))


def find_run(run: Path | None, parent: Path = Path("runs")) -> RunDirectory:
    """Find the run that a command should work on.

    Args:
        run: A run directory, the bare name of one under ``parent``, or None for the newest.
        parent: Where runs are kept.

    Raises:
        CheckpointError: There is no such run; the message lists those that exist.
    """
    if run is not None:
        for candidate in (run, parent / run):
            if (candidate / PROFILE_FILE).is_file():
                return RunDirectory(candidate)
        known = ", ".join(found.name for found in list_runs(parent)[-5:]) or "none"
        raise CheckpointError(
            f"no run at {run}", hint=f"runs under {parent}/: {known}; `fleet train` makes one"
        )
    runs = list_runs(parent)
    if not runs:
        raise CheckpointError(
            f"no runs under {parent}/",
            hint="`fleet demo` makes one; of your own images, `fleet profiles new` begins one",
        )
    return runs[-1]
