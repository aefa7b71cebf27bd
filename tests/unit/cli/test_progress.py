"""What progress tells where there is no terminal."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fleet.cli import progress
from fleet.execution.jobs import Progress


def test_off_a_terminal_a_line_now_and_then_says_how_long_the_rest_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(progress, "EVERY", -1.0)
    with progress.FamilyProgress(Console(file=stream, width=200)) as family:
        for job in ("cam-01", "cam-02"):
            family.update(Progress(job, 0, 1, ""))
        for done in (1, 25):
            family.update(Progress("cam-01", done, 100, f"step {done}"))
        family.update(Progress("cam-01", 100, 100, "done"))
    first, second, last = stream.getvalue().splitlines()
    assert first == "0% done; cam-01: step 1"  # nothing is known yet
    assert re.fullmatch(r"12% done, about \d+ s left; cam-01: step 25", second)
    assert last == "cam-01: done"


def test_the_first_batches_tell_time_and_memory_of_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    with progress.FamilyProgress(Console(file=stream, width=200)) as family:
        for job in ("a", "b", "c", "d"):
            family.update(Progress(job, 0, 1, ""))
        now[0] = 10.0  # images are loaded
        family.update(Progress("a", 20, 100, "resumed", 0.5))
        now[0] = 12.0
        family.update(Progress("a", 21, 100, "too early", 0.5))
        now[0] = 14.0
        family.update(Progress("b", 1, 100, "begun", 0.6))
        now[0] = 16.0
        family.update(Progress("a", 24, 100, "step", 0.6))
    # 6 s for 5 of the 380 hundredths that were left; two processes at work
    assert stream.getvalue() == "about 8 minutes and 1.2 GB for 4 jobs (first batches)\n"


def test_a_job_that_is_more_work_counts_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """An adversarial device takes about six times as long as a standard one."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    with progress.FamilyProgress(Console(file=stream, width=200)) as family:
        family.update(Progress("plain", 0, 1, "", cost=10.0))
        family.update(Progress("adversarial", 0, 1, "", cost=60.0))
        family.update(Progress("plain", 0, 100, "begun"))
        now[0] = 10.0
        family.update(Progress("plain", 100, 100, "done"))
    assert stream.getvalue() == "about 70 s for 2 jobs (first batches)\nplain: done\n"


def test_quiet_leaves_results_and_what_went_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, call_fleet: Callable[..., Any]
) -> None:
    monkeypatch.setenv("FLEET_QUIET", "")  # and what --quiet sets is undone
    (tmp_path / "runs").mkdir()
    loud = call_fleet("runs", cwd=tmp_path)
    quiet = call_fleet("--quiet", "runs", cwd=tmp_path)
    assert loud.stdout == quiet.stdout
    assert "next: fleet demo" in loud.stderr
    assert quiet.stderr == ""
    failed = call_fleet("--quiet", "profiles", "check", "absent.yaml", cwd=tmp_path)
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: cannot read profile")
    assert "hint:" in failed.stderr
    stream = io.StringIO()
    with progress.FamilyProgress(Console(file=stream)) as family:
        family.update(Progress("cam-01", 1, 1, "done"))
    assert stream.getvalue() == ""
