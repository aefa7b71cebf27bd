"""The project's documents, and a place in which their commands run quickly on real digits."""

from __future__ import annotations

import gzip
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from PIL import Image

TRAIN, TEST = 2000, 8
"""Images of the small MNIST, 500 of which are for validation."""

RunLine = Callable[[str], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def place(
    project: Path, tmp_path_factory: pytest.TempPathFactory, cut_mnist: Callable[..., None]
) -> Path:
    """A directory like the root of the project, with the first images of MNIST only.

    ``photo.png`` is a digit.
    """
    place = tmp_path_factory.mktemp("place")
    shutil.copytree(project / "profiles", place / "profiles")
    shutil.copytree(project / "results/paper-demo", place / "results/paper-demo")
    raw = place / "examples" / "data" / "MNIST" / "raw"
    cut_mnist(place / "examples" / "data", TRAIN, TEST)
    pixels = gzip.decompress((raw / "t10k-images-idx3-ubyte.gz").read_bytes())[16 : 16 + 28 * 28]
    Image.frombytes("L", (28, 28), pixels).save(place / "photo.png")
    return place


@pytest.fixture(scope="session")
def run_line(
    place: Path,
    call_fleet: Callable[..., subprocess.CompletedProcess[str]],
    one_core: Callable[..., AbstractContextManager[None]],
    light_probes: Callable[..., AbstractContextManager[None]],
) -> RunLine:
    """Run one line in ``place`` as a shell does in which the environment is active.

    A lone command of fleet runs in this process, which has imported torch already.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

    def run(line: str) -> subprocess.CompletedProcess[str]:
        words = shlex.split(line.removeprefix("python -m "))
        with one_core(), light_probes():
            if words[0] == "fleet" and not {"&&", "|", ";", ">"} & set(words):
                done = call_fleet(*words[1:], cwd=place)
                done.stdout += done.stderr
                return done
            return subprocess.run(
                ["bash", "-c", line],
                cwd=place,
                env={**os.environ, "PATH": path},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                timeout=240,
                check=False,
            )

    return run
