"""The doctor finds what is broken and prints the mend."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleet.cli import doctor as module

RunFleet = Callable[..., Any]

BROKEN = 'raise RuntimeError("operator torchvision::nms does not exist")\n'


def test_a_healthy_machine_is_ok(run_fleet: RunFleet) -> None:
    done = run_fleet("doctor", "--format", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert all(finding["ok"] for finding in report["findings"])
    assert report["environment"]["packages"]["torch"]


def test_a_torchvision_that_does_not_fit_torch_is_found_and_mended(
    run_fleet: RunFleet, tmp_path: Path
) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(BROKEN)
    done = run_fleet("doctor", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "operator torchvision::nms does not exist" in " ".join(done.stdout.split())
    assert "pip install --upgrade --force-reinstall torch torchvision" in done.stderr


def test_a_torch_that_crashes_at_import_is_found(run_fleet: RunFleet, tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("import os\nos.abort()\n")
    done = run_fleet("doctor", "--format", "json", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    (broken,) = [f for f in json.loads(done.stdout)["findings"] if not f["ok"]]
    assert "exit code -6" in broken["detail"] or "Fatal Python error" in broken["detail"]


def test_a_base_install_is_told_which_extra_to_add(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "package_version", lambda _: None)
    for finding in (*module._torch(), module._extras()):
        assert not finding.ok
        assert "interval-fleet[train]" in finding.mend


def test_a_small_disk_is_found(tmp_path: Path) -> None:
    assert module._disk(tmp_path, 2**20).ok
    assert not module._disk(tmp_path, 2**80).ok


@pytest.mark.parametrize("edge", [True, False])
def test_a_device_without_torch_is_what_it_is(
    call_fleet: RunFleet, monkeypatch: pytest.MonkeyPatch, edge: bool
) -> None:
    """With ONNX Runtime it is fine; without, the extra that is missing is named."""

    def version(name: str) -> str | None:
        return "1.0" if name == "onnxruntime" and edge else None

    monkeypatch.setattr(module, "package_version", version)
    done = call_fleet("doctor", "--format", "json")
    assert done.returncode == (0 if edge else 1)
    (device,) = [f for f in json.loads(done.stdout)["findings"] if f["what"] == "device"]
    assert device["ok"] is edge
    assert "interval-fleet[train]" in device["detail" if edge else "mend"]
    assert edge or "interval-fleet[edge]" in device["mend"]
