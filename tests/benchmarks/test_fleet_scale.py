"""How time and memory of each stage grow with the number of devices.

``python -m pytest -m benchmark tests/benchmarks/test_fleet_scale.py -s`` writes
``results/scale/growth.json``: tiny networks trained and audited for real, each size in a process of
its own, and the arithmetic of a sampled audit for a simulated fleet of 1,000.
"""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from fleet.files import write_json
from fleet.provenance import environment

PROJECT = Path(__file__).resolve().parents[2]
RESULT = PROJECT / "results" / "scale" / "growth.json"
SIZES = (4, 8, 16, 32, 64)
SIMULATED = 1000

PROFILE = """\
version: 1
name: growth
data: {{dataset: mnist, root: {root}, validation: 50, train_limit: 300, test_limit: 100}}
defaults:
  model: {{width: 0.1, architecture: cnn, head: softmax, activation: clip}}
  training: {{method: certified, eps: 0.1, epochs: 1, batch_size: 50, shift: 0, precision: fp32}}
control: false
devices: {{count: {count}, name: "cam-{{n:04}}", encoding: {{alpha: 4, beta: 16, order: spread}}}}
"""


def stages(count: int, place: Path) -> dict[str, Any]:
    """Run every stage for ``count`` devices here, one thread, and say what each took."""
    from fleet.audit.certify.audit import CertifySettings, audit_run_certify
    from fleet.audit.core.members import TransferSettings
    from fleet.audit.transfer.audit import audit_run_transfer
    from fleet.audit.transfer.pairs import audit_run_pairs
    from fleet.execution import Serial
    from fleet.profiles import load_profile
    from fleet.reports.write import render_run_reports
    from fleet.training.family import train_family

    found: dict[str, Any] = {"devices": count, "seconds": {}}

    def lap(name: str, began: float) -> None:
        found["seconds"][name] = round(time.process_time() - began, 2)

    warm = place / "warm.yaml"  # what is loaded once, however many devices
    warm.write_text(PROFILE.format(root=PROJECT / "examples" / "data", count=2))
    first = train_family(load_profile(warm), parent=place / "warm", executor=Serial()).run
    brief = TransferSettings(eps=(0.1,), steps=1, restarts=1)
    audit_run_pairs(first, brief, images=4, surrogates=2, victims=2, executor=Serial())
    path = place / "growth.yaml"
    path.write_text(PROFILE.format(root=PROJECT / "examples" / "data", count=count))
    began = time.process_time()
    spec = load_profile(path)
    lap("profile", began)
    began = time.process_time()
    run = train_family(spec, parent=place, executor=Serial()).run
    lap("train", began)
    began = time.process_time()
    certify = CertifySettings(eps=(0.1,), radii=0)
    audit_run_certify(run, certify, images=50, executor=Serial())
    lap("certify", began)
    settings = TransferSettings(eps=(0.1,), steps=3, restarts=1)
    began = time.process_time()
    share = {"surrogates": 4, "victims": count}
    audit_run_pairs(run, settings, images=20, executor=Serial(), **share)
    lap("4 surrogates on all", began)
    found["memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    for kept in ("sets", "trials", "examined"):
        shutil.rmtree(run.audit("transfer") / kept)
    began = time.process_time()
    audit = audit_run_transfer(run, settings, images=20, executor=Serial())
    lap("whole transfer audit", began)
    audit.save(run.audit("transfer") / "audit.json")
    began = time.process_time()
    render_run_reports(run.audits)
    lap("report", began)
    found["report_bytes"] = (run.audits / "report.html").stat().st_size
    found["memory_whole_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return found


def simulated() -> dict[str, Any]:
    """A sampled audit's arithmetic for 1,000 devices: 16 surrogates, 64 victims, 500 images."""
    from fleet.audit.transfer.estimate import draw_devices, estimate_transfer

    random = np.random.default_rng(0)
    strata = {f"cam-{n:04}": str(n % 3) for n in range(SIMULATED)}
    began = time.process_time()
    rows = draw_devices(strata, 16, 0, "surrogates")
    columns = draw_devices(strata, 64, 0, "victims")
    shape = (len(rows.names), len(columns.names), 500)
    evaded = random.random(shape) < random.beta(2, 8, (1, shape[1], 1))
    got = estimate_transfer(evaded, np.ones(shape[1:], bool), rows, columns)
    seconds = time.process_time() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "devices": SIMULATED,
        "pairs": SIMULATED * (SIMULATED - 1),
        "sampled": shape[0] * shape[1],
        "seconds": round(seconds, 2),
        "memory_mb": round(memory),
        "width": round(got.high - got.low, 3),
    }


def exponents(sizes: list[dict[str, Any]]) -> dict[str, float]:
    """Slope of log seconds against log devices, least squares; stages below 0.05 s left out."""
    found = {}
    for name in sizes[0]["seconds"]:
        times = [(s["devices"], s["seconds"][name]) for s in sizes if name in s["seconds"]]
        if min(seconds for _, seconds in times) >= 0.05:
            logs = np.log(np.array(times))
            found[name] = round(float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0]), 2)
    return found


@pytest.mark.benchmark
def test_growth() -> None:
    measured = []
    for count in SIZES:
        with TemporaryDirectory() as place:
            done = subprocess.run(
                [sys.executable, __file__, str(count), place],
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)},
                capture_output=True,
                text=True,
                check=False,
            )
        assert done.returncode == 0, done.stderr
        measured.append(json.loads(done.stdout.splitlines()[-1]))
        print(measured[-1])
        growth = exponents(measured) if len(measured) > 1 else {}
        value = {
            "schema": "fleet.scale.growth/1",
            "sizes": measured,
            "exponents": growth,
            "simulated": simulated(),
            "environment": environment(),
        }
        write_json(RESULT, value)
    assert not math.isnan(growth["train"])


if __name__ == "__main__":
    print(json.dumps(stages(int(sys.argv[1]), Path(sys.argv[2]))))
