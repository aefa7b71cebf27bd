"""Epochs to a goal, read from real metrics."""

import json
from pathlib import Path

import pytest

from fleet.errors import CheckpointError
from fleet.execution import Serial
from fleet.paper import convergence
from fleet.paper.convergence import (
    first_reached,
    mark_best,
    read_points,
    reproduce_convergence,
)
from fleet.paper.convergence_result import Convergence, Curve, Speed, Variant
from fleet.paper.workspace import Workspace, quietly
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


def speed(variant: Variant, rate: float, mean: float | None) -> Speed:
    return Speed(variant, rate, 2, (Curve(0, ((1.0, 0.9),), mean),), mean, False)


def test_the_goal_is_reached_at_the_first_validation_that_is_there() -> None:
    points = ((0.1, 0.5), (0.2, 0.98), (0.3, 0.97), (1.0, 0.99))
    assert first_reached(points, 0.98) == 0.2
    assert first_reached(points, 0.995) is None


def test_the_quickest_rate_must_reach_the_goal_on_every_seed() -> None:
    speeds = [speed("tra", 0.1, None), speed("tra", 0.2, 3.0), speed("tra", 0.3, 2.0)]
    assert [s.best for s in mark_best(speeds)] == [False, False, True]
    assert not any(s.best for s in mark_best([speed("paper", 0.1, None)]))


def test_real_trainings_give_curves_of_tenths_and_whole_epochs(
    tmp_path: Path, mnist_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "convergence.yaml").write_text(PROFILE.format(root=mnist_root))
    place = Workspace(tmp_path, tmp_path / "runs", tmp_path / "results", stage=quietly(Serial()))
    monkeypatch.setattr(convergence, "GOAL", 0.0)
    found = reproduce_convergence(place)
    assert [(s.variant, len(s.curves)) for s in found.speeds] == [
        ("tra", 2),
        ("ordinal", 1),
        ("scaled", 1),
        ("paper", 1),
    ]
    for each in found.speeds:
        for curve in each.curves:
            # 10 steps an epoch, validated after 4, 8 and the last
            assert [at for at, _ in curve.points] == [0.4, 0.8, 1.0, 1.4, 1.8, 2.0]
            assert curve.reached == 0.4
    assert [c.seed for c in found.speeds[0].curves] == [0, 1]
    found.save(tmp_path / "c.json")
    assert Convergence.load(tmp_path / "c.json") == found
    best = found.best("tra")
    assert best is not None
    assert best.mean == pytest.approx(0.4)


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
