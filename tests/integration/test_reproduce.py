"""``fleet reproduce`` from the command line: what it would do, what it refuses, what it writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleet.paper.workspace import PROFILES

CallFleet = Callable[..., Any]

CONVERGENCE = """\
version: 1
name: tiny
control: false
data: {{dataset: mnist, root: {root}, validation: 200, train_limit: 320}}
defaults:
  allow_equivalent: true
  model: {{width: 0.0625}}
  training: {{epochs: 2, batch_size: 32, shift: 0, schedule: constant}}
devices:
  - {{name: paper, encoding: {{alpha: 4, beta: 16}}, training: {{loss: paper, start: zero}}}}
  - {{name: scaled, encoding: {{alpha: 4, beta: 16}}}}
  - {{name: tra, task: tra}}
"""


@pytest.fixture
def place(tmp_path: Path, mnist_root: Path) -> Path:
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    (profiles / "convergence.yaml").write_text(CONVERGENCE.format(root=mnist_root))
    return tmp_path


def test_a_dry_run_names_the_results_and_writes_nothing(
    call_fleet: CallFleet, tmp_path: Path
) -> None:
    done = call_fleet("reproduce", "all", "-n", "--stand-in", "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["parts"] == [
        "table1",
        "convergence",
        "choices",
        "stems",
        "figure2",
        "figure3-mnist",
        "figure3-standin",
        "table2-standin",
        "claims",
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_the_paper_does_not_have(call_fleet: CallFleet, tmp_path: Path) -> None:
    done = call_fleet("reproduce", "table3", cwd=tmp_path)
    assert done.returncode == 2
    assert "table3" in done.stderr


def test_without_the_profiles_it_says_where_they_should_be(
    call_fleet: CallFleet, tmp_path: Path
) -> None:
    done = call_fleet("reproduce", "convergence", "-p", "nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert "nowhere/convergence.yaml" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_absent_photos_are_one_error_and_nothing_is_written(
    call_fleet: CallFleet, tmp_path: Path
) -> None:
    done = call_fleet("reproduce", "table2", "--data", "nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert "--data" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_result_its_figure_and_the_claims_are_written_and_made_once(
    call_fleet: CallFleet, place: Path
) -> None:
    done = call_fleet("reproduce", "convergence", "-p", "profiles", "--jobs", 1, cwd=place)
    assert done.returncode == 0, done.stderr
    results = place / "results" / "reproduce"
    assert (results / "convergence.png").read_bytes()[:4] == b"\x89PNG"
    first = json.loads((results / "convergence.json").read_text())
    assert first["schema"] == "fleet.reproduction.rows/1"
    again = call_fleet(
        "reproduce", "convergence", "-p", "profiles", "--jobs", 1, "--format", "json", cwd=place
    )
    assert json.loads(again.stdout)["convergence"]["rows"] == first["rows"]
    judged = call_fleet("reproduce", "claims", "--format", "json", cwd=place)
    assert judged.returncode == 0, judged.stderr
    verdicts = {c["id"]: c["verdict"] for c in json.loads(judged.stdout)["claims"]["claims"]}
    assert verdicts["robust"] == "not measured"
    assert verdicts["slower"] != "not measured"


def test_of_several_parts_one_without_images_leaves_the_others_running(
    call_fleet: CallFleet, place: Path
) -> None:
    for name in ("figure3-mnist", "figure3"):
        shutil.copy(PROFILES / "figure3.yaml", place / "profiles" / f"{name}.yaml")
    done = call_fleet("reproduce", "figure3", "-p", "profiles", cwd=place)
    assert done.returncode == 2
    assert done.stderr.count("left out figure3") == 2
    assert "Traceback" not in done.stderr
