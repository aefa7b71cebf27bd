"""Cut the power before every step that changes a device's disk: the old model or the new one.

The steps are counted first, then the same operation is repeated and cut at each of them, with what
was not synced lost in two ways: never written, or written in part. After a restart the device has
to run a whole model, and the plain retry has to succeed.
"""

from __future__ import annotations

import errno
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.bundle import read_bundle
from fleet.errors import DiskError, FleetError
from fleet.rollout import device as device_side
from fleet.rollout.device import Device, open_device
from fleet.rollout.slots import Disk
from unit.rollout.conftest import NOW, Workshop, make_workshop

RANDOM_RUNS = 200


class PowerCutError(BaseException):
    """Not an ``Exception``: nothing in the product may catch it."""


class FaultyDisk(Disk):
    """Counts the steps, and loses power before one of them; no real disk is waited for.

    Attributes:
        cut: Step before which the power goes; None never.
        torn: What the disk keeps of files that were written and not synced: ``nothing`` or a
            ``part``.
    """

    def __init__(self, cut: int | None = None, torn: str = "nothing") -> None:
        self.steps, self.cut, self.torn = 0, cut, torn
        self._unsynced: set[Path] = set()

    def _step(self) -> None:
        if self.steps == self.cut:
            for path in self._unsynced:
                if path.exists():
                    data = path.read_bytes()
                    path.write_bytes(data[: len(data) // 2] if self.torn == "part" else b"")
            raise PowerCutError
        self.steps += 1

    def write(self, path: Path, data: bytes) -> None:
        self._step()
        super().write(path, data)
        self._unsynced.add(path)

    def sync(self, path: Path) -> None:
        self._step()
        self._unsynced.discard(path)

    def rename(self, source: Path, target: Path) -> None:
        self._step()
        super().rename(source, target)
        if source in self._unsynced:
            self._unsynced.discard(source)
            self._unsynced.add(target)

    def remove(self, path: Path) -> None:
        self._step()
        super().remove(path)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A device that has committed r1, with r2 waiting in the repository."""
    workshop = make_workshop(tmp_path_factory.mktemp("power"), "cam-01")
    workshop.roll_out("r1", 1)
    workshop.install("cam-01")
    device_side.commit(workshop.device("cam-01"))
    workshop.roll_out("r2", 2, floor=2)
    shutil.copytree(workshop.home("cam-01"), workshop.root / "committed")
    workshop.install("cam-01")
    shutil.copytree(workshop.home("cam-01"), workshop.root / "trial")
    return workshop


Operation = Callable[[Workshop, Device], object]
OPERATIONS: dict[str, tuple[str, Operation, str]] = {
    "install": (
        "committed",
        lambda w, device: device_side.install(device, w.url, clock=NOW),
        "r2",
    ),
    "commit": ("trial", lambda w, device: device_side.commit(device), "r2"),
    "rollback": ("trial", lambda w, device: device.slots.rollback("cut"), "r1"),
    "start": ("trial", lambda w, device: device.slots.start(), "r2"),
}


def fresh(workshop: Workshop, state: str) -> Path:
    home = workshop.root / "scratch"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(workshop.root / state, home)
    return home


def run(workshop: Workshop, home: Path, operation: Operation, disk: Disk) -> bool:
    """Whether the operation ended; False if the power went."""
    try:
        operation(workshop, open_device(home, disk=disk))
    except PowerCutError:
        return False
    return True


def check_whole(home: Path) -> str:
    """The release that a restarted device runs; its bundle must open."""
    device = open_device(home)
    current = device.slots.state().current
    assert current is not None
    bundle = read_bundle(device.slots.file(current.slot), key=device.identity.seal_key)
    assert bundle.manifest.release == current.release
    return current.release


@pytest.mark.parametrize("torn", ["nothing", "part"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_cut_at_every_step_leaves_the_old_model_or_the_new_one(
    prepared: Workshop, name: str, torn: str
) -> None:
    state, operation, wanted = OPERATIONS[name]
    counter = FaultyDisk()
    assert run(prepared, fresh(prepared, state), operation, counter)
    assert counter.steps >= 4
    for cut in range(counter.steps):
        home = fresh(prepared, state)
        assert not run(prepared, home, operation, FaultyDisk(cut, torn))
        assert check_whole(home) in {"r1", "r2"}
        operation(prepared, open_device(home))
        assert check_whole(home) == wanted
        if name == "commit":
            assert open_device(home).slots.floor().counter == 2


@pytest.mark.parametrize("name", ["install", "commit"])
def test_two_cuts_in_a_row(prepared: Workshop, name: str) -> None:
    state, operation, wanted = OPERATIONS[name]
    counter = FaultyDisk()
    run(prepared, fresh(prepared, state), operation, counter)
    for first in range(counter.steps):
        for second in range(0, counter.steps, 2):
            home = fresh(prepared, state)
            run(prepared, home, operation, FaultyDisk(first, "part"))
            run(prepared, home, operation, FaultyDisk(second, "nothing"))
            assert check_whole(home) in {"r1", "r2"}
            operation(prepared, open_device(home, disk=FaultyDisk()))
            assert check_whole(home) == wanted


def test_a_cut_that_tears_the_metadata_cache_costs_a_download_at_most(prepared: Workshop) -> None:
    """The TUF client does not sync its cache; whatever a cut leaves of it, a retry installs."""
    _, operation, _ = OPERATIONS["install"]
    names = [p.relative_to(prepared.root / "committed") for p in _cache(prepared)]
    assert len(names) >= 4
    for damage in (b"", b"{", None):
        for name in names:
            home = fresh(prepared, "committed")
            path = home / name
            path.unlink()
            if damage is not None:
                path.write_bytes(damage)
            operation(prepared, open_device(home))
            assert check_whole(home) == "r2"


def _cache(workshop: Workshop) -> list[Path]:
    cache = workshop.root / "committed" / "tuf"
    return [path for path in sorted(cache.rglob("*.json")) if not path.is_symlink()]


class FlakyDisk(Disk):
    """Every step may fail with an error of the device; no real disk is waited for."""

    def __init__(self, seed: int, chance: float) -> None:
        self._random, self._chance = random.Random(seed), chance

    def _step(self) -> None:
        if self._random.random() < self._chance:
            code = self._random.choice([errno.EIO, errno.ENOSPC, errno.EROFS])
            raise OSError(code, "the disk failed")

    def write(self, path: Path, data: bytes) -> None:
        self._step()
        super().write(path, data)

    def sync(self, path: Path) -> None:
        self._step()

    def rename(self, source: Path, target: Path) -> None:
        self._step()
        super().rename(source, target)


def test_two_hundred_runs_with_random_disk_errors_then_a_clean_retry(prepared: Workshop) -> None:
    _, operation, _ = OPERATIONS["install"]
    failed = 0
    for seed in range(RANDOM_RUNS):
        home = fresh(prepared, "committed")
        try:
            operation(prepared, open_device(home, disk=FlakyDisk(seed, 0.1)))
        except DiskError:
            failed += 1
        assert check_whole(home) in {"r1", "r2"}
        operation(prepared, open_device(home, disk=FaultyDisk()))
        assert check_whole(home) == "r2"
    assert RANDOM_RUNS / 10 < failed < RANDOM_RUNS


def test_a_full_disk_keeps_the_old_model_running(small_disk: Path, tmp_path: Path) -> None:
    """A real file system of one MiB, too small for the new bundle."""
    workshop = make_workshop(tmp_path, "cam-01")
    workshop.roll_out("r1", 1)
    workshop.install("cam-01")
    device_side.commit(workshop.device("cam-01"))
    home = small_disk / "home"
    shutil.copytree(workshop.home("cam-01"), home)
    workshop.roll_out("r2", 2, card=b"x" * 900_000)
    with pytest.raises(FleetError, match="cannot write"):
        device_side.install(open_device(home), workshop.url, clock=NOW)
    assert check_whole(home) == "r1"
    (home / "download.part").unlink(missing_ok=True)
    workshop.roll_out("r3", 3)
    device_side.install(open_device(home), workshop.url, clock=NOW)
    assert check_whole(home) == "r3"
