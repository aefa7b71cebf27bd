import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fleet.audit.transfer.result import SCHEMA
from fleet.bundle import AuditRow, described, read_bundle
from fleet.bundle.manifest import AuditSummary
from fleet.bundle.package import package, package_run, plan_run, write_plans
from fleet.errors import BundleError, CheckpointError
from fleet.files import canonical_json, write_bytes, write_json
from fleet.rundir import RunDirectory
from unit.bundle import bundle_samples as samples

DEVICES = ("cam-01", "cam-02")
FINDINGS = ("schema", "devices", "matrices", "checks")


@pytest.fixture(autouse=True)
def no_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    found: RunDirectory = samples.finished_run(tmp_path / "20261122-213100-demo", *DEVICES)
    return found


def change(path: Path, **fields: Any) -> None:
    write_json(path, {**json.loads(path.read_text()), **fields})


def audit(run: RunDirectory, /, **changes: Any) -> Path:
    """An audit.json of two devices, with what the summary needs."""

    def cell(surrogate: str, victim: str, flip: int, reject: int, n: int = 100) -> dict[str, Any]:
        outcome = {"n": n, "flip": flip, "reject": reject}
        return {"surrogate": surrogate, "victim": victim, "outcome": outcome}

    def matrix(protocol: str, attack: str, eps: float, *cells: dict[str, Any]) -> dict[str, Any]:
        return {"protocol": protocol, "attack": attack, "eps": eps, "cells": cells}

    value = {
        "schema": "fleet.audit.transfer/2",
        "devices": [
            {
                "name": name,
                "weights_sha256": json.loads(run.result(name).read_text())["weights_sha256"],
            }
            for name in DEVICES
        ],
        "matrices": [
            matrix("paper", "worst", 0.1, cell("cam-01", "cam-01", 0, 0)),
            matrix(
                "adaptive",
                "worst",
                0.2,
                cell("cam-01", "cam-01", 90, 10),
                cell("cam-02", "cam-01", 40, 15),
            ),
            matrix(
                "adaptive",
                "worst",
                0.1,
                cell("cam-01", "cam-01", 70, 10),
                cell("cam-02", "cam-01", 20, 5),
                cell("cam-02", "cam-02", 0, 0, n=0),
            ),
            matrix("adaptive", "pgd", 0.1, cell("cam-01", "cam-01", 1, 1)),
        ],
        "checks": [
            {"id": "M1", "verdict": "fail", "subject": "paper"},
            {"id": "M9", "verdict": "fail", "subject": "adaptive steps"},
            {"id": "M9", "verdict": "fail", "subject": "adaptive restarts"},
            {"id": "M11", "verdict": "pass", "subject": ""},
        ],
        **changes,
    }
    path = run.audit("transfer") / "audit.json"
    write_json(path, value)
    return path


def test_every_device_gets_a_bundle_that_says_what_it_is(run: RunDirectory) -> None:
    infos = package_run(run, "2026.11.1")
    assert [info.path for info in infos] == [
        run.bundles / "cam-01-2026.11.1.fleet",
        run.bundles / "cam-02-2026.11.1.fleet",
    ]
    bundle = read_bundle(infos[1].path)
    spec = samples.family(*DEVICES)
    assert bundle.model == samples.tiny_model(1)
    assert bundle.manifest.encoding == spec.devices[1].encoding
    assert bundle.manifest.model.width == 0.25
    assert bundle.manifest.class_names == samples.NAMES
    assert bundle.manifest.created is None
    assert bundle.manifest.metrics.accuracy == 0.97
    assert bundle.manifest.metrics.reject_rate == 0.012
    assert bundle.manifest.provenance.profile_digest == spec.digest()
    assert bundle.manifest.provenance.seed == 7
    assert bundle.manifest.preprocessing.fit == "squash"
    assert bundle.manifest.audit is None


def test_a_drawn_encoding_stays_with_its_owner(run: RunDirectory) -> None:
    spec = samples.family(*DEVICES)
    secret = dataclasses.replace(spec.devices[0], drawn=("order",))
    drawn = dataclasses.replace(spec, devices=(secret, *spec.devices[1:]))
    write_json(run.profile, drawn.to_dict())
    modes = [info.path.stat().st_mode & 0o777 for info in package_run(run, "r1")]
    assert modes == [0o600, 0o644]


