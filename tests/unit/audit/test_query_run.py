"""The query and the trace audit of a run on disk: jobs that resume, stored images, the commands."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from fleet.assembly import load_images
from fleet.audit.core import sets as core_sets
from fleet.audit.core.jobs import AuditJob, take_sample
from fleet.audit.core.members import Member, Sample, TransferSettings, load_member
from fleet.audit.core.outsider import attacker_of
from fleet.audit.core.sets import (
    AdversarialSets,
    attack_surrogate,
    save_sets,
    sets_origin,
    stored_sets,
)
from fleet.audit.query.audit import attack_settings
from fleet.audit.query.methods import QuerySettings
from fleet.audit.query.result import QueryAudit
from fleet.audit.query.run import ask_device, attack_device, audit_run_query
from fleet.audit.trace import run as trace_run
from fleet.audit.trace.evidence import TraceSettings
from fleet.audit.trace.result import TraceAudit
from fleet.audit.trace.run import audit_run_trace
from fleet.audit.trace.unknown import trace_files
from fleet.cli.app import command_line
from fleet.errors import AuditError, FleetWarning
from fleet.execution import Progress, Serial
from fleet.profiles import load_profile
from fleet.profiles.spec import read_family
from fleet.rundir import RunDirectory
from fleet.training.family import train_family

PROFILE = """\
version: 1
name: tiny
control: false
data: {{dataset: mnist, root: {root}, validation: 60, train_limit: 640}}
defaults:
  model: {{width: 0.125}}
  training: {{epochs: 1, batch_size: 32, shift: 0}}
devices:
  - name: door
    encoding: {{alpha: 4, beta: 16}}
    model: {{head: ordinal}}
    training: {{learning_rate: 0.01}}
  - name: gate
    task: tra
