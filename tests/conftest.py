"""What several test packages share: small real data, a small real disk, the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Two OpenMP threads beside other load are several times slower than one. Set before torch is
# imported, and inherited by every process that a test starts.
os.environ["OMP_NUM_THREADS"] = "1"

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def project() -> Path:
    """Root of the source tree."""
    return PROJECT


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """The copy of MNIST that comes with the project."""
    return PROJECT / "examples" / "data"


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
