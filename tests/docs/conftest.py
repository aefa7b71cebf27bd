"""The project's documents, and a place in which their commands run quickly on real digits."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

TRAIN, TEST = 9000, 8
"""Images of the small MNIST; 5,000 of the first are cut off for validation. With fewer to train on,
images withstand the attacks, and the audits spend half of their time on trying these again."""

RunLine = Callable[[str], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def place(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory like the root of the project, with the first images of MNIST only.

    ``photo.png`` is a digit.
    """
    place = tmp_path_factory.mktemp("place")
    shutil.copytree(project / "profiles", place / "profiles")
    shutil.copytree(project / "results/paper-demo", place / "results/paper-demo")
    source, raw = (root / "examples" / "data" / "MNIST" / "raw" for root in (project, place))
    raw.mkdir(parents=True)
    for part, count in (("train", TRAIN), ("t10k", TEST)):
        for kind, header, size in (("images-idx3", 16, 28 * 28), ("labels-idx1", 8, 1)):
            name = f"{part}-{kind}-ubyte.gz"
            content = gzip.decompress((source / name).read_bytes())[: header + count * size]
            shortened = content[:4] + struct.pack(">I", count) + content[8:]
            (raw / name).write_bytes(gzip.compress(shortened, 1))
    pixels = gzip.decompress((raw / "t10k-images-idx3-ubyte.gz").read_bytes())[16 : 16 + 28 * 28]
    Image.frombytes("L", (28, 28), pixels).save(place / "photo.png")
    return place


@pytest.fixture(scope="session")
def run_line(place: Path) -> RunLine:
    """Run one line in ``place`` as a shell does in which the environment is active.

    On one core, so that commands work in their own process: most of the time of so short a
    training would go into importing torch in worker processes.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    core = max(os.sched_getaffinity(0))

    def run(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["taskset", "--cpu-list", str(core), "bash", "-c", line],
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
