"""What progress tells where there is no terminal."""

from __future__ import annotations

import io
import re

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
