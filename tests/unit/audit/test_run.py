"""The audit of a run on disk: real training, real images, jobs that resume."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fleet.assembly import load_images
from fleet.audit.members import TransferSettings, load_member
from fleet.audit.result import TransferAudit
from fleet.audit.run import AuditJob, audit_run_transfer, take_sample
from fleet.audit.transfer import audit_transfer
from fleet.errors import AuditError, CheckpointError
from fleet.execution import Progress
from fleet.profiles import load_profile
from fleet.profiles.resolved import read_family
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
SETTINGS = TransferSettings(eps=(0.1, 0.2), steps=2, restarts=1, noise_draws=1)
IMAGES = 40


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, mnist_root: Path) -> RunDirectory:
    place = tmp_path_factory.mktemp("audited")
    profile = place / "tiny.yaml"
    profile.write_text(PROFILE.format(root=mnist_root))
    trained = train_family(load_profile(profile), parent=place, workers=0)
    assert not trained.errors
    return trained.run


def audit(run: RunDirectory, workers: int = 0, **values: object) -> TransferAudit:
    settings = replace(SETTINGS, **values)
    return audit_run_transfer(run, settings, images=IMAGES, workers=workers)


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
    members = [load_member(run, family, device) for device in family.devices]
    memory = audit_transfer(members, sample.images, sample.labels, SETTINGS)
    assert [device.name for device in first.devices] == ["door", "twin"]
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


def test_finished_rows_are_used_again_and_damaged_ones_made_again(
    run: RunDirectory, first: TransferAudit
) -> None:
    sets = run.audit("transfer") / "sets"
    (sets / "twin.safetensors").write_bytes(b"cut off by a kill")
    before = (sets / "door.safetensors").stat().st_mtime_ns
    events: list[Progress] = []
    again = audit_run_transfer(run, SETTINGS, images=IMAGES, workers=0, on_event=events.append)
    assert comparable(again) == comparable(first)
    assert (sets / "door.safetensors").stat().st_mtime_ns == before
    steps = {name: [e.done / e.total for e in events if e.job == name] for name in (
        "attack door", "attack twin",
    )}  # fmt: skip
    assert steps["attack door"] == [1.0], "nothing to attack"
    assert steps["attack twin"] == [1 / 3, 2 / 3, 1.0]


def test_results_do_not_depend_on_the_number_of_processes(
    run: RunDirectory, first: TransferAudit
) -> None:
    for path in (run.audit("transfer") / "sets").iterdir():
        path.unlink()
    assert comparable(audit(run, workers=2)) == comparable(first)


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
        audit_run_transfer(run, SETTINGS, images=0, workers=0)


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


def test_an_audit_without_a_dataset_record_is_made_all_the_same(
    run: RunDirectory, first: TransferAudit
) -> None:
    text = run.dataset.read_text()
    run.dataset.unlink()
    try:
        assert audit(run).provenance["dataset"] is None
    finally:
        run.dataset.write_text(text)