def test_packaging_again_changes_nothing(run: RunDirectory) -> None:
    first = package_run(run, "r1")
    before = [info.path.stat().st_mtime_ns for info in first]
    assert [plan.state for plan in plan_run(run, "r1")] == ["unchanged", "unchanged"]
    assert package_run(run, "r1") == first
    assert [info.path.stat().st_mtime_ns for info in first] == before


def test_a_plan_writes_nothing(run: RunDirectory, tmp_path: Path) -> None:
    plans = plan_run(run, "r1", tmp_path / "out")
    assert [plan.state for plan in plans] == ["new", "new"]
    assert not (tmp_path / "out").exists()
    assert write_plans(plans) == [plan.info for plan in plans]


def test_another_bundle_of_the_same_name_is_kept_unless_forced(run: RunDirectory) -> None:
    infos = package_run(run, "r1")
    infos[0].path.write_bytes(b"another")
    infos[1].path.unlink()
    with pytest.raises(BundleError, match=r"other bundles .*cam-01-r1\.fleet") as caught:
        package_run(run, "r1")
    assert "--force" in str(caught.value.hint)
    assert infos[0].path.read_bytes() == b"another"
    assert not infos[1].path.exists(), "everything is checked before the first file is written"
    assert package_run(run, "r1", force=True) == infos
    assert read_bundle(infos[0].path)


def test_devices_can_be_chosen(run: RunDirectory, tmp_path: Path) -> None:
    infos = package_run(run, "r1", tmp_path / "out", ["cam-02"])
    assert [info.path.name for info in infos] == ["cam-02-r1.fleet"]
    with pytest.raises(CheckpointError, match="no device 'cam-03'") as caught:
        package_run(run, "r1", devices=["cam-03"])
    assert caught.value.hint == "its devices are cam-01, cam-02"


@pytest.mark.parametrize("release", ["", "a b", "../x", "-r", ".r", "x" * 65, "r\n", "é"])
def test_a_bad_release_name_is_refused(run: RunDirectory, release: str) -> None:
    with pytest.raises(BundleError, match="is no release name"):
        package_run(run, release)


def test_unfinished_devices_are_all_named(run: RunDirectory) -> None:
    run.result("cam-01").unlink()
    change(run.result("cam-02"), status="failed")
    with pytest.raises(CheckpointError, match="not finished: cam-01, cam-02"):
        package_run(run, "r1")
    assert not run.bundles.exists()


def test_a_device_without_weights_is_unfinished(run: RunDirectory) -> None:
    run.model("cam-02").unlink()
    with pytest.raises(CheckpointError, match="not finished: cam-02"):
        package_run(run, "r1")


@pytest.mark.parametrize(
    ("key", "value"), [("weights_sha256", "0" * 64), ("weights_bytes", 3), ("device", "cam-02")]
)
def test_a_result_of_other_weights_is_refused(run: RunDirectory, key: str, value: Any) -> None:
    change(run.result("cam-01"), **{key: value})
    with pytest.raises(CheckpointError, match=f"does not belong .*{key}"):
        package_run(run, "r1")


def test_exchanged_weights_are_refused(run: RunDirectory) -> None:
    write_bytes(run.model("cam-01"), samples.tiny_model(1))
    with pytest.raises(CheckpointError, match="weights_sha256"):
        package_run(run, "r1")


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("result", {"test": {"n": 0, "correct": 0, "rejected": 0}}),
        ("result", {"test": None}),
        ("dataset", {"mean": "none"}),
        ("dataset", {"class_names": None}),
    ],
)
def test_incomplete_results_are_one_clear_error(
    run: RunDirectory, name: str, fields: dict[str, Any]
) -> None:
    change(run.dataset if name == "dataset" else run.result("cam-01"), **fields)
    with pytest.raises(CheckpointError, match=r"results of 'cam-01' in .* are incomplete"):
        package_run(run, "r1")


@pytest.mark.parametrize("text", ["", "[]", "{", "\udcff"])
def test_damaged_run_files_are_one_clear_error(run: RunDirectory, text: str) -> None:
    for path in (run.dataset, run.result("cam-01"), run.profile):
        before = path.read_bytes()
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(CheckpointError, match=path.name.replace(".", r"\.")):
            package_run(run, "r1")
        path.write_bytes(before)


