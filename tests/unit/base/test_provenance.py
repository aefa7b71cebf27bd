"""What a record says of the command that made it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fleet.provenance import environment


def test_a_command_is_recorded_without_the_directories_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    outside = tmp_path / "photos"
    words = ["audit", str(here / "runs" / "a"), f"--runs={here / 'runs'}", "--data-root"]
    monkeypatch.setattr(sys, "argv", ["/usr/bin/fleet", *words, str(outside), "8/255", "runs/b"])
    told = ["audit", "runs/a", "--runs=runs", "--data-root", ".../photos", "8/255", "runs/b"]
    assert environment()["command"] == ["fleet", *told]
