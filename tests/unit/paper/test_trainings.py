"""Epochs to a goal, and what first layers cost, read from real trainings."""

import dataclasses
import json
from pathlib import Path

import pytest

from fleet.errors import CheckpointError
from fleet.execution import Serial
from fleet.paper import trainings
from fleet.paper.rows import Row, Rows
from fleet.paper.trainings import (
    first_reached,
    mark_quickest,
    read_points,
    reproduce_convergence,
    reproduce_stems,
)
from fleet.paper.workspace import PROFILES, Workspace, quietly
from fleet.profiles import load_profile

PROFILE = """\
version: 1
name: tiny
control: false
data: {{dataset: mnist, root: {root}, validation: 200, train_limit: 320}}
defaults:
  allow_equivalent: true
  model: {{width: 0.0625}}
  training: {{epochs: 2, batch_size: 32, shift: 0, schedule: constant, validate_every: 4}}
devices:
  - {{name: paper, encoding: {{alpha: 4, beta: 16}}, training: {{loss: paper, start: zero}}}}
  - {{name: scaled, encoding: {{alpha: 4, beta: 16}}}}
  - {{name: ordinal, encoding: {{alpha: 4, beta: 16}}, model: {{head: ordinal}}}}
  - {{name: tra-1, task: tra, training: {{seed: 1}}}}
  - {{name: tra-0, task: tra}}
"""


def speed(variant: str, rate: float, mean: float | None) -> Row:
    return Row({"variant": variant, "learning_rate": rate}, {"mean": mean})


def test_the_goal_is_reached_at_the_first_validation_that_is_there() -> None:
    points = ((0.1, 0.5), (0.2, 0.98), (0.3, 0.97), (1.0, 0.99))
    assert first_reached(points, 0.98) == 0.2
    assert first_reached(points, 0.995) is None


def test_the_quickest_rate_must_reach_the_goal_on_every_seed() -> None:
    rows = [speed("tra", 0.1, None), speed("tra", 0.2, 3.0), speed("tra", 0.3, 2.0)]
    assert [row.figures["quickest"] for row in mark_quickest(rows)] == [0, 0, 1]
    assert mark_quickest([speed("paper", 0.1, None)])[0].figures["quickest"] == 0


def test_real_trainings_give_curves_of_tenths_and_whole_epochs(
    tmp_path: Path, mnist_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "convergence.yaml").write_text(PROFILE.format(root=mnist_root))
    place = Workspace(tmp_path, tmp_path / "runs", tmp_path / "results", stage=quietly(Serial()))
    monkeypatch.setattr(trainings, "GOAL", 0.0)
    found = reproduce_convergence(place)
    assert [(row.names["variant"], len(row.curves)) for row in found.rows] == [
        ("tra", 2),
        ("ordinal", 1),
        ("scaled", 1),
        ("paper", 1),
    ]
    for row in found.rows:
        for seed, curve in row.curves.items():
            # 10 steps an epoch, validated after 4, 8 and the last
            assert [at for at, _ in curve] == [0.4, 0.8, 1.0, 1.4, 1.8, 2.0]
            assert row.figures[seed] == row.figures["mean"] == 0.4
    assert list(found.rows[0].curves) == ["seed 0", "seed 1"]
    found.save(tmp_path / "c.json")
    assert Rows.load(tmp_path / "c.json") == found
    assert [row.figures["quickest"] for row in found.where(variant="tra")] == [1]


def test_damaged_metrics_are_an_error_that_says_what_to_do(
    tmp_path: Path, mnist_root: Path
) -> None:
    (tmp_path / "convergence.yaml").write_text(PROFILE.format(root=mnist_root))
    place = Workspace(tmp_path, tmp_path / "runs", tmp_path / "results")
    device = load_profile(tmp_path / "convergence.yaml").devices[0]
    run = place.run("convergence")
    with pytest.raises(CheckpointError, match="absent or damaged"):
        read_points(run, device)
    run.metrics(device.name).parent.mkdir(parents=True)
    run.metrics(device.name).write_text(json.dumps({"epoch": 1}) + "\n")
    with pytest.raises(CheckpointError, match="absent or damaged"):
        read_points(run, device)


def test_a_training_record_without_its_figures_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Workspace(PROFILES, tmp_path / "runs", tmp_path / "results")
    family, run = load_profile(PROFILES / "stems.yaml"), place.run("stems")
    monkeypatch.setattr(Workspace, "trained", lambda self, name: (family, run))
    record = run.result(family.devices[0].name)
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"epochs": 2, "seconds": 1.0}))
    with pytest.raises(CheckpointError, match="damaged"):
        reproduce_stems(place)


def test_each_pair_of_stems_differs_in_its_stem_alone() -> None:
    devices = load_profile(PROFILES / "stems.yaml").devices
    for first, second in zip(devices[::2], devices[1::2], strict=True):
        model = dataclasses.replace(second.model, stem="imagenet")
        assert dataclasses.replace(second, name=first.name, model=model) == first
    assert [(d.task, d.model.stem) for d in devices] == [
        ("tra", "imagenet"), ("tra", "cifar"), ("int", "imagenet"), ("int", "cifar"),
    ]  # fmt: skip