def test_class_names_that_would_reach_a_terminal_are_refused(run: RunDirectory) -> None:
    change(run.dataset, class_names=["cat", "dog", "\x1b[31m"])
    with pytest.raises(BundleError, match="cam-01: manifest: class_names must hold different"):
        package_run(run, "r1")


def test_the_summary_of_the_audit_goes_along(run: RunDirectory) -> None:
    path = audit(run)
    first, second = package_run(run, "r1")
    summary = read_bundle(first.path).manifest.audit
    assert isinstance(summary, AuditSummary)
    assert summary.failed_checks == 1
    assert summary.rows == (AuditRow(0.1, 100, 0.8, 0.25), AuditRow(0.2, 100, 1.0, 0.55))
    nothing = read_bundle(second.path).manifest.audit
    assert nothing is None, "cam-02 decodes nothing correctly: 0 failed checks would say too much"
    path.unlink()
    assert [plan.state for plan in plan_run(run, "r1")] == ["different", "unchanged"]


@pytest.mark.parametrize(
    ("others", "rate"),
    [
        ({"cam-02": 10, "control": 40, "twin": 60}, 0.1),
        ({"control": 40, "twin": 60}, 0.4),
        ({"twin": 60}, None),
    ],
)
def test_a_manifest_counts_transfers_as_the_gate_does(
    run: RunDirectory, others: dict[str, int], rate: float | None
) -> None:
    digest = hashlib.sha256(run.model("cam-01").read_bytes()).hexdigest()
    found = {"cam-01": 90, **others}
    devices = [
        {"name": n, "weights_sha256": digest, "role": n if n in {"control", "twin"} else "device"}
        for n in found
    ]
    cells = [
        {"surrogate": n, "victim": "cam-01", "outcome": {"n": 100, "flip": flip, "reject": 0}}
        for n, flip in found.items()
    ]
    matrix = {"protocol": "adaptive", "attack": "worst", "eps": 0.1, "cells": cells}
    audit(run, devices=devices, matrices=[matrix])
    quoted = plan_run(run, "r1", devices=["cam-01"])[0].manifest.audit
    assert (None if quoted is None else quoted.rows[0].transfer_evade) == rate


def test_an_audit_of_other_weights_is_refused(run: RunDirectory) -> None:
    audit(run, devices=[{"name": "cam-01", "weights_sha256": "0" * 64}])
    with pytest.raises(CheckpointError, match="about other weights of 'cam-01'"):
        package_run(run, "r1")


def test_an_audit_that_left_a_device_out_or_has_another_schema_is_not_quoted(
    run: RunDirectory,
) -> None:
    audit(run, devices=[])
    assert plan_run(run, "r1")[0].manifest.audit is None
    audit(run, schema="fleet.audit.transfer/1")
    assert plan_run(run, "r1")[0].manifest.audit is None


@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_manifest_names_the_audits_split(run: RunDirectory, split: str) -> None:
    audit(run, settings={"split": split})
    package_run(run, "r1")
    quoted = read_bundle(run.bundles / "cam-01-r1.fleet").manifest.audit
    assert quoted is not None
    assert quoted.split == split


def test_the_quoted_schema_is_that_of_the_transfer_audit() -> None:
    assert described.AUDIT_SCHEMA == SCHEMA


DIVIDES_BY_ZERO = {
    "matrices": [
        {
            "protocol": "adaptive",
            "attack": "worst",
            "eps": 0.1,
            "cells": [
                {"surrogate": s, "victim": "cam-01", "outcome": {"n": n, "flip": 0, "reject": 0}}
                for s, n in (("cam-01", 5), ("cam-02", 0))
            ],
        }
    ]
}


@pytest.mark.parametrize(
    "fields", [{"matrices": [{}]}, {"devices": 3}, {"checks": [3]}, DIVIDES_BY_ZERO]
)
def test_a_damaged_audit_is_refused(run: RunDirectory, fields: dict[str, Any]) -> None:
    audit(run, **fields)
    with pytest.raises(CheckpointError, match=r"audit\.json is damaged"):
        package_run(run, "r1")


SCRIPT = """
import sys
from pathlib import Path
from fleet.bundle.package import package_run
from fleet.rundir import RunDirectory
for info in package_run(RunDirectory(Path(sys.argv[1])), "r1", Path(sys.argv[2])):
    print(info.sha256)
"""


