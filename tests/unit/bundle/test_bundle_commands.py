import hashlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from typer.testing import CliRunner, Result

from fleet.audit.core.result import AuditedDevice, Cell, Matrix, NoiseFloor, Outcome, Role
from fleet.audit.diversity.result import FACTORS, DiversityAudit, Effect, Group, Together
from fleet.audit.transfer.result import TransferAudit
from fleet.bundle import pack_second, read_bundle
from fleet.cli.bundle import inspect, package, verify
from fleet.cli.predict import predict
from fleet.errors import BundleError, CheckpointError
from fleet.rundir import RunDirectory
from unit.bundle import bundle_samples as samples


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    found = typer.Typer()
    for command in (package, verify, predict, inspect):
        found.command()(command)
    return found


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    monkeypatch.chdir(tmp_path)
    found: RunDirectory = samples.finished_run(
        Path("runs/20261122-213100-demo"), "cam-01", "cam-02"
    )
    return found


def call(app: typer.Typer, *arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_package_takes_the_newest_run_and_its_date(app: typer.Typer, run: RunDirectory) -> None:
    done = call(app, "package")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in run.bundles.iterdir()) == [
        "cam-01-2026.11.22.fleet",
        "cam-02-2026.11.22.fleet",
    ]
    assert "20261122-213100-demo" in done.stderr
    assert "next: fleet verify runs/20261122-213100-demo/bundles" in done.stderr
    assert "next:" not in done.stdout
    assert "wrote 2 bundles" in done.stderr
    assert "wrote 0 bundles" in call(app, "package").stderr


def test_package_writes_one_json_document(app: typer.Typer, run: RunDirectory) -> None:
    done = call(app, "package", run.root, "--release", "7", "-d", "cam-02", "--format", "json")
    (entry,) = json.loads(done.stdout)["bundles"]
    assert (entry["device"], entry["release"], entry["state"]) == ("cam-02", "7", "written")
    assert entry["bytes"] == Path(entry["path"]).stat().st_size
    assert read_bundle(Path(entry["path"])).manifest.release == "7"


def test_a_dry_run_writes_nothing(app: typer.Typer, run: RunDirectory) -> None:
    done = call(app, "package", "--dry-run", "--out", "elsewhere")
    assert done.exit_code == 0
    assert "nothing is written" in done.stdout
    assert "next:" not in done.stderr
    assert not Path("elsewhere").exists()


def test_package_replaces_other_bundles_only_when_forced(
    app: typer.Typer, run: RunDirectory
) -> None:
    path = run.bundles / "cam-01-7.fleet"
    path.parent.mkdir()
    path.write_bytes(b"another")
    refused = call(app, "package", "--release", "7")
    assert isinstance(refused.exception, BundleError)
    assert path.read_bytes() == b"another"
    assert call(app, "package", "--release", "7", "--force").exit_code == 0
    assert read_bundle(path)


def test_a_run_that_is_not_there_is_named(app: typer.Typer, run: RunDirectory) -> None:
    done = call(app, "package", "absent")
    assert isinstance(done.exception, CheckpointError)
    assert "no run at absent" in done.exception.message


def test_verify_prints_one_line_for_each_check_of_each_bundle(
    app: typer.Typer, run: RunDirectory
) -> None:
    call(app, "package")
    done = call(app, "verify", run.bundles)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert sum(line.endswith(".fleet: verified") for line in lines) == 2
    assert sum(line.startswith("  ok ") for line in lines) == 12
    assert sum("unsigned" in line for line in lines) == 2
    assert "next: fleet predict" in done.stderr


def test_verify_names_the_damaged_bundle_and_both_digests(
    app: typer.Typer, run: RunDirectory
) -> None:
    call(app, "package")
    bad = run.bundles / "cam-02-2026.11.22.fleet"
    data = bytearray(bad.read_bytes())
    data[data.index(samples.tiny_model(1)) + 260] ^= 1
    bad.write_bytes(data)
    done = call(app, "verify", run.bundles)
    assert done.exit_code == 1
    assert f"{bad}: NOT VERIFIED" in done.stdout
    failed = [line for line in done.stdout.splitlines() if line.startswith("  FAILED")]
    assert len(failed) == 1
    expected = read_bundle(run.bundles / "cam-01-2026.11.22.fleet").manifest
    assert expected.payload.sha256 not in failed[0]
    assert failed[0].count("sha256") == 1
    assert ", got " in failed[0]
    assert "1 of 2 bundles failed" in done.stderr
    assert "next:" not in done.stderr
    value = json.loads(call(app, "verify", run.bundles, "--format", "json").stdout)
    assert value["ok"] is False
    assert [bundle["ok"] for bundle in value["bundles"]] == [True, False]
    assert value["bundles"][0]["signed"] is False
    assert value["bundles"][1]["checks"][-1]["name"] == "weights digest"


