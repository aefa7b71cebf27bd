"""What several test packages share: small real data, a small real disk, the command line."""

from __future__ import annotations

import fcntl
import gc
import gzip
import io
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import (
    AbstractContextManager,
    chdir,
    contextmanager,
    redirect_stderr,
    redirect_stdout,
)
from pathlib import Path
from unittest.mock import patch

import pytest

# Two OpenMP threads beside other load are several times slower than one. Set before torch is
# imported, and inherited by every process that a test starts.
os.environ["OMP_NUM_THREADS"] = "1"

PROJECT = Path(__file__).resolve().parents[1]


# Those that take longest, the longest first: at the end they would leave one worker alone, and two
# that wait for the same fixture would wait together.
FIRST = (
    "unit/audit/test_run.py",
    "docs/test_examples.py",
    "integration/test_audit_resume.py",
    "unit/reports/test_legible.py",
    "docs/test_readme.py",
    "integration/test_main_path.py",
    "integration/test_wheel.py",
    "unit/execution/test_jobs.py",
    "integration/test_ray.py",
    "integration/test_certified_family.py",
    "unit/audit/test_query_run.py",
    "integration/test_growing_fleet.py",
    "unit/reports/test_large.py",
    "integration/test_errors.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Hand out the long modules first."""
    tests = PROJECT / "tests"
    rank = {tests / name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


def pytest_collection_finish() -> None:
    """Spare the garbage collector what lives to the end: torch, and thousands of tests."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the tests."""
    parser.addoption(
        "--update-goldens", action="store_true", help="write tests/goldens/ anew from this code"
    )


@pytest.fixture(scope="session")
def project() -> Path:
    """Root of the source tree."""
    return PROJECT


@pytest.fixture(scope="session")
def whole_mnist() -> Path:
    """The copy of MNIST that comes with the project."""
    return PROJECT / "examples" / "data"


CutMnist = Callable[[Path, int, int], None]


@pytest.fixture(scope="session")
def cut_mnist(whole_mnist: Path) -> CutMnist:
    """``cut_mnist(root, train, test)``: write an MNIST of so many first images."""

    def cut(root: Path, train: int, test: int) -> None:
        source, raw = (place / "MNIST" / "raw" for place in (whole_mnist, root))
        raw.mkdir(parents=True)
        for part, count in (("train", train), ("t10k", test)):
            for kind, header, size in (("images-idx3", 16, 28 * 28), ("labels-idx1", 8, 1)):
                name = f"{part}-{kind}-ubyte.gz"
                with gzip.open(source / name) as stream:
                    content = stream.read(header + count * size)
                shortened = content[:4] + struct.pack(">I", count) + content[8:]
                (raw / name).write_bytes(gzip.compress(shortened, 1))

    return cut


Make = Callable[[Path], object]
Once = Callable[[str, Make, Path], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """``once(name, make, place)``: fill ``place`` with a copy of what ``make(directory)`` writes.

    It is made once a test run, by the first worker that needs it; the others wait for it.
    """
    place = tmp_path_factory.getbasetemp()
    shared = place.parent if "PYTEST_XDIST_WORKER" in os.environ else place

    def once(name: str, make: Make, place: Path) -> Path:
        made, half = shared / f"once-{name}", shared / f"half-{name}"
        with (shared / f"lock-{name}").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                half.mkdir()
                make(half)
                half.rename(made)
        return Path(shutil.copytree(made, place, symlinks=True, dirs_exist_ok=True))

    return once


@pytest.fixture(scope="session")
def mnist_root(tmp_path_factory: pytest.TempPathFactory, once: Once, cut_mnist: CutMnist) -> Path:
    """The first images of MNIST: 6,000 to train on and 1,000 to test.

    To read and to score all of them would take most of the time of a small training.
    """
    root = tmp_path_factory.mktemp("mnist")
    return once("mnist", lambda place: cut_mnist(place, 6000, 1000), root)


@pytest.fixture(scope="session")
def light_probes() -> Callable[..., AbstractContextManager[None]]:
    """``with light_probes():``, audits try again but little on images that withstood.

    For tests of other things: 200 queries for each image take most of the time of a small audit.
    """
    from fleet.audit.core import probes

    light = {"QUERIES": 20, "EXAMINED": 4, "DRAWS": 4}
    whole = {name: getattr(probes, name) for name in light}

    @contextmanager
    def lightly(lightly: bool = True) -> Iterator[None]:
        with patch.multiple(probes, **(light if lightly else whole)):
            yield

    return lightly


@contextmanager
def _pinned() -> Iterator[None]:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@pytest.fixture(scope="session")
def one_core() -> Callable[[], AbstractContextManager[None]]:
    """``with one_core():``, commands hire no worker processes, which would each import torch."""
    return _pinned


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB; skipped where this user may not mount one."""
    point = tmp_path / "disk"
    point.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(point)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system needs the right to mount a tmpfs")
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


RunFleet = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def run_fleet() -> RunFleet:
    """Run ``python -m fleet ...`` as a user does: a process of its own, its real exit code."""

    def run(
        *arguments: str | Path | float, cwd: Path | None = None, timeout: float = 240, **env: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "fleet", *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def call_fleet() -> RunFleet:
    """Run ``fleet ...`` in this process: the same result without seconds of importing torch.

    For what a process of its own would not do otherwise; ``run_fleet`` is the real thing.
    """
    from fleet.cli.app import main

    def call(
        *arguments: str | Path | float, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        words = ["fleet", *map(str, arguments)]
        stdout, stderr = io.StringIO(), io.StringIO()
        with (
            patch.object(sys, "argv", words),
            redirect_stdout(stdout),
            redirect_stderr(stderr),
            chdir(cwd or Path.cwd()),
            pytest.raises(SystemExit) as done,
        ):
            main()
        code = done.value.code or 0
        assert isinstance(code, int)
        return subprocess.CompletedProcess(words, code, stdout.getvalue(), stderr.getvalue())

    return call
