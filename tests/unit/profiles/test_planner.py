"""Encodings that are chosen for a fleet, and what is said of a fleet whose devices are alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet.encoding import equivalent
from fleet.encoding.orders import shared_dichotomies
from fleet.errors import DataError, FleetWarning
from fleet.profiles import load_profile
from fleet.profiles.planner import plan_encodings, weak_diversity
from fleet.training.family import train_family

RunFleet = Callable[..., Any]
HEAD = "version: 1\nname: fam\ndata: {dataset: mnist, root: .}\n"


@pytest.mark.parametrize(("classes", "count"), [(2, 5), (3, 7), (4, 1), (7, 6), (10, 12)])
def test_no_two_planned_encodings_are_equivalent(classes: int, count: int) -> None:
    plan = plan_encodings(classes, count, 0.8)
    assert len(plan.encodings) == count
    assert not any(equivalent(*pair) for pair in combinations(plan.encodings, 2))
    assert plan.encodings[0].beta == 16


def test_five_devices_of_ten_classes_share_no_split_and_more_share_less_than_drawn_ones() -> None:
    five = plan_encodings(10, 5)
    assert not any(shared_dichotomies(*pair) for pair in combinations(five.orders, 2))
    shares = plan_encodings(10, 12).sharing()
    assert (shares["zigzag"], shares["orders"], shares["of"]) == (5, 12, 9)
    assert 0 < shares["mean"] < shares["random"]
    assert plan_encodings(10, 400).sharing()["most"] is None


def test_a_planned_profile_is_accepted_with_its_reasons(
    tmp_path: Path, call_fleet: RunFleet
) -> None:
    path, words = tmp_path / "eight.yaml", ("--devices", 8, "--classes", 10, "--root", tmp_path)
    done = call_fleet("profiles", "plan", path, *words, "--format", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    family = load_profile(path)
    assert [device.encoding.to_dict() for device in family.devices] == found["encodings"]
    assert {device.model.head for device in family.devices} == {"ordinal"}
    assert not [*weak_diversity(family)]
    assert [control.name for control in family.controls] == ["control", "twin"]
    for reason in found["reasons"]:
        assert f"# {reason}\n" in path.read_text()
        assert reason in done.stderr
    assert "the paper's 4 and 16" in done.stderr
    done = call_fleet("profiles", "check", path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--classes", 9), "the data has 10 classes, not 9"),
        (("--devices", 4), "exists"),
    ],
)
def test_what_cannot_be_planned_writes_nothing(
    tmp_path: Path, call_fleet: RunFleet, words: tuple[Any, ...], error: str
) -> None:
    path = tmp_path / "old.yaml"
    if error == "exists":
        path.write_text("mine")
    done = call_fleet("profiles", "plan", path, *words)
    assert done.returncode == 2
    assert error in done.stderr
    assert (path.read_text() if path.exists() else "mine") == "mine"


def warnings(tmp_path: Path, devices: str, head: str = "linear", weights: str = "") -> list[str]:
    path = tmp_path / "devices.yaml"
    model = f"model: {{head: {head}{weights}}}"
    path.write_text(f"{HEAD}defaults: {{encoding: {{alpha: 4, beta: 16}}, {model}}}\n{devices}")
    return [*weak_diversity(load_profile(path))]


def test_devices_that_are_alike_are_told_once_with_what_to_change(tmp_path: Path) -> None:
    two = "devices:\n  - {name: a}\n  - {name: b, encoding: {beta: 36}}\n"
    (shared,) = warnings(tmp_path, two)
    assert "share 9.0 of the 9 splits" in shared
    assert "at random share 0.5" in shared
    assert "order: spread" in shared
    equal = two.replace("encoding: {beta: 36}", "allow_equivalent: true")
    assert "2 of 2 devices have an encoding that is equivalent" in warnings(tmp_path, equal)[0]
    (seeds,) = warnings(tmp_path, two, head="softmax")
    assert "differ by seed alone" in seeds
    (tmp_path / "start.pth").touch()
    begun = warnings(tmp_path, two, weights=", weights: start.pth")
    assert "all 2 devices start from the same weights" in begun[0]
    spread = "devices: {count: 6, name: cam-{n}, encoding: {order: spread}}\n"
    assert warnings(tmp_path, spread) == []
    assert warnings(tmp_path, "devices: [{name: a}]\n") == []


def test_check_warns_and_accepts(tmp_path: Path, call_fleet: RunFleet) -> None:
    path = tmp_path / "alike.yaml"
    devices = [{"name": n, "encoding": {"alpha": 4, "beta": b}} for n, b in (("a", 16), ("b", 36))]
    path.write_text(HEAD + yaml.safe_dump({"devices": devices}))
    done = call_fleet("profiles", "check", path)
    assert done.returncode == 0
    assert done.stderr.count("note: weak diversity:") == 1
    planned = call_fleet("train", "--profiles", path, "--dry-run", cwd=tmp_path)
    assert planned.stderr.count("note: weak diversity:") == 1
    with pytest.warns(FleetWarning, match="weak diversity: two"), pytest.raises(DataError):
        train_family(path, parent=tmp_path / "runs")
