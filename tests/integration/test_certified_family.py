"""Certified devices through the command line: train, resume, certify, package, predict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import fleet
from fleet.assembly import load_images, load_trained
from fleet.profiles.spec import read_family
from fleet.rundir import RunDirectory

PROFILE = """\
version: 1
name: held
twin: false
data: {{dataset: mnist, root: {root}, validation: 500, train_limit: 3000, test_limit: 500}}
defaults:
  model: {{architecture: cnn, width: 0.25, activation: clip, head: softmax}}
  training:
    {{method: certified, eps: 0.1, kappa: 0.5, epochs: 3, batch_size: 64, shift: 0,
    learning_rate: 8e-3}}
devices:
  - name: door
    encoding: {{alpha: 2, beta: 18}}
  - name: gate
    encoding: {{alpha: 4, beta: 16, order: [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]}}
    model: {{head: ordinal}}
"""


@pytest.fixture(scope="module")
def held(
    tmp_path_factory: pytest.TempPathFactory, mnist_root: Path, call_fleet: Callable[..., Any]
) -> Path:
    place = tmp_path_factory.mktemp("held")
    (place / "held.yaml").write_text(PROFILE.format(root=mnist_root))
    done = call_fleet("train", "--profiles", "held.yaml", "--run", "run", "--jobs", 1, cwd=place)
    assert done.returncode == 0, done.stderr
    return place


def test_devices_are_certified_and_the_control_is_not(
    held: Path, call_fleet: Callable[..., Any]
) -> None:
    done = call_fleet(
        "audit", "certify", "run", "--eps", "0.1", "--radii", 20, "--jobs", 1, "--format", "json",
        cwd=held,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = {row["device"]: row for row in json.loads(done.stdout)["proven"]}
    assert found["door"]["stays"] > 0.6 * found["door"]["n"]
    assert found["gate"]["stays"] > 0.3 * found["gate"]["n"]
    assert found["control"]["stays"] < 0.2 * found["control"]["n"]
    spec = read_family(RunDirectory(held / "run"))
    assert [control.training.method for control in spec.controls] == ["standard"]
    metrics = (held / "run" / "devices" / "door" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["certified_n"] for line in metrics] == [500] * 3


def test_the_guarantee_is_a_gate(held: Path, call_fleet: Callable[..., Any]) -> None:
    words = ("audit", "certify", "run", "--eps", "0.1", "--radii", 20, "--jobs", 1)
    assert call_fleet(*words, "--max-asr", "0.001", cwd=held).returncode == 1
    assert call_fleet(*words, "--max-asr", "1", cwd=held).returncode == 0


def test_the_guarantee_stands_in_the_verdict_of_a_later_audit(
    held: Path, call_fleet: Callable[..., Any], light_probes: Callable[..., Any]
) -> None:
    words = ("--images", 12, "--steps", 2, "--restarts", 1, "--eps", "0.1", "--jobs", 1)
    with light_probes():
        done = call_fleet("audit", "transfer", "run", *words, "--format", "human", cwd=held)
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.replace("│", " ").split())
    assert "no attack on any device changes more than" in told
    assert "no certificate was computed" not in told


def test_a_bundle_decides_as_the_trained_network(
    held: Path, call_fleet: Callable[..., Any]
) -> None:
    done = call_fleet("package", "run", "--release", "1", cwd=held)
    assert done.returncode == 0, done.stderr
    run = RunDirectory(held / "run")
    spec = read_family(run)
    images = load_images(spec.data).test.images(torch.arange(100))
    for device in spec.devices:
        network = load_trained(run, device, spec.data)
        with torch.inference_mode():
            wanted = network.decode(network(images.float() / 255)).tolist()
        bundle = fleet.load_bundle(next(run.bundles.glob(f"{device.name}-*.fleet")))
        answers = bundle.predict(images)
        assert [-1 if a.index is None else a.index for a in answers] == wanted
        assert bundle.manifest.model.activation == "clip"