"""
ASKING = QuerySettings(
    (0.2,), queries=4, methods=("noise", "transfer+queries"), steps=2, batch_size=16
)
TRACING = TraceSettings((0.2,), evidence=(1, 2), steps=2)
IMAGES = 12


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, mnist_root: Path) -> RunDirectory:
    place = tmp_path_factory.mktemp("asked")
    profile = place / "tiny.yaml"
    profile.write_text(PROFILE.format(root=mnist_root))
    trained = train_family(load_profile(profile), parent=place, executor=Serial())
    assert not trained.errors
    return trained.run


@pytest.fixture(scope="module", autouse=True)
def _small_own_networks() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setattr(trace_run, "OWN_COUNT", 64)
    yield
    patch.undo()


def ask(run: RunDirectory, settings: QuerySettings = ASKING, **values: object) -> QueryAudit:
    return audit_run_query(run, settings, images=IMAGES, executor=Serial(), **values)  # type: ignore[arg-type]


def trace(run: RunDirectory, settings: TraceSettings = TRACING, **values: object) -> TraceAudit:
    given: dict[str, object] = {"images": IMAGES, "calibration_images": 10, "executor": Serial()}
    return audit_run_trace(run, settings, **{**given, **values})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def asked(run: RunDirectory) -> QueryAudit:
    return ask(run)


@pytest.fixture(scope="module")
def traced(run: RunDirectory) -> TraceAudit:
    result = trace(run)
    result.save(run.audit("trace") / "audit.json")
    return result


def written(run: RunDirectory, kind: str) -> dict[str, int]:
    files = run.audit(kind).rglob("*")
    return {str(path): path.stat().st_mtime_ns for path in files if path.is_file()}


def test_a_run_says_what_was_asked(run: RunDirectory, asked: QueryAudit) -> None:
    assert [device.name for device in asked.devices] == ["door", "gate"]
    assert asked.methods == ("noise", "transfer+queries")
    assert asked.curve("door", 0.2, "transfer+queries").owned == ("gate",)
    assert asked.settings["split"] == "test"
    assert asked.settings["images"] == IMAGES
    assert asked.provenance["dataset"]["dataset"] == "mnist"
    assert asked.devices[0].architecture == "nn"


def test_a_finished_victim_is_used_again_and_a_damaged_one_asked_again(
    run: RunDirectory, asked: QueryAudit
) -> None:
    before = written(run, "query")
    assert replace(ask(run), created=asked.created) == asked
    assert written(run, "query") == before
    kept = run.audit("query") / "asked" / "gate.json"
    kept.write_text(kept.read_text().replace('"queries": 4', '"queries": 5', 1))
    assert replace(ask(run), created=asked.created) == asked
    changed = {path for path, time in written(run, "query").items() if before[path] != time}
    assert changed == {str(kept)}
    other = ask(run, replace(ASKING, seed=1))
    assert other.curves != asked.curves
    ask(run)


def test_jobs_and_what_they_find_cross_process_boundaries(run: RunDirectory) -> None:
    jobs = [
        AuditJob(run, name, attack_settings(ASKING), IMAGES, "test", "query")
        for name in ("door", "gate")
    ]
    made = {job.device: attack_device(job, progress=lambda *_: None) for job in jobs}
    function = pickle.loads(pickle.dumps(partial(ask_device, settings=ASKING, made=made)))
    found = function(jobs[1], progress=lambda *_: None)
    assert pickle.loads(pickle.dumps(found)) == found
    with pytest.raises(AuditError, match="stored images of door are not those"):
        ask_device(
            jobs[1],
            settings=replace(ASKING, queries=3),
            made={**made, "door": "0" * 64},
            progress=lambda *_: None,
        )


def test_one_victim_can_be_asked_alone(run: RunDirectory, asked: QueryAudit) -> None:
    alone = ask(run, victims=("gate",))
    assert alone.curves == tuple(c for c in asked.curves if c.victim == "gate")
    with pytest.raises(AuditError, match="no device attic in"):
        ask(run, victims=("attic",))


def test_extraction_of_a_run_uses_its_architecture_and_training_images(run: RunDirectory) -> None:
    family = read_family(run)
    attacker = attacker_of(family.devices[0], family.data, 0)
    assert len(attacker.images) == 640
    data = load_images(family.data)
    assert torch.equal(attacker.images[:5], data.train.images(torch.arange(5)))
    settings = replace(ASKING, methods=("extraction",), extraction=(20,), held_out=50)
    result = ask(run, settings, victims=("door",))
    assert result.fidelity[0].n == 50
    assert result.curve("door", 0.2, "extraction").last.queries == 20


def test_budgets_fit_the_data_of_a_run_and_this_is_said(run: RunDirectory) -> None:
    """640 training images; --extraction 20 once demanded 520 of them, the defaults 800."""
    settings = replace(ASKING, methods=("extraction",), extraction=(20, 600))
    with pytest.warns(FleetWarning, match="fitted to 640 training images of 10 classes: 20, 320"):
        result = ask(run, settings, victims=("gate",))
    assert [(found.queries, found.n) for found in result.fidelity] == [(20, 320), (320, 320)]
    assert (result.settings["extraction"], result.settings["held_out"]) == ([20, 320], 320)


def test_a_trace_of_a_run_judges_networks_of_nobodys(run: RunDirectory, traced: TraceAudit) -> None:
    assert [device.name for device in traced.devices] == ["door", "gate"]
    rate = traced.rate(0.2, "combined")
    assert {o.name for o in rate.outsiders} == {"own logits 2", "own interval 2"}
    assert traced.settings["outsiders"]["own logits 1"] == "known"
    assert (traced.settings["images"], traced.settings["calibration_images"]) == (IMAGES, 10)
    found = {check.id: check.verdict for check in traced.checks}
    assert found["T2"] == "pass"


def test_a_trace_resumes(run: RunDirectory, traced: TraceAudit) -> None:
    before = written(run, "trace")
    events: list[Progress] = []
    again = trace(run, executor=Serial(on_event=events.append))
    assert replace(again, created=traced.created) == traced
    assert written(run, "trace") == before
    assert [e.done / e.total for e in events if e.job == "trace door"][-1] == 1.0


def test_validation_images_are_split_between_calibration_and_tracing(
    run: RunDirectory, traced: TraceAudit
) -> None:
    result = trace(run, split="validation", images=5)
    assert result.settings["images"] == 5
    assert {c.id: c.verdict for c in result.checks}["T2"] == "pass"
    with pytest.raises(AuditError, match="calibration takes all 60 validation images"):
        trace(run, split="validation", calibration_images=60)


def test_images_of_a_transfer_audit_are_used_where_they_hold_all_that_is_wanted(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = read_family(run)
    member = load_member(run, family, family.device("gate"))
    wanted = attack_settings(ASKING)
    effort = TransferSettings((0.1, 0.2), steps=2, noise_draws=1)
    job = AuditJob(run, "gate", effort, 20, "test")
    sample = take_sample(load_images(family.data), job)
    sets = attack_surrogate(member, sample, effort)
    path = tmp_path / "transfer" / "sets" / "gate.safetensors"
    save_sets(sets, path, sets_origin(member, sample, effort))
    part = take_sample(load_images(family.data), replace(job, images=IMAGES))
    attacks: list[Sample] = []

    def attack(member: Member, sample: Sample, *_: object) -> AdversarialSets:
        attacks.append(sample)
        return attack_surrogate(member, sample, wanted)

    monkeypatch.setattr(core_sets, "attack_surrogate", attack)
    found = stored_sets(tmp_path, member, part, wanted)
    assert not attacks
    assert found.digest() == stored_sets(tmp_path / "nowhere", member, part, wanted).digest()
    assert len(attacks) == 1
    more = take_sample(load_images(family.data), replace(job, images=21))
    stored_sets(tmp_path, member, more, wanted)
    assert len(attacks) == 2, "one image is missing"


def test_the_defaults_of_query_and_trace_attack_as_a_transfer_audit_does() -> None:
    for attack in (attack_settings(QuerySettings((0.2,))), TraceSettings((0.2,)).attack()):
        assert attack == TransferSettings((0.2,))


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command_line(), ["audit", *map(str, arguments)])


def test_the_query_command_writes_and_judges(run: RunDirectory, asked: QueryAudit) -> None:
    common = [
        "query",
        run.root,
        "--images",
        IMAGES,
        "--queries",
        "4",
        "--eps",
        "0.2",
        "--steps",
        "2",
    ]
    methods = ["--method", "noise", "--method", "transfer+queries", "--jobs", "1"]
    gates = ["--max-asr", "0", "--fail-on", "masked", "--format", "json"]
    done = invoke(*map(str, [*common, *methods, *gates]))
    assert done.exit_code == 1, done.output
    assert "gate: evade" in done.stderr
    assert json.loads(done.stdout)["schema"] == "fleet.audit.query/1"
    assert QueryAudit.load(run.audit("query") / "audit.json").curves
    dry = invoke(*map(str, [*common, "--dry-run"]))
    assert "nothing is attacked" in dry.stdout


def test_the_trace_command_names_the_device(
    run: RunDirectory, traced: TraceAudit, tmp_path: Path
) -> None:
    common = [
        "trace",
        run.root,
        "--images",
        IMAGES,
        "--calibration",
        10,
        "--eps",
        0.2,
        "--steps",
        2,
    ]
    done = invoke(*map(str, [*common, "--jobs", "1", "--format", "json"]))
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["schema"] == "fleet.audit.trace/1"
    assert "nothing is attacked" in invoke(*map(str, [*common, "--dry-run"])).stdout

    family = read_family(run)
    member = load_member(run, family, family.device("gate"))
    job = AuditJob(run, "gate", TRACING.attack(), 6, "validation")
    sample = take_sample(load_images(family.data), job)
    made = attack_surrogate(member, sample, TRACING.attack()).images[0, 0]
    moved = (made != sample.images).flatten(1).any(1)
    np.save(tmp_path / "a.npy", made[moved].numpy())
    np.save(tmp_path / "o.npy", sample.images[moved].numpy())
    np.save(tmp_path / "y.npy", sample.labels[moved].numpy())
    files = ["--adversarial", tmp_path / "a.npy", "--originals", tmp_path / "o.npy"]
    named = invoke("trace", run.root, *files, "--labels", tmp_path / "y.npy", "--format", "json")
    assert named.exit_code == (0 if json.loads(named.stdout)["named"] else 1)
    assert json.loads(named.stdout)["ranking"][0]["name"] in {"door", "gate"}
    alone = invoke("trace", run.root, *files[:2])
    assert alone.exit_code == 2
    again = invoke("trace", run.root, "--adversarial", tmp_path / "o.npy", *files[2:])
    assert isinstance(again.exception, AuditError)


def test_a_device_that_changed_since_is_refused(
    run: RunDirectory, traced: TraceAudit, tmp_path: Path
) -> None:
    path = run.audit("trace") / "audit.json"
    first, *rest = traced.devices
    replace(traced, devices=(replace(first, weights_sha256="0" * 64), *rest)).save(path)
    try:
        with pytest.raises(AuditError, match="door changed since the trace audit"):
            trace_files(run, tmp_path, tmp_path)
    finally:
        traced.save(path)
