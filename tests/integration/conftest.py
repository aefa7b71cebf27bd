"""One small fleet, trained through the real command line and shared by these tests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROFILE = """\
version: 1
name: tiny
data: {{dataset: mnist, root: {root}, validation: 500, train_limit: 2000}}
defaults:
  model: {{width: 0.25}}
  training: {{epochs: 2, batch_size: 64, shift: 0}}
devices:
  - name: door
    encoding: {{alpha: 4, beta: 16}}
  - name: gate
    encoding: {{alpha: 4, beta: 16, order: [4, 2, 7, 0, 9, 6, 3, 8, 1, 5]}}
    model: {{head: ordinal}}
  - name: twin
    task: tra
"""

RunFleet = Callable[..., Any]
Once = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny_profile(tmp_path_factory: pytest.TempPathFactory, mnist_root: Path) -> Path:
    path = tmp_path_factory.mktemp("profiles") / "tiny.yaml"
    path.write_text(PROFILE.format(root=mnist_root))
    return path


@pytest.fixture(scope="session")
def workplace(
    tmp_path_factory: pytest.TempPathFactory, once: Once, tiny_profile: Path, call_fleet: RunFleet
) -> Path:
    """A directory with a finished run under ``runs/``; two worker processes trained it."""

    def train(place: Path) -> None:
        words = ("train", "--profiles", tiny_profile, "--jobs", 2, "--format", "json")
        done = call_fleet(*words, cwd=place)
        assert done.returncode == 0, done.stderr
        (place / "train.json").write_text(done.stdout)

    return once("workplace", train, tmp_path_factory.mktemp("workplace"))


@pytest.fixture(scope="session")
def audited(
    workplace: Path, once: Once, call_fleet: RunFleet, light_probes: Callable[..., Any]
) -> dict[str, Any]:
    """The transfer audit of that run, as ``--format json`` wrote it."""
    (run,) = (workplace / "runs").iterdir()

    def audit(audits: Path) -> None:
        with light_probes():
            done = call_fleet(
                "audit", "transfer", "--images", 40, "--steps", 5, "--restarts", 1,
                "--max-asr", 1, "--jobs", 1, "--format", "json", cwd=workplace,
            )  # fmt: skip
        assert done.returncode == 0, done.stderr
        shutil.copytree(run / "audits", audits, dirs_exist_ok=True)
        (audits / "stdout.json").write_text(done.stdout)

    once("audits", audit, run / "audits")
    return json.loads((run / "audits" / "stdout.json").read_text())
