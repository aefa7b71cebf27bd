"""What several test packages share: small real data, a small real disk, the command line."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pytest

# Two OpenMP threads beside other load are several times slower than one. Set before torch is
# imported, and inherited by every process that a test starts.
os.environ["OMP_NUM_THREADS"] = "1"

PROJECT = Path(__file__).resolve().parents[1]


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
