"""A fleet that grows by a device: one training, one row and one column, one bundle more."""

from __future__ import annotations

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
name: growing
twin: false
data: {{dataset: mnist, root: {root}, validation: 100, train_limit: 960}}
defaults:
  encoding: {{alpha: 4, beta: 16, order: spread}}
  model: {{width: 0.125}}
  training: {{epochs: 1, batch_size: 32, shift: 0}}
devices:
  - {{name: door}}
  - {{name: gate}}
"""
YARD = "  - {name: yard, training: {epochs: 6}}\n"
QUICK = ("--images", 20, "--steps", 2, "--restarts", 1, "--jobs", 1)

RunFleet = Callable[..., Any]
Files = dict[str, int]


def files(root: Path) -> Files:
    """When each file was written."""
    return {
        str(path.relative_to(root)): path.stat().st_mtime_ns
        for path in root.rglob("*")
        if path.is_file()
    }


def written(before: Files, after: Files) -> set[str]:
    return {name for name, moment in after.items() if before.get(name) != moment}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, mnist_root: Path, call_fleet: RunFleet) -> Path:
    """A trained, audited and packaged run of two devices."""
    place = tmp_path_factory.mktemp("growing")
    (place / "fleet.yaml").write_text(PROFILE.format(root=mnist_root))
    for words in (
        ("train", "--profiles", "fleet.yaml", "--run", "run", "--jobs", 1),
        ("audit", "transfer", "run", *QUICK),
        ("package", "run", "--release", "1"),
    ):
        done = call_fleet(*words, cwd=place)
        assert done.returncode == 0, done.stderr
    return place


def kill_in_the_middle(place: Path) -> None:
    """Begin the training of the new device, and kill all its processes after an epoch or more."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fleet", "train", "--profiles", "fleet.yaml", "--run", "run"],
        cwd=place,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if (place / "run/devices/yard/checkpoint.safetensors").exists():
            break
        time.sleep(0.01)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (place / "run/devices/yard/model.safetensors").exists()


def test_one_more_device_is_one_training_one_row_one_column_and_one_bundle(
    place: Path, call_fleet: RunFleet
) -> None:
    run = place / "run"
    before = files(run)
    with (place / "fleet.yaml").open("a") as profile:
        profile.write(YARD)
    kill_in_the_middle(place)
    killed = files(run)
    assert not [n for n in written(before, killed) if "devices/" in n and "yard" not in n]
    early = call_fleet("audit", "transfer", "run", *QUICK, cwd=place)
    assert early.returncode == 2
    assert "yard is not trained yet" in early.stderr

    done = call_fleet("train", "--profiles", "fleet.yaml", "--run", "run", "--jobs", 1, cwd=place)
    assert done.returncode == 0, done.stderr
    assert "1 of 4 networks to do" in done.stderr
    trained = files(run)
    changed = {name.split("/")[1] for name in written(before, trained) if "devices/" in name}
    assert changed == {"yard"}

    done = call_fleet("audit", "transfer", "run", *QUICK, "--format", "json", cwd=place)
    assert done.returncode == 0, done.stderr
    kept = ("audits/transfer/sets/", "audits/transfer/examined/", "audits/transfer/trials/")
    made = {n for n in written(trained, files(run)) if n.startswith(kept)}
    others = ("door", "gate", "control")
    assert made == {
        "audits/transfer/sets/yard.safetensors",
        "audits/transfer/sets/yard.json",
        "audits/transfer/examined/yard.json",
        *(f"audits/transfer/trials/yard/{name}.json" for name in others),  # one row
        *(f"audits/transfer/trials/{name}/yard.json" for name in others),  # one column
    }
    audited = json.loads(done.stdout)
    assert [device["name"] for device in audited["devices"]] == ["door", "gate", "yard", "control"]

    refused = call_fleet("package", "run", "--release", "1", cwd=place)
    assert refused.returncode == 2
    assert "--device yard" in refused.stderr  # the others' manifests would name another audit
    bundles = files(run / "bundles")
    done = call_fleet("package", "run", "--release", "1", "--device", "yard", cwd=place)
    assert done.returncode == 0, done.stderr
    assert written(bundles, files(run / "bundles")) == {"yard-1.fleet"}
    assert len(files(run / "bundles")) == 3


def test_a_device_is_not_changed_or_taken_out_by_a_training(
    place: Path, call_fleet: RunFleet
) -> None:
    text = (place / "fleet.yaml").read_text()
    before = files(place / "run")
    for changed, says in (
        (text.replace("  - {name: gate}\n", ""), "devices[gate]: removed"),
        (text.replace("name: gate", "name: gate, training: {seed: 5}"), "training.seed: 0 -> 5"),
    ):
        (place / "other.yaml").write_text(changed)
        done = call_fleet("train", "--profiles", "other.yaml", "--run", "run", cwd=place)
        assert done.returncode == 2
        assert says in done.stderr
    assert files(place / "run") == before
