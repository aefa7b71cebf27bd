"""The audit of a run on disk: real training, real images, jobs that resume."""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fleet.assembly import load_images
from fleet.attacks import Precision
from fleet.audit.core import jobs as core_jobs
from fleet.audit.core import probes
from fleet.audit.core.jobs import AuditJob, load_audited, take_sample
from fleet.audit.core.members import TransferSettings, load_member
from fleet.audit.core.scoring import score_sets
from fleet.audit.core.sets import attack_surrogate
from fleet.audit.transfer import audit as transfer
from fleet.audit.transfer.audit import audit_run_transfer, audit_transfer
from fleet.audit.transfer.result import TransferAudit
from fleet.audit.whitebox import audit as whitebox
from fleet.audit.whitebox.audit import audit_run_whitebox
from fleet.errors import AuditError, CheckpointError
from fleet.execution import Processes, Progress, Serial, kept_workers
from fleet.profiles import load_profile
from fleet.profiles.spec import read_family
from fleet.rundir import RunDirectory
from fleet.training.family import train_family

PROFILE = """\
version: 1
name: tiny
data: {{dataset: mnist, root: {root}, validation: 100, train_limit: 640}}
defaults:
  model: {{width: 0.125}}
  training: {{epochs: 1, batch_size: 32, shift: 0}}
devices:
  - name: door
    encoding: {{alpha: 4, beta: 16}}
  - name: twin
    task: tra
"""
GATE = """\
  - name: gate
    encoding: {alpha: 4, beta: 16, order: [4, 2, 7, 0, 9, 6, 3, 8, 1, 5]}
    model: {head: ordinal}
"""
NAMES = ("door", "twin", "control")
SETTINGS = TransferSettings(eps=(0.1, 0.2), steps=2, restarts=1, noise_draws=1)
IMAGES = 24


@pytest.fixture(scope="module", autouse=True)
def _light_probes(light_probes: Callable[..., Any]) -> Iterator[None]:
    with light_probes():
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, mnist_root: Path) -> RunDirectory:
    place = tmp_path_factory.mktemp("audited")
    profile = place / "tiny.yaml"
    profile.write_text(PROFILE.format(root=mnist_root))
    trained = train_family(load_profile(profile), parent=place, executor=Serial())
    assert not trained.errors
    return trained.run


def audit(run: RunDirectory, workers: int = 0, **values: object) -> TransferAudit:
    settings = replace(SETTINGS, **values)
    return audit_run_transfer(run, settings, images=IMAGES, executor=Processes(workers))


@pytest.fixture(scope="module")
def first(run: RunDirectory) -> TransferAudit:
    return audit(run)


def comparable(result: TransferAudit) -> TransferAudit:
    return replace(result, created="")


def test_a_run_gives_the_same_figures_as_its_models_in_memory(
    run: RunDirectory, first: TransferAudit
) -> None:
    family = read_family(run)
    job = AuditJob(run, "door", SETTINGS, IMAGES, "test")
    sample = take_sample(load_images(family.data), job)
    assert len(sample.images) == IMAGES
    members = [load_member(run, family, device) for device in family.trained]
    memory = audit_transfer(members, sample.images, sample.labels, SETTINGS)
    assert [(device.name, device.role) for device in first.devices] == [
        ("door", "device"), ("twin", "device"), ("control", "control"),
    ]  # fmt: skip
    assert first.devices == memory.devices
    # Random starts and noise are keyed by the image's number in its dataset, which memory lacks.
    for attack in ("fgsm", "up"):
        assert first.matrix(
            "paper" if attack == "fgsm" else "adaptive", 0.1, attack
        ) == memory.matrix("paper" if attack == "fgsm" else "adaptive", 0.1, attack)


def test_provenance_says_what_was_audited(run: RunDirectory, first: TransferAudit) -> None:
    assert first.run == run.name
    assert first.settings["split"] == "test"
    assert first.settings["images"] == IMAGES
    assert "PGD(objective=Directions()" in first.settings["attack_values"]["up/down"]
    assert "PGD(objective=Margin()" in first.settings["attack_values"]["margin"]
    assert first.provenance["dataset"]["dataset"] == "mnist"
    assert first.provenance["profile_sha256"] == read_family(run).digest()
    assert len(first.devices[0].weights_sha256) == 64


