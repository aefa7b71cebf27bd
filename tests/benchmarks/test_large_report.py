"""Time and memory of reports, and of a sampled audit's arithmetic, for fleets of up to 1,000.

``python -m pytest -m benchmark tests/benchmarks/test_large_report.py -s`` writes
``results/scale/reports.json``. The audits are simulated (``tests/large_fleet.py``), each in a
process of its own: made, written, read back and rendered.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

PROJECT = Path(__file__).resolve().parents[2]
RESULT = PROJECT / "results" / "scale" / "reports.json"
SIZES = (24, 100, 300, 1000)


def peak() -> int:
    """Highest resident memory of this process so far, MB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def write(count: int, place: Path) -> dict[str, Any]:
    """Make the audits of a fleet, and write them."""
    from large_fleet import large_certify, large_transfer

    for kind, make in (("transfer", large_transfer), ("certify", large_certify)):
        (place / kind).mkdir(parents=True, exist_ok=True)
        text = json.dumps(make(count).to_dict())
        (place / kind / "audit.json").write_text(text, encoding="utf-8")
    size = sum(path.stat().st_size for path in place.rglob("audit.json"))
    return {"devices": count, "audit_bytes": size}


def render(count: int, place: Path) -> dict[str, Any]:
    """Read the audits of a fleet, and render everything that a report writes."""
    from fleet.reports.report import read_audits
    from fleet.reports.write import write_reports

    began = time.process_time()
    report = read_audits(place)
    read, memory = time.process_time() - began, peak()
    began = time.process_time()
    written = write_reports(report, place)
    return {
        "read_seconds": round(read, 1),
        "read_mb": memory,
        "report_seconds": round(time.process_time() - began, 1),
        "memory_mb": peak(),
        "page_bytes": written[0].stat().st_size,
        "other_bytes": sum(path.stat().st_size for path in written[1:]),
    }


def sample(count: int, place: Path) -> dict[str, Any]:
    """The arithmetic and the page of a sample of 16 surrogates and 64 victims, 500 images."""
    from fleet.audit.transfer.estimate import draw_devices, estimate_transfer
    from fleet.audit.transfer.result import PairSample, SampledPairs
    from fleet.reports.html import render_sample

    began = time.process_time()
    strata = {f"cam-{n:04}": str(n % 3) for n in range(count)}
    rows = draw_devices(strata, 16, 0, "surrogates")
    columns = draw_devices(strata, 64, 0, "victims")
    shape = (len(rows.names), len(columns.names), 500)
    evaded = np.random.default_rng(0).random(shape) < 0.1
    found = estimate_transfer(evaded, np.ones(shape[1:], bool), rows, columns)
    page = render_sample(PairSample(count, {}, rows, columns, (SampledPairs(0.1, found, (), ()),)))
    (place / "sample.html").write_text(page, encoding="utf-8")
    seconds = time.process_time() - began
    return {"seconds": round(seconds, 2), "memory_mb": peak(), "page_bytes": len(page)}


def apart(part: str, count: int, place: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, part, str(count), place],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join((str(PROJECT), str(PROJECT / "tests"))),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.benchmark
def test_reports_of_large_fleets() -> None:
    from fleet.files import write_json
    from fleet.provenance import environment

    measured = []
    for count in SIZES:
        with TemporaryDirectory() as place:
            measured.append(apart("write", count, place) | apart("render", count, place))
        print(measured[-1])
    with TemporaryDirectory() as place:
        sampled = apart("sample", SIZES[-1], place)
    value = {
        "schema": "fleet.scale.reports/1",
        "sizes": measured,
        "sample": {"devices": SIZES[-1], **sampled},
        "environment": environment(),
    }
    write_json(RESULT, value)
    assert measured[-1]["page_bytes"] < 5_000_000
    assert measured[-1]["memory_mb"] < 2_000


if __name__ == "__main__":
    part, count, place = sys.argv[1:]
    print(json.dumps(globals()[part](int(count), Path(place))))
