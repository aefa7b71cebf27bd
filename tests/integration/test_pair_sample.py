"""A sample of pairs through the command line, and what it says about the whole."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pytest

from fleet.audit.transfer.estimate import Drawn, draw_devices, estimate_transfer

RunFleet = Callable[..., Any]


def test_a_sample_of_all_devices_is_the_whole_matrix_and_attacks_nothing_again(
    workplace: Path, audited: dict[str, Any], call_fleet: RunFleet, tmp_path: Path
) -> None:
    (source,) = (workplace / "runs").iterdir()
    run = tmp_path / source.name
    shutil.copytree(source, run)
    sets = run / "audits" / "transfer" / "sets"
    before = {path.name: path.stat().st_mtime_ns for path in sets.iterdir()}
    words = ("audit", "transfer", run, "--images", 40, "--steps", 5, "--restarts", 1, "--jobs", 1)
    done = call_fleet(*words, "--surrogates", 3, "--victims", 3, "--format", "json")
    assert done.returncode == 0, done.stderr
    assert {path.name: path.stat().st_mtime_ns for path in sets.iterdir()} == before
    found = json.loads(done.stdout)["at"]
    kept = json.loads((run / "audits" / "transfer" / "sample.json").read_text())
    assert kept["at"] == found
    assert kept["surrogates"]["names"] == ["door", "gate", "twin"]
    for at in found:
        (matrix,) = (
            m
            for m in audited["matrices"]
            if (m["protocol"], m["attack"], m["eps"]) == ("adaptive", "worst", at["eps"])
        )
        shipped = {"door", "gate", "twin"}
        rates = [
            (cell["outcome"]["flip"] + cell["outcome"]["reject"]) / cell["outcome"]["n"]
            for cell in matrix["cells"]
            if cell["surrogate"] != cell["victim"]
            and {cell["surrogate"], cell["victim"]} <= shipped
        ]
        assert at["estimate"]["rate"] == pytest.approx(mean(rates))
        assert at["estimate"]["low"] <= mean(rates) <= at["estimate"]["high"]
        assert at["estimate"]["from_victims"] == 0  # all were drawn
        assert at["worst"][0][2] == pytest.approx(max(rates))
    page = run / "audits" / "transfer" / "sample.html"
    assert "6 of 6 pairs of surrogate and victim" in page.read_text()
    page.unlink()
    again = call_fleet("report", page.with_suffix(".json"), "--format", "json")
    assert again.returncode == 0, again.stderr
    assert "6 of 6 pairs" in page.read_text()
    whole = call_fleet("report", run, "--format", "json", "--out", tmp_path / "page")
    assert whole.returncode == 0, whole.stderr
    assert '<section id="sample"' in (tmp_path / "page" / "report.html").read_text()
    gated = call_fleet(*words, "--surrogates", 2, "--max-asr", 0.5)
    assert gated.returncode == 2
    assert "gates need the whole audit" in gated.stderr
    # Where the sample is all that there is, the verdict gives its estimate and trusts no check.
    (run / "audits" / "transfer" / "audit.json").unlink()
    certify = ("audit", "certify", run, "--images", 20, "--radii", 0, "--jobs", 1)
    certified = call_fleet(*certify, "--eps", at["eps"])
    assert certified.returncode == 0, certified.stderr
    said = " ".join(certified.stdout.replace("│", " ").split())
    share = f"{100 * at['estimate']['rate']:.0f} of 100 images on average over the fleet"
    assert share in said
    assert "as 6 of 6 pairs say. The worst pair is not known, and no reliability check" in said
    assert "a sample of pairs has no reliability checks" in said


def test_a_larger_sample_holds_the_smaller_and_every_stratum_is_in_it() -> None:
    strata = {f"cam-{n:03}": "rare" if n % 50 == 0 else "usual" for n in range(200)}
    small, large = (draw_devices(strata, count, 7, "victims") for count in (12, 40))
    assert set(small.names) < set(large.names)
    assert {"rare", "usual"} == set(small.strata)
    assert small.weights.sum() == pytest.approx(200)
    assert draw_devices(strata, 12, 7, "surrogates").names != small.names


def test_devices_that_differ_widen_the_interval_and_the_whole_fleet_does_not() -> None:
    random = np.random.default_rng(0)
    rates = np.repeat([0.1, 0.9], 4)  # victims of two kinds, and nobody knows of which
    evaded = random.random((8, 8, 100)) < rates[:, None]
    correct = np.ones((8, 100), dtype=bool)
    names = tuple(f"v{n}" for n in range(8))
    surrogates = Drawn(tuple(f"s{n}" for n in range(8)), ("all",) * 8, (8,) * 8)
    whole = estimate_transfer(evaded, correct, surrogates, Drawn(names, ("all",) * 8, (8,) * 8))
    drawn = estimate_transfer(evaded, correct, surrogates, Drawn(names, ("all",) * 8, (99,) * 8))
    known = estimate_transfer(
        evaded, correct, surrogates, Drawn(names, ("a",) * 4 + ("b",) * 4, (50,) * 8)
    )
    assert whole.rate == pytest.approx(drawn.rate) == pytest.approx(known.rate)
    assert whole.from_victims == 0
    assert drawn.high - drawn.low > 5 * (known.high - known.low)
    assert whole.high - whole.low < 0.1


def test_nothing_that_fell_is_no_proof_of_nothing() -> None:
    devices = Drawn(tuple(f"d{n}" for n in range(4)), ("all",) * 4, (100,) * 4)
    none = estimate_transfer(np.zeros((4, 4, 50), bool), np.ones((4, 50), bool), devices, devices)
    assert none.rate == none.low == 0
    assert none.high > 0.4
