"""Which run a command works on."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleet.errors import CheckpointError
from fleet.rundir import PROFILE_FILE, RunDirectory, find_run, list_runs, new_run

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def make(parent: Path, name: str) -> RunDirectory:
    (parent / name).mkdir(parents=True)
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
    assert "fleet train" in str(caught.value.hint)


def test_every_file_of_a_run_lies_inside_it(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "r")
    paths = [run.profile, run.environment, run.dataset, run.bundles, run.audit("transfer")]
    paths += [run.checkpoint("d"), run.model("d"), run.metrics("d"), run.result("d")]
    assert all(path.is_relative_to(run.root) for path in paths)
    assert len(set(paths)) == len(paths)