def test_verify_of_nothing_is_an_error_and_not_a_verdict(app: typer.Typer, tmp_path: Path) -> None:
    nothing = call(app, "verify", tmp_path)
    assert isinstance(nothing.exception, BundleError)
    assert "no bundles in" in nothing.exception.message
    absent = call(app, "verify", tmp_path / "absent.fleet")
    assert isinstance(absent.exception, BundleError)
    assert "No such file" in absent.exception.message
    assert "verified" not in absent.output


def test_verify_without_arguments_takes_the_newest_run_and_says_so(
    app: typer.Typer, run: RunDirectory
) -> None:
    samples.finished_run(Path("runs/20250101-000000-older"), "old")
    call(app, "package")
    call(app, "package", "20250101-000000-older")
    done = call(app, "verify")
    assert done.exit_code == 0
    assert "verifying the bundles in runs/20261122-213100-demo/bundles" in done.stderr
    assert "verifying" not in done.stdout
    assert done.stdout == call(app, "verify", run.bundles).stdout
    elsewhere = run.root.parent.rename("kept")
    assert call(app, "verify", "--runs", elsewhere).stdout.count(": verified") == 2


def test_verify_without_arguments_and_without_bundles_says_what_is_missing(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    unknown = call(app, "verify")
    assert isinstance(unknown.exception, CheckpointError)
    assert "no runs under runs/" in unknown.exception.message
    run = samples.finished_run(Path("runs/20261122-213100-demo"), "cam-01")
    for _ in range(2):
        missing = call(app, "verify")
        assert isinstance(missing.exception, BundleError)
        assert f"no bundles in {run.bundles}" in missing.exception.message
        assert "fleet package" in str(missing.exception.hint)
        assert missing.stdout == ""
        run.bundles.mkdir(exist_ok=True)


def test_exit_codes_of_a_real_process_tell_damage_from_absence(
    run_fleet: Callable[..., "subprocess.CompletedProcess[str]"],
    tmp_path: Path,
) -> None:
    path = tmp_path / "cam-01-2026.11.1.fleet"
    path.write_bytes(samples.tiny_bundle())
    assert run_fleet("verify", path).returncode == 0
    path.write_bytes(samples.tiny_bundle()[:-1])
    damaged = run_fleet("verify", path)
    assert damaged.returncode == 1
    assert "the end marker is damaged" in damaged.stdout
    absent = run_fleet("verify", tmp_path / "absent.fleet")
    assert absent.returncode == 2
    assert absent.stdout == ""
    assert "Traceback" not in absent.stderr


def test_repr_of_a_bundle_shows_neither_encoding_nor_weights(run: RunDirectory) -> None:
    path = run.root / "cam-01.fleet"
    path.write_bytes(samples.tiny_bundle())
    bundle = read_bundle(path)
    assert bundle.manifest.encoding is not None
    assert "cam-01" in repr(bundle)
    assert "IntervalEncoding" not in repr(bundle)
    assert "\\x" not in repr(bundle)


def test_inspect_shows_the_manifest_and_hides_the_encoding_until_asked(
    app: typer.Typer, tmp_path: Path
) -> None:
    path = tmp_path / "cam-01-2026.11.1.fleet"
    path.write_bytes(samples.tiny_bundle())
    done = call(app, "inspect", path)
    assert done.exit_code == 0
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert (lines["device"], lines["version"], lines["state"]) == ("cam-01", "1", "opened")
    assert lines["class_names"] == "cat, dog, bird"
    assert lines["encoding"].startswith("hidden")
    plain = read_bundle(path).manifest.to_dict()
    told = json.loads(call(app, "inspect", path, "--reveal", "--format", "json").stdout)
    assert told == json.loads(json.dumps({**plain, "state": "opened"}))
    path.write_bytes(samples.tiny_bundle()[:-1])
    assert isinstance(call(app, "inspect", path).exception, BundleError)


@pytest.mark.parametrize("sealed", [True, False])
def test_inspect_of_the_second_format_says_what_it_did_not_open(
    app: typer.Typer, tmp_path: Path, sealed: bool
) -> None:
    key = X25519PrivateKey.generate().public_key().public_bytes_raw()
    model = samples.tiny_model()
    recipient = ("cafe", key) if sealed else None
    path = tmp_path / "cam-01-2026.11.1.fleet"
    path.write_bytes(pack_second(samples.manifest(model), model, counter=3, recipient=recipient))
    done = call(app, "inspect", path, "--reveal")
    assert done.exit_code == 0, done.exception
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert (lines["version"], lines["counter"]) == ("2", "3")
    assert lines["state"] == ("sealed, not opened" if sealed else "opened")
    assert ("encoding.alpha" in lines) != sealed
    assert ("sealed, not opened" in done.stderr) == sealed


@pytest.fixture
def audited(run: RunDirectory) -> RunDirectory:
    """cam-02 takes 30 of 100 images made on cam-01 and 60 made on a control; cam-01 takes none."""
    evaded = {("cam-01", "cam-02"): 30, ("control", "cam-02"): 60}
    roles: dict[str, Role] = {"cam-01": "device", "cam-02": "device", "control": "control"}
    devices = tuple(
        AuditedDevice(name, "int", "nn", "linear", None, digest(run, name), 100, 100, 0, role)
        for name, role in roles.items()
    )
    empty = Outcome(0, 0, 0)
    cells = tuple(
        Cell(s, v, Outcome(100, evaded.get((s, v), 0), 0), empty, empty)
        for s in roles
        for v in roles
    )
    noise = tuple(NoiseFloor(name, 0.1, empty, 1) for name in roles)
    matrices = (Matrix("adaptive", "worst", 0.1, cells),)
    head = ("demo", "2026", devices, (0.1,), (), {}, {})
    TransferAudit(*head, noise, matrices).save(run.audit("transfer") / "audit.json")
    return run


def digest(run: RunDirectory, name: str) -> str:
    path = run.model(name)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--max-transfer", 0.29], "evade 0.300 from cam-01 to cam-02 at eps 0.1 is above 0.29"),
        (["--max-transfer", 0.3], ""),
        (["--max-transfer", 0.3, "--confidence", "upper"], "(upper bound 0.396 of 100 images)"),
        (["--max-outsider", 0.3], "evade 0.600 from control to cam-02"),
        (["--max-outsider", 0.3, "--device", "cam-01"], ""),
        (["--fail-on", "masked"], "no reliability check ran"),
        (["--require-audit"], ""),
    ],
)
def test_gates_stand_before_the_first_bundle(
    app: typer.Typer, audited: RunDirectory, words: list[object], reason: str
) -> None:
    done = call(app, "package", *words)
    assert done.exit_code == bool(reason), done.output
    assert audited.bundles.exists() != bool(reason)
    assert reason in done.stderr