def test_two_processes_make_the_same_bytes(run: RunDirectory, tmp_path: Path) -> None:
    digests = []
    for number, zone in enumerate(["UTC", "Asia/Tokyo"]):
        env = {**os.environ, "PYTHONHASHSEED": str(number), "TZ": zone}
        command = [sys.executable, "-c", SCRIPT, str(run.root), str(tmp_path / zone)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        digests.append(done.stdout)
    assert digests[0] == digests[1]
    assert len(digests[0].split()) == 2
    for name in ("cam-01-r1.fleet", "cam-02-r1.fleet"):
        paths = [tmp_path / "UTC" / name, tmp_path / "Asia" / "Tokyo" / name]
        assert paths[0].read_bytes() == paths[1].read_bytes()


def another_training(root: Path, *, finished: str, seconds: float, audited: bool) -> RunDirectory:
    """The same training at another time and place, perhaps with its audit."""
    run: RunDirectory = samples.finished_run(root, *DEVICES)
    for name in DEVICES:
        change(run.result(name), finished=finished, seconds=seconds)
    if audited:
        audit(
            run,
            run=run.name,
            created=finished,
            provenance={"environment": {"command": ["fleet", str(root)], "cores": len(str(root))}},
        )
    return run


@pytest.mark.parametrize("audited", [False, True])
def test_the_same_training_at_another_time_and_place_gives_the_same_bundles(
    tmp_path: Path, audited: bool
) -> None:
    one = another_training(
        tmp_path / "20261122-213100-demo",
        finished="2026-11-22T21:31:00+00:00",
        seconds=1.5,
        audited=audited,
    )
    two = another_training(
        tmp_path / "elsewhere" / "mine",
        finished="2027-01-01T03:00:00+02:00",
        seconds=99.0,
        audited=audited,
    )
    first, second = package_run(one, "r1"), package_run(two, "r1")
    assert [info.sha256 for info in first] == [info.sha256 for info in second]
    assert [info.path.read_bytes() for info in first] == [info.path.read_bytes() for info in second]
    assert (read_bundle(first[0].path).manifest.audit is not None) == audited


def test_the_audits_digest_is_of_what_was_found_and_of_nothing_else(run: RunDirectory) -> None:
    def digest(**changes: Any) -> str:
        audit(run, **changes)
        summary = plan_run(run, "r1")[0].manifest.audit
        assert summary is not None
        return summary.sha256

    plain = digest()
    assert plain == digest(created="2027-01-01", run="elsewhere", provenance={"cores": 64})
    assert plain == digest(seconds=7.5, exhibits=[{"clean": "cG5n"}])
    path = run.audit("transfer") / "audit.json"
    found = {k: v for k, v in json.loads(path.read_text()).items() if k in FINDINGS}
    assert plain == hashlib.sha256(canonical_json(found).encode()).hexdigest()
    path.write_text(json.dumps(json.loads(path.read_text())))
    assert plain == digest(), "the spelling of the file does not count"
    others = [
        digest(settings={"seed": 1}),
        digest(noise=[3]),
        digest(checks=[{"id": "M1", "verdict": "fail", "finding": "worse"}]),
    ]
    assert len({plain, *others}) == 4


def test_source_date_epoch_is_the_only_time_in_a_bundle(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795383060")
    (first, _) = package_run(run, "r1")
    assert read_bundle(first.path).manifest.created == "2026-11-22T21:31:00Z"


@pytest.mark.parametrize("epoch", ["", "soon", "-1", "1e9", "9" * 30, "²"])
def test_a_senseless_source_date_epoch_is_refused(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, epoch: str
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    with pytest.raises(BundleError, match="SOURCE_DATE_EPOCH is"):
        package_run(run, "r1")


def test_a_run_of_any_name_is_packaged_without_naming_a_release(tmp_path: Path) -> None:
    """`fleet train --run cams` says `next: fleet package cams`, which must lead on."""
    run = samples.finished_run(tmp_path / "cams", "cam-01")
    write_json(run.started, {"started": "2026-11-22T21:31:00+00:00"})
    assert [bundle.path.name for bundle in package(run)] == ["cam-01-2026.11.22.fleet"]
