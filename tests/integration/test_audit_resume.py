"""An audit that is killed goes on where it stopped, to the same result."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleet.audit.core import probes
from fleet.audit.whitebox import audit as whitebox

RunFleet = Callable[..., Any]
QUICK = ("--images", "12", "--steps", "2", "--restarts", "1", "--eps", "0.2", "--jobs", "1")


# A process of its own knows nothing of lighter probes.
COMMAND = """
from fleet.__main__ import main
from fleet.audit.core import probes
for name, value in {lighter}.items():
    setattr(probes, name, value)
main()
"""


def kill_at(run: Path, name: str) -> None:
    """Start the audit of a run, and kill it without warning once a file of it is there."""
    lighter = {name: getattr(probes, name) for name in ("QUERIES", "EXAMINED", "DRAWS")}
    target = run / "audits" / "transfer" / name
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            COMMAND.format(lighter=lighter),
            "audit",
            "transfer",
            str(run),
            *QUICK,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 200
    while not target.exists():
        assert process.poll() is None, "the audit was over before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait(timeout=60) == -signal.SIGKILL
    assert not (run / "audits" / "transfer" / "audit.json").exists()


def findings(run: Path) -> dict[str, Any]:
    audit = json.loads((run / "audits" / "transfer" / "audit.json").read_text())
    del audit["created"], audit["seconds"], audit["provenance"]["environment"]
    return audit


def test_a_killed_audit_resumes_to_the_same_result(
    workplace: Path, call_fleet: RunFleet, tmp_path: Path, light_probes: Callable[..., Any]
) -> None:
    (source,) = (workplace / "runs").iterdir()
    for place in ("killed", "whole"):
        # The same name of the run, because an audit says whose it is.
        shutil.copytree(
            source, tmp_path / place / source.name, ignore=shutil.ignore_patterns("audits")
        )
    killed, whole = tmp_path / "killed" / source.name, tmp_path / "whole" / source.name
    with light_probes():
        kill_at(killed, "sets/gate.json")
    first = killed / "audits" / "transfer" / "sets" / "door.safetensors"
    before = first.stat().st_mtime_ns
    with light_probes():
        kill_at(killed, "trials/door/gate.json")
        for run in (killed, whole):
            done = call_fleet("audit", "transfer", run, *QUICK)
            assert done.returncode == 0, done.stderr
    assert findings(killed) == findings(whole)
    assert first.stat().st_mtime_ns == before


def test_the_whitebox_audit_through_the_command_line(
    workplace: Path,
    call_fleet: RunFleet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    light_probes: Callable[..., Any],
) -> None:
    monkeypatch.setattr(whitebox, "_ATTACKS", whitebox._ATTACKS[3:])  # hundreds of gradients each
    (source,) = (workplace / "runs").iterdir()
    run = tmp_path / source.name
    shutil.copytree(source, run, ignore=shutil.ignore_patterns("audits"))
    quick = ("audit", "whitebox", run, "--images", 3, "--steps", 1, "--restarts", 1)
    planned = call_fleet(*quick, "--norm", "l2", "--dry-run", "--format", "json")
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["settings"]["norm"] == "l2"
    assert not (run / "audits").exists()
    with light_probes():
        done = call_fleet(*quick, "--eps", 0.3, "--max-asr", 0, "--jobs", 1, "--format", "json")
    assert done.returncode == 1, done.stderr
    assert "gate: evade" in done.stderr
    audit = json.loads(done.stdout)
    assert audit == json.loads((run / "audits" / "whitebox" / "audit.json").read_text())
    assert [device["role"] for device in audit["devices"]][-1] == "control"
    assert (run / "audits" / "report.html").exists()
    for wrong in (("--eps", 0), ("--eps", 1.5), ("--norm", "l2", "--eps", "8/255")):
        refused = call_fleet(*quick, *wrong)
        assert refused.returncode == 2
        assert "Traceback" not in refused.stderr
