"""From a YAML file to trained devices, an audit and bundles, through the command line.

The training and one command of each kind run in processes of their own, as a user's do; the rest
runs in this one, which saves importing torch again and again.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

RunFleet = Callable[..., Any]


def only_run(workplace: Path) -> Path:
    (run,) = (workplace / "runs").iterdir()
    return run


def digit(mnist_root: Path, path: Path) -> Path:
    """Write the first test image (a seven) as a PNG."""
    import gzip

    raw = gzip.decompress((mnist_root / "MNIST/raw/t10k-images-idx3-ubyte.gz").read_bytes())
    pixels = np.frombuffer(raw, np.uint8, 28 * 28, 16).reshape(28, 28)
    Image.fromarray(pixels).save(path)
    return path


def test_train_writes_a_whole_run_and_says_so_in_json(workplace: Path) -> None:
    run = only_run(workplace)
    stdout = json.loads((workplace / "train.json").read_text())
    assert [device["device"] for device in stdout["devices"]] == [
        "door", "gate", "twin", "control",
    ]  # fmt: skip
    assert all(device["status"] == "complete" for device in stdout["devices"])
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    for device in ("door", "gate", "twin"):
        for name in ("model.safetensors", "metrics.jsonl", "result.json"):
            assert f"devices/{device}/{name}" in names
    assert {"profile.resolved.json", "started.json", "environment.json", "dataset.json"} <= names
    dataset = json.loads((run / "dataset.json").read_text())
    assert len(dataset["sha256"]) == 64
    assert not [name for name in names if name.endswith(".tmp")]


def test_the_audit_stands_in_every_form_and_they_agree(
    workplace: Path, audited: dict[str, Any]
) -> None:
    directory = only_run(workplace) / "audits" / "transfer"
    assert json.loads((directory / "audit.json").read_text()) == audited
    devices = [device["name"] for device in audited["devices"]]
    assert devices == ["door", "gate", "twin", "control"]
    assert [device["role"] for device in audited["devices"]] == ["device"] * 3 + ["control"]
    worst = [m for m in audited["matrices"] if m["attack"] == "worst"]
    assert {(m["protocol"], round(m["eps"], 3)) for m in worst} == {
        ("paper", 0.1), ("paper", 0.2), ("adaptive", 0.1), ("adaptive", 0.2),
    }  # fmt: skip
    html = (directory.parent / "report.html").read_text()
    assert all(name in html for name in devices)
    assert (directory / "transfer.csv").read_text().count("\n") > 9
    assert (directory / "transfer.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (directory / "transfer.svg").read_text()


def test_the_diversity_audit_takes_the_images_of_the_transfer_audit(
    workplace: Path, audited: dict[str, Any], call_fleet: RunFleet
) -> None:
    sets = only_run(workplace) / "audits/transfer/sets"
    before = {path: path.read_bytes() for path in sets.iterdir()}
    done = call_fleet("audit", "diversity", "--jobs", 1, "--format", "json", cwd=workplace)
    assert done.returncode == 0, done.stderr
    assert "as in the transfer audit" in done.stderr
    found = json.loads(done.stdout)
    assert {path: path.read_bytes() for path in sets.iterdir()} == before
    assert found["settings"]["sets"] == "transfer"
    assert found["settings"]["images_sha256"] == audited["settings"]["images_sha256"]
    assert [network["name"] for network in found["networks"]] == ["door", "gate"]
    (worst,) = (
        m
        for m in audited["matrices"]
        if (m["protocol"], m["attack"]) == ("adaptive", "worst") and m["eps"] == found["eps"][0]
    )
    rates = [
        (cell["outcome"]["flip"] + cell["outcome"]["reject"]) / cell["outcome"]["n"]
        for cell in worst["cells"]
        if {cell["surrogate"], cell["victim"]} == {"door", "gate"}
        and cell["surrogate"] != cell["victim"]
    ]
    assert found["groups"][0]["transfer"] == pytest.approx(sum(rates) / 2)
    assert found["groups"][0]["differs"] == ["order", "network"]
    assert {effect["why_not"] for effect in found["effects"]} == {
        "no two networks share it", "all networks share it",
        "no two networks differ in the seed alone; `twin: true` trains such a pair",
    }  # fmt: skip
    pairs = {tuple(row["devices"]) for row in found["together"] if row["event"] == "mistake"}
    assert pairs == {("door", "gate"), ("door", "twin"), ("gate", "twin")}


def test_the_audit_unmasks_the_papers_protocol(audited: dict[str, Any]) -> None:
    def diagonal(protocol: str, device: str) -> float:
        (matrix,) = [
            m for m in audited["matrices"]
            if (m["protocol"], m["attack"], round(m["eps"], 3)) == (protocol, "worst", 0.2)
        ]  # fmt: skip
        (cell,) = [c for c in matrix["cells"] if c["surrogate"] == c["victim"] == device]
        outcome = cell["outcome"]
        return (outcome["flip"] + outcome["reject"]) / outcome["n"]

    assert diagonal("adaptive", "door") > diagonal("paper", "door") + 0.2
    verdicts = {(check["id"], check["verdict"]) for check in audited["checks"]}
    assert ("M1", "fail") in verdicts
    assert ("M13", "fail") in verdicts


def test_gates_turn_an_audit_into_an_exit_code(
    workplace: Path, call_fleet: RunFleet, tmp_path: Path, light_probes: Callable[..., Any]
) -> None:
    run = tmp_path / "runs" / only_run(workplace).name  # its audit replaces no other's
    shutil.copytree(only_run(workplace), run, ignore=shutil.ignore_patterns("audits"))
    quick = (
        "audit", "transfer", "--images", 6, "--steps", 1, "--restarts", 1, "--eps", "0.2",
        "--jobs", 1,
    )  # fmt: skip
    with light_probes():
        strict = call_fleet(*quick, "--max-asr", 0, cwd=tmp_path)
        passed = call_fleet(*quick, "--max-asr", 1, cwd=tmp_path)
    assert strict.returncode == 1
    assert "gate: evade" in strict.stderr
    assert "next:" not in strict.stderr  # nothing is packaged after a gate that failed
    assert passed.returncode == 0
    assert f"next: fleet package runs/{run.name}\n" in passed.stderr


def test_report_draws_the_same_files_again(
    workplace: Path, audited: dict[str, Any], call_fleet: RunFleet, tmp_path: Path
) -> None:
    audit = tmp_path / "audit.json"
    audit.write_text(json.dumps(audited))
    for directory in ("one", "two"):
        done = call_fleet("report", audit, "--out", tmp_path / directory, cwd=workplace)
        assert done.returncode == 0, done.stderr
    first = sorted((tmp_path / "one").iterdir())
    assert len(first) >= 4
    for path in first:
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@pytest.fixture(scope="module")
def bundles(workplace: Path, run_fleet: RunFleet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    done = run_fleet("package", "--release", "1.0", "--out", out, cwd=workplace)
    assert done.returncode == 0, done.stderr
    return out


def test_package_writes_one_bundle_for_each_device_and_the_same_bytes_again(
    workplace: Path, bundles: Path, call_fleet: RunFleet, tmp_path: Path
) -> None:
    assert {p.name for p in bundles.iterdir()} == {
        f"{n}-1.0.fleet" for n in ("door", "gate", "twin")
    }
    done = call_fleet("package", "--release", "1.0", "--out", tmp_path, cwd=workplace)
    assert done.returncode == 0, done.stderr
    for path in bundles.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_verify_says_yes_and_any_flipped_bit_makes_it_say_no(
    bundles: Path, run_fleet: RunFleet, call_fleet: RunFleet, tmp_path: Path
) -> None:
    assert run_fleet("verify", bundles).returncode == 0
    whole = (bundles / "door-1.0.fleet").read_bytes()
    damaged = tmp_path / "door-1.0.fleet"
    for offset in (0, len(whole) // 2, len(whole) - 1):
        data = bytearray(whole)
        data[offset] ^= 1
        damaged.write_bytes(data)
        assert call_fleet("verify", damaged).returncode == 1, offset


def test_verify_without_arguments_takes_the_newest_runs_bundles(
    workplace: Path, call_fleet: RunFleet
) -> None:
    assert call_fleet("package", cwd=workplace).returncode == 0
    done = call_fleet("verify", "--format", "json", cwd=workplace)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["bundles"]) == 3


def test_predict_gives_a_label_or_none_with_its_margin(
    bundles: Path, run_fleet: RunFleet, mnist_root: Path, tmp_path: Path
) -> None:
    image = digit(mnist_root, tmp_path / "seven.png")
    noise = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    done = run_fleet(
        "predict", bundles / "gate-1.0.fleet", image, tmp_path / "noise.png", "--format", "json"
    )
    assert done.returncode == 0, done.stderr
    seven, _ = json.loads(done.stdout)["predictions"]
    assert seven["label"] == "7"
    assert seven["margin"] > 0


def test_the_same_seed_gives_the_same_bundles_in_another_run(
    tiny_profile: Path, call_fleet: RunFleet, tmp_path: Path
) -> None:
    small = tiny_profile.read_text().replace("2000", "640, test_limit: 200")
    bundles = []
    for place in (tmp_path / "first", tmp_path / "again"):
        place.mkdir()
        (place / "small.yaml").write_text(small.replace("epochs: 2", "epochs: 1"))
        for words in (
            ("train", "--profiles", "small.yaml", "--jobs", 1),
            ("package", "--release", "1.0", "--out", "dist"),
        ):
            done = call_fleet(*words, cwd=place)
            assert done.returncode == 0, done.stderr
        bundles.append({path.name: path.read_bytes() for path in (place / "dist").iterdir()})
    assert len(bundles[0]) == 3
    assert bundles[0] == bundles[1]


def test_a_dry_run_writes_nothing(
    tiny_profile: Path, workplace: Path, call_fleet: RunFleet, tmp_path: Path
) -> None:
    done = call_fleet("train", "-p", tiny_profile, "--dry-run", "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["states"] == dict.fromkeys(
        ("door", "gate", "twin", "control"), "new"
    )
    human = call_fleet("train", "-p", tiny_profile, "--dry-run", cwd=tmp_path)
    assert "door" in human.stdout
    assert list(tmp_path.iterdir()) == []
    before = set(workplace.rglob("*"))
    assert call_fleet("package", "--release", "9", "--dry-run", cwd=workplace).returncode == 0
    assert call_fleet("audit", "transfer", "--dry-run", cwd=workplace).returncode == 0
    assert set(workplace.rglob("*")) == before


def test_a_finished_device_is_not_trained_again(
    tiny_profile: Path, workplace: Path, call_fleet: RunFleet, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / only_run(workplace).name
    shutil.copytree(only_run(workplace), run)
    (run / "devices" / "twin" / "result.json").unlink()
    shutil.rmtree(run / "audits", ignore_errors=True)  # the run is shared, and may be audited
    before = (run / "devices" / "door" / "result.json").read_bytes()
    done = call_fleet("train", "-p", tiny_profile, "--resume", "must", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 of 4 networks" in done.stderr
    assert f"next: fleet audit transfer {run.relative_to(tmp_path)}\n" in done.stderr
    assert (run / "devices" / "door" / "result.json").read_bytes() == before
    original = only_run(workplace) / "devices" / "twin" / "model.safetensors"
    resumed = run / "devices" / "twin" / "model.safetensors"
    assert resumed.read_bytes() == original.read_bytes()