def test_what_differences_bought_is_judged_by_the_diversity_audit_of_these_weights(
    app: typer.Typer, audited: RunDirectory
) -> None:
    absent = call(app, "package", "--min-diversity", 0.1)
    assert absent.exit_code == 1
    assert "gate: cam-01 has no diversity audit of these weights" in absent.stderr
    devices = TransferAudit.load(audited.audit("transfer") / "audit.json").devices
    group = Group(0.1, (), 1, 0.4, (0.3, 0.5), 0.1)
    effect = Effect(0.1, "any", 3, 1, 2, 0.15, (0.08, 0.2), p=0.01, smallest_p=0.01)
    rows = ((), (group,), (effect,), (), ())
    found = DiversityAudit("demo", "2026", devices, (0.1,), (), {}, {}, *rows)
    whole = (Effect(0.1, factor, 1, 1, 0) for factor in FACTORS)
    pair = Together("failure", ("cam-01", "cam-02"), 0.1, 0, 0, 0, 0)
    found = replace(found, effects=(*whole, effect), together=(pair,))
    found.save(audited.audit("diversity") / "audit.json")
    strict = call(app, "package", "--min-diversity", 0.1, "--confidence", "upper")
    assert strict.exit_code == 1
    assert "transfer saved 0.150 (lower bound 0.080 of 100 images)" in strict.stderr
    assert not audited.bundles.exists()
    assert call(app, "package", "--min-diversity", 0.1).exit_code == 0


def test_what_was_never_audited_passes_no_gate(app: typer.Typer, run: RunDirectory) -> None:
    for words in (["--require-audit"], ["--max-transfer", 1]):
        done = call(app, "package", *words)
        assert done.exit_code == 1
        assert "gate: cam-01 has no transfer audit (linf) of these weights" in done.stderr
        assert not run.bundles.exists()
    assert call(app, "package").exit_code == 0
