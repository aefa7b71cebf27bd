"""An extracted device gets another key, and images made on it are tried on the new weights."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROFILE = """\
version: 1
name: held
control: false
data: {{dataset: mnist, root: {root}, validation: 500, train_limit: 2000, test_limit: 200}}
devices:
  - name: door
    encoding: {{alpha: 4, beta: 16}}
    model: {{width: 0.125}}
    training: {{epochs: 1, batch_size: 32, shift: 0}}
  - name: gate
    encoding: {{alpha: 2, beta: 18}}
    model: {{architecture: cnn, width: 0.125, activation: clip, head: softmax}}
    training:
      {{method: certified, eps: 0.05, kappa: 0.5, epochs: 3, batch_size: 64, shift: 0,
      learning_rate: 8e-3}}
"""
AUDIT = (
    "audit", "transfer", "run", "--images", 40, "--steps", 3, "--restarts", 1, "--jobs", 1,
    "--eps", 0.05,
)  # fmt: skip

RunFleet = Callable[..., Any]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, mnist_root: Path, call_fleet: RunFleet) -> Path:
    """A trained and audited run of an undefended and a certified device."""
    place = tmp_path_factory.mktemp("rotation")
    (place / "held.yaml").write_text(PROFILE.format(root=mnist_root))
    for words in (("train", "-p", "held.yaml", "--run", "run", "--jobs", 1), AUDIT):
        done = call_fleet(*words, cwd=place)
        assert done.returncode == 0, done.stderr
    return place


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def kill_in_the_training(place: Path, device: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "fleet", "rotate", device, "run", "--seed", "1"],
        cwd=place,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if (place / f"run/devices/{device}/checkpoint.safetensors").exists():
            break
        time.sleep(0.01)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_certified_device_is_rotated_over_a_kill_and_its_images_are_bounded(
    place: Path, call_fleet: RunFleet
) -> None:
    run = place / "run"
    burnt = digest(run / "devices/gate/model.safetensors")
    kept = {path.name: path.stat().st_mtime_ns for path in (run / "devices/door").iterdir()}
    kill_in_the_training(place, "gate")
    assert digest(run / "rotations/gate-2/burnt/model.safetensors") == burnt
    for words in (AUDIT, ("package", "run", "--release", "2")):  # nobody takes the burnt weights
        done = call_fleet(*words, cwd=place)
        assert done.returncode == 2
        assert "gate" in done.stderr

    done = call_fleet("rotate", "gate", "run", "--jobs", 1, "--format", "json", cwd=place)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["generation"], found["status"]) == (2, "proven")  # it went on, and began no third
    (row,) = found["survivals"]
    assert row["ground"] in {"noise", "certificate"}
    assert row["evaded"] <= row["open"] < row["n"]
    assert digest(run / "rotations/gate-2/burnt/model.safetensors") == burnt
    assert digest(run / "devices/gate/model.safetensors") != burnt
    assert {p.name: p.stat().st_mtime_ns for p in (run / "devices/door").iterdir()} == kept

    done = call_fleet("train", "-p", "held.yaml", "--run", "run", cwd=place)
    assert done.returncode == 0, done.stderr  # the profile has the device of before, and no matter
    assert "nothing to do" in done.stderr


def test_audit_and_bundle_follow_the_new_weights(place: Path, call_fleet: RunFleet) -> None:
    run = place / "run"
    done = call_fleet("package", "run", "--release", "2", "--device", "gate", cwd=place)
    assert done.returncode == 2
    assert "is about other weights of 'gate'" in done.stderr
    done = call_fleet(*AUDIT, cwd=place)
    assert done.returncode == 0, done.stderr
    done = call_fleet(
        "package", "run", "--release", "2", "--device", "gate", "--format", "json", cwd=place
    )
    assert done.returncode == 0, done.stderr
    bundle = (run / "bundles/gate-2.fleet").read_bytes()
    assert (run / "devices/gate/model.safetensors").read_bytes() in bundle
    assert (run / "rotations/gate-2/burnt/model.safetensors").read_bytes() not in bundle


def test_an_undefended_device_is_rotated_and_the_answer_is_no(
    place: Path, call_fleet: RunFleet
) -> None:
    done = call_fleet("rotate", "door", "run", "--jobs", 1, "--seed", 1, cwd=place)
    assert done.returncode == 1, done.stderr
    assert "NOT PROVEN" in done.stdout
    assert "not proven: images made on the burnt weights may still work" in done.stderr
    record = json.loads((place / "run/rotations/door-2/rotation.json").read_text())
    assert record["status"] == "not proven"
    before, after = record["before"], record["after"]
    assert before["encoding"]["order"] != after["encoding"]["order"]
    assert before["training"]["seed"] != after["training"]["seed"]


def test_what_cannot_be_rotated_is_named(place: Path, call_fleet: RunFleet) -> None:
    done = call_fleet("rotate", "roof", "run", cwd=place)
    assert done.returncode == 2
    assert "no device 'roof'" in done.stderr
    assert "door, gate" in done.stderr
    before = sorted(str(path) for path in place.rglob("*"))
    done = call_fleet("rotate", "gate", "run", "--dry-run", cwd=place)
    assert done.returncode == 0
    assert "generation 3" in done.stderr
    assert sorted(str(path) for path in place.rglob("*")) == before
