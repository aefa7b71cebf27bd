"""Which run a command works on."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleet.errors import CheckpointError
from fleet.rundir import PROFILE_FILE, RunDirectory, find_run, list_runs, new_run, record_start

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def make(parent: Path, name: str) -> RunDirectory:
    (parent / name).mkdir(parents=True, exist_ok=True)
    (parent / name / PROFILE_FILE).write_text("{}")
    return RunDirectory(parent / name)


def test_a_new_run_is_named_by_time_and_profile_and_never_twice(tmp_path: Path) -> None:
    first = new_run(tmp_path, "my fleet/1", now=NOON)
    assert first.root == tmp_path / "20261122-120000-my-fleet-1"
    assert not first.root.exists()
    make(tmp_path, first.name)
    assert new_run(tmp_path, "my fleet/1", now=NOON).name == "20261122-120000-my-fleet-1-2"


def test_a_name_without_letters_still_gives_a_directory(tmp_path: Path) -> None:
    assert new_run(tmp_path, "///", now=NOON).name == "20261122-120000-run"


def test_the_newest_run_is_the_default_and_directories_without_a_profile_do_not_count(
    tmp_path: Path,
) -> None:
    make(tmp_path, "20260101-000000-a")
    newest = make(tmp_path, "20260102-000000-a")
    (tmp_path / "20270101-000000-unfinished").mkdir()
    assert find_run(None, tmp_path) == newest
    assert [run.name for run in list_runs(tmp_path)] == ["20260101-000000-a", "20260102-000000-a"]


def begin(parent: Path, name: str, now: datetime) -> RunDirectory:
    """A run as training begins it: the start is recorded, then the profile is written."""
    run = RunDirectory(parent / name)
    record_start(run, now=now)
    return make(parent, name)


def test_the_newest_run_is_the_last_begun_whatever_the_names(tmp_path: Path) -> None:
    begin(tmp_path, "zz-baseline", NOON)
    assert find_run(None, tmp_path).name == "zz-baseline"
    second = begin(tmp_path, "20261122-120001-demo", NOON + timedelta(seconds=1))
    assert find_run(None, tmp_path) == second
    assert begin(tmp_path, "aa", NOON + timedelta(seconds=2)) == find_run(None, tmp_path)


def test_runs_of_one_second_are_in_the_order_of_their_beginning(tmp_path: Path) -> None:
    names = []
    for _ in range(11):
        run = new_run(tmp_path, "demo", now=NOON)
        names.append(begin(tmp_path, run.name, NOON).name)
    assert names[-1].endswith("-11")
    assert [run.name for run in list_runs(tmp_path)] == names


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=3650)])
def test_a_clock_that_ran_ahead_makes_no_later_run_older(tmp_path: Path, ahead: timedelta) -> None:
    begin(tmp_path, "ahead", NOON + ahead)
    for name in ("then", "b-last", "a-very-last"):
        assert begin(tmp_path, name, NOON) == find_run(None, tmp_path)


def test_a_run_keeps_its_place_when_its_training_goes_on(tmp_path: Path) -> None:
    first = begin(tmp_path, "first", NOON)
    second = begin(tmp_path, "second", NOON)
    for path in (first.profile, first.environment, first.root / "new"):
        path.write_text("{}")
    assert list_runs(tmp_path) == [first, second]


def test_a_run_without_a_record_is_as_old_as_its_name_or_else_its_profile(tmp_path: Path) -> None:
    make(tmp_path, "20261122-120000-demo-10")
    make(tmp_path, "20261122-120000-demo-9")
    named = make(tmp_path, "baseline")
    os.utime(named.profile, times=(NOON.timestamp() - 60,) * 2)
    for number, record in enumerate(("", "[]", "{}", json.dumps({"started": "soon"}))):
        damaged = make(tmp_path, f"20261122-11000{number}-damaged")
        damaged.started.write_text(record)
    assert [run.name for run in list_runs(tmp_path)] == [
        *(f"20261122-11000{number}-damaged" for number in range(4)),
        "baseline",
        "20261122-120000-demo-9",
        "20261122-120000-demo-10",
    ]
    assert begin(tmp_path, "new", NOON - timedelta(days=1)) == find_run(None, tmp_path)


def test_a_run_is_found_by_path_or_by_name(tmp_path: Path) -> None:
    run = make(tmp_path, "20260101-000000-a")
    assert find_run(run.root, Path("elsewhere")) == run
    assert find_run(Path(run.name), tmp_path) == run


def test_an_unknown_run_is_refused_with_the_list_of_those_there(tmp_path: Path) -> None:
    make(tmp_path, "20260101-000000-a")
    with pytest.raises(CheckpointError, match="no run at nope") as caught:
        find_run(Path("nope"), tmp_path)
    assert "20260101-000000-a" in str(caught.value.hint)


def test_no_runs_at_all_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no runs under") as caught:
        find_run(None, tmp_path / "absent")
    assert "fleet demo" in str(caught.value.hint)


def test_every_file_of_a_run_lies_inside_it(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "r")
    paths = [
        run.profile,
        run.started,
        run.environment,
        run.dataset,
        run.bundles,
        run.audit("transfer"),
    ]
    paths += [run.checkpoint("d"), run.model("d"), run.metrics("d"), run.result("d")]
    assert all(path.is_relative_to(run.root) for path in paths)
    assert len(set(paths)) == len(paths)