def spy(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count what costs time: attacks, examinations, and trials on other devices."""
    calls: Counter[str] = Counter()

    def counted(name: str, real: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            calls[name] += 1
            return real(*arguments, **keywords)

        return call

    work = ((core_jobs, "attack_surrogate"), (core_jobs, "examine"), (transfer, "replay"))
    for module, name in work:
        monkeypatch.setattr(module, name, counted(name, getattr(module, name)))
    return calls


def test_what_is_finished_is_used_again_and_what_is_damaged_is_made_again(
    run: RunDirectory, first: TransferAudit, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = run.audit("transfer")
    calls = spy(monkeypatch)
    assert comparable(audit(run)) == comparable(first)
    assert calls == {}, "nothing is attacked or tried again"
    (directory / "sets" / "twin.safetensors").write_bytes(b"cut off by a kill")
    (directory / "examined" / "door.json").write_text('{"schema": "fleet')
    (directory / "trials" / "door" / "twin.json").unlink()
    before = (directory / "sets" / "door.safetensors").stat().st_mtime_ns
    events: list[Progress] = []
    again = audit_run_transfer(
        run, SETTINGS, images=IMAGES, executor=Serial(on_event=events.append)
    )
    assert comparable(again) == comparable(first)
    # The images come out the same, so what was found on them is kept.
    assert calls == {"attack_surrogate": 1, "examine": 1, "replay": 1}
    assert (directory / "sets" / "door.safetensors").stat().st_mtime_ns == before
    steps = {event.job: [] for event in events}
    for event in (event for event in events if event.done):
        steps[event.job].append(event.done / event.total)
    assert set(steps) == {f"{v} {d}" for v in ("attack", "try on") for d in NAMES}
    assert steps["attack door"] == [1.0], "nothing to attack"
    assert steps["attack twin"] == [1 / 6, 2 / 6, 1.0]
    assert steps["try on door"] == [1 / 3, 2 / 3, 1.0]


def test_results_do_not_depend_on_the_number_of_processes(
    run: RunDirectory, tmp_path: Path, light_probes: Callable[..., Any]
) -> None:
    found = []
    for workers in (0, 2):
        copy = RunDirectory(tmp_path / str(workers) / run.name)
        shutil.copytree(run.root, copy.root, ignore=shutil.ignore_patterns("audits"))
        settings = replace(SETTINGS, eps=(0.2,), steps=1, brief=True)
        # Worker processes know of no lighter probes; each imports torch, so they are kept.
        with light_probes(False), kept_workers():
            found.append(audit_run_transfer(copy, settings, images=6, executor=Processes(workers)))
    assert comparable(found[0]) == comparable(found[1])


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_images_and_outcomes_do_not_depend_on_the_batch_size(
    run: RunDirectory, precision: Precision
) -> None:
    whole = replace(SETTINGS, eps=(0.2,), precision=precision, restarts=2)
    for name in NAMES:
        member, sample = load_audited(AuditJob(run, name, whole, 13, "test"))
        sets = attack_surrogate(member, sample, whole)
        outcomes = score_sets(member, sample, sets.images, whole).outcomes
        for size in (5, 12):  # 4, 4 and 5 images; 6 and 7
            parts = replace(whole, batch_size=size)
            assert torch.equal(attack_surrogate(member, sample, parts).images, sets.images)
            assert (score_sets(member, sample, sets.images, parts).outcomes == outcomes).all()


def test_another_device_costs_one_row_and_one_column(
    run: RunDirectory,
    first: TransferAudit,
    mnist_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A longer profile trains the same weights anew; their images and trials are taken over."""
    profile = tmp_path / "tiny.yaml"
    profile.write_text(PROFILE.format(root=mnist_root) + GATE)
    longer = train_family(load_profile(profile), parent=tmp_path, executor=Serial()).run
    fresh = RunDirectory(tmp_path / "fresh")
    shutil.copytree(longer.root, fresh.root)
    calls = spy(monkeypatch)
    extended = audit_run_transfer(longer, SETTINGS, images=IMAGES, executor=Serial(), sets_from=run)
    assert calls == {"attack_surrogate": 1, "examine": 1, "replay": 2 * len(NAMES)}
    calls.clear()
    whole = audit(fresh)
    assert calls == {"attack_surrogate": 4, "examine": 4, "replay": 12}
    assert comparable(extended) == replace(comparable(whole), run=extended.run)
    kept = first.matrix("adaptive", 0.2).cell("door", "twin")
    assert extended.matrix("adaptive", 0.2).cell("door", "twin") == kept


def test_a_run_without_an_audit_has_nothing_to_take_over(
    run: RunDirectory, first: TransferAudit, tmp_path: Path
) -> None:
    with pytest.raises(AuditError, match="holds no adversarial images"):
        audit_run_transfer(
            run, SETTINGS, images=IMAGES, executor=Serial(), sets_from=RunDirectory(tmp_path)
        )


def test_weights_that_are_not_those_of_the_training_stop_the_audit(
    run: RunDirectory, first: TransferAudit
) -> None:
    weights, other = run.model("twin"), run.model("control").read_bytes()
    whole = weights.read_bytes()
    weights.write_bytes(other)
    try:
        with pytest.raises(
            CheckpointError, match=r"weights of twin .* not those that were trained"
        ):
            audit(run)
    finally:
        weights.write_bytes(whole)


def test_the_whitebox_audit_of_a_run_is_that_of_its_models_and_resumes(
    run: RunDirectory, first: TransferAudit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The others take hundreds of gradients each.
    monkeypatch.setattr(whitebox, "_ATTACKS", whitebox._ATTACKS[3:])
    settings = replace(SETTINGS, eps=(0.2,))
    alone = RunDirectory(tmp_path / run.name)
    shutil.copytree(run.root, alone.root, ignore=shutil.ignore_patterns("audits"))
    whole = audit_run_whitebox(alone, settings, images=4, executor=Serial())
    calls = spy(monkeypatch)
    again = probes.try_again
    tried: list[float] = []
    monkeypatch.setattr(probes, "try_again", lambda s, x: tried.append(s.eps) or again(s, x))
    found = audit_run_whitebox(run, settings, images=4, executor=Serial())
    assert [device.name for device in found.devices] == list(NAMES)
    assert found.settings["split"] == "test"
    assert found.provenance["profile_sha256"] == read_family(run).digest()
    nearness = run.audit("whitebox") / "nearness"
    before = {path.name: path.stat().st_mtime_ns for path in nearness.iterdir()}
    assert calls == {"examine": 3}, "the images are those of the transfer audit"
    assert tried, "of which these are a part"
    assert replace(found, created=whole.created) == whole
    calls.clear()
    for kind in ("whitebox", "transfer"):
        (run.audit(kind) / "sets" / "door.json").unlink()
    again = audit_run_whitebox(run, settings, images=4, executor=Serial())
    assert calls == {"attack_surrogate": 1}
    assert replace(again, created=found.created) == found
    assert {path.name: path.stat().st_mtime_ns for path in nearness.iterdir()} == before


def test_what_one_audit_tried_again_the_other_does_not(
    run: RunDirectory, first: TransferAudit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = [RunDirectory(tmp_path / str(n) / run.name) for n in range(2)]
    settings = replace(SETTINGS, eps=(0.1, 0.3), brief=True)
    found = []
    for copy, before in zip(copies, (False, True), strict=True):
        shutil.copytree(run.root, copy.root, ignore=shutil.ignore_patterns("audits"))
        if before:
            whole = replace(settings, eps=(0.1, 0.2, 0.3))
            audit_run_whitebox(copy, whole, images=8, executor=Serial())
            monkeypatch.delattr(probes, "try_again")
        found.append(audit_run_transfer(copy, settings, images=8, executor=Serial()))
    assert comparable(found[0]) == comparable(found[1])


def test_the_sample_is_drawn_without_replacement_and_depends_on_seed_and_split(
    run: RunDirectory,
) -> None:
    data = load_images(read_family(run).data)
    job = AuditJob(run, "door", SETTINGS, 60, "test")
    sample = take_sample(data, job)
    assert len(sample.indices.unique()) == 60
    assert torch.equal(sample.images, data.test.images(sample.indices))
    assert torch.equal(sample.labels, data.test.labels[sample.indices])
    assert torch.equal(sample.indices, take_sample(data, job).indices)
    other = take_sample(data, replace(job, settings=replace(SETTINGS, seed=1)))
    assert not torch.equal(sample.indices, other.indices)
    few = take_sample(data, replace(job, split="validation", images=1000))
    assert few.indices.tolist() == list(range(100)), "all of a split that has fewer"


def test_an_empty_split_and_no_images_are_refused(run: RunDirectory) -> None:
    data = load_images(read_family(run).data)
    empty = replace(data, validation=replace(data.validation, labels=data.validation.labels[:0]))
    with pytest.raises(AuditError, match="validation split has no images"):
        take_sample(empty, AuditJob(run, "door", SETTINGS, 5, "validation"))
    with pytest.raises(AuditError, match="0 images to audit"):
        audit_run_transfer(run, SETTINGS, images=0, executor=Serial())


def test_a_device_that_is_not_trained_stops_the_audit(
    run: RunDirectory, first: TransferAudit
) -> None:
    weights = run.model("twin")
    hidden = weights.rename(weights.with_suffix(".hidden"))
    try:
        with pytest.raises(CheckpointError, match="twin is not trained"):
            audit(run)
    finally:
        hidden.rename(weights)


def test_a_drawn_encoding_is_not_given_away(
    run: RunDirectory, first: TransferAudit, tmp_path: Path
) -> None:
    plain = json.loads(run.profile.read_text())
    plain["devices"][0]["drawn"] = ["order"]
    text = run.profile.read_text()
    run.profile.write_text(json.dumps(plain))
    try:
        result = audit(run)
    finally:
        run.profile.write_text(text)
    assert first.devices[0].encoding is not None
    assert result.devices[0].encoding is None
    for path in run.audit("transfer").rglob("*.json"):
        assert "alpha" not in path.read_text(), "nor in what is kept, which may be handed on"


@pytest.mark.parametrize("text", [None, "", "[]"])
def test_a_missing_or_damaged_record_of_the_data_stops_the_audit(
    run: RunDirectory, first: TransferAudit, text: str | None
) -> None:
    whole = run.dataset.read_text()
    run.dataset.unlink() if text is None else run.dataset.write_text(text)
    try:
        with pytest.raises(CheckpointError, match=r"dataset\.json"):
            audit(run)
    finally:
        run.dataset.write_text(whole)
