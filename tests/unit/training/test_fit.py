"""One device from images to weights: reproducible, resumable, and stopped when it diverges."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fleet.assembly import load_trained
from fleet.errors import CheckpointError, DataError, TrainingError
from fleet.execution import Progress, Serial
from fleet.profiles.spec import FamilySpec, read_family
from fleet.rundir import RunDirectory
from fleet.training import fit
from fleet.training.family import FamilyResult, execute_plan, train_family
from fleet.training.plan import plan_training

Family = Callable[..., FamilySpec]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def train(spec: FamilySpec, run: Path) -> FamilyResult:
    return train_family(spec, run=run, executor=Serial(), check=False)


def metrics(run: RunDirectory, name: str) -> list[dict[str, Any]]:
    """The lines of a device's metrics, without what the clock says."""
    lines = [json.loads(line) for line in run.metrics(name).read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in lines]


def stop_at(step: int) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.done == step:
            raise KeyboardInterrupt

    return report


def test_a_finished_device_leaves_weights_metrics_and_a_result(
    family: Family, tmp_path: Path
) -> None:
    outcome = train(family("a"), tmp_path / "run")
    run, result = outcome.run, outcome.results["a"]
    assert not outcome.errors
    assert result["weights_sha256"] == digest(run.model("a"))
    assert result["test"]["n"] == 500
    assert result["validation"]["n"] == 200
    assert result["test"]["correct"] + result["test"]["rejected"] <= 500
    assert not run.checkpoint("a").exists()
    lines = [json.loads(line) for line in run.metrics("a").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert json.loads(run.dataset.read_text())["dataset"] == "mnist"
    assert read_family(run) == family("a")
    classifier = load_trained(run, family("a").devices[0], family("a").data)
    assert not classifier.training


@pytest.mark.parametrize(
    ("task", "head", "loss"),
    [("int", "linear", "paper"), ("int", "ordinal", "scaled"), ("tra", "logits", "scaled"),
     ("hin", "logits", "scaled")],
)  # fmt: skip
def test_every_task_and_head_learns(
    family: Family, tmp_path: Path, task: str, head: str, loss: str
) -> None:
    spec = family("a", task=task, head=head, loss=loss, gradient_clip=5.0, optimizer="adamw")
    train(spec, tmp_path / "run")
    metrics = (tmp_path / "run" / "devices" / "a" / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in metrics]
    assert losses[1] < losses[0]


def test_weights_depend_on_seed_and_name_and_not_on_company(family: Family, tmp_path: Path) -> None:
    alone = train(family("a"), tmp_path / "1").run
    torch.manual_seed(99)
    together = train(family("b", "a"), tmp_path / "2").run
    seeded = train(family("a", seed=1), tmp_path / "3").run
    assert digest(alone.model("a")) == digest(together.model("a"))
    assert digest(together.model("a")) != digest(together.model("b"))
    assert digest(alone.model("a")) != digest(seeded.model("a"))


def test_training_leaves_the_callers_random_state_and_threads_alone(
    family: Family, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    train(family("a"), tmp_path / "run")
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adam", "validate_every": 3},
        {"optimizer": "adamw", "start": "zero", "loss": "paper", "precision": "fp32"},
        {"optimizer": "sgd", "gradient_clip": 1.0, "weight_decay": 1e-4},
    ],
    ids=lambda changes: changes["optimizer"],
)
def test_an_interrupted_training_goes_on_to_the_same_bits_and_the_same_curve(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    monkeypatch.setattr(fit, "CHECKPOINT_SECONDS", 0.0)  # after every step
    monkeypatch.setattr(fit, "REPORT_STEPS", 1)
    spec = family("a", **changes)
    unbroken = train(spec, tmp_path / "unbroken").run
    for step in (5, 8, 15):  # of 16: inside an epoch, at the end of one, and with a curve begun
        with pytest.raises(KeyboardInterrupt):
            train_family(spec, run=tmp_path / "run", executor=Serial(on_event=stop_at(step)))
    finished = train(spec, tmp_path / "run").run
    assert digest(finished.model("a")) == digest(unbroken.model("a"))
    assert metrics(finished, "a") == metrics(unbroken, "a")
    assert ("curve" in metrics(finished, "a")[1]) == ("validate_every" in changes)


def test_validation_inside_an_epoch_makes_a_finer_curve_and_the_same_weights(
    family: Family, tmp_path: Path
) -> None:
    plain = train(family("a"), tmp_path / "plain").run
    finer = train(family("a", validate_every=3), tmp_path / "finer").run
    last = train(family("a", validate_every=8), tmp_path / "last").run
    assert digest(plain.model("a")) == digest(finer.model("a")) == digest(last.model("a"))
    for line, whole in zip(metrics(finer, "a"), metrics(plain, "a"), strict=True):
        curve = line.pop("curve")
        assert [(point["step"], point["steps"]) for point in curve] == [(3, 8), (6, 8)]
        assert all(point["validation"]["n"] == 200 for point in curve)
        assert line == whole
    assert metrics(last, "a") == metrics(plain, "a")  # an epoch's end is validated anyway


def test_divergence_stops_that_device_and_the_others_go_on(family: Family, tmp_path: Path) -> None:
    spec = family("wild", "calm")
    wild = family("wild", loss="paper", optimizer="sgd", learning_rate=1e12, precision="fp32")
    mixed = FamilySpec("tiny", spec.data, (wild.devices[0], spec.devices[1]))
    outcome = train(mixed, tmp_path / "run")
    assert isinstance(outcome.errors["wild"], TrainingError)
    assert "training.learning_rate" in str(outcome.errors["wild"].hint)
    assert list(outcome.results) == ["calm"]
    assert json.loads(outcome.run.result("wild").read_text())["status"] == "failed"
    assert not outcome.run.model("wild").exists()


@pytest.fixture
def stopped(family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A run whose device was interrupted inside its second epoch."""
    monkeypatch.setattr(fit, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(fit, "REPORT_STEPS", 1)
    with pytest.raises(KeyboardInterrupt):
        train_family(family("a"), run=tmp_path / "run", executor=Serial(on_event=stop_at(12)))
    return RunDirectory(tmp_path / "run")


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Change what a checkpoint says of itself, and leave its tensors."""
    with safe_open(path, "pt") as opened:
        note = json.loads(opened.metadata()["fleet"])
    change(note)
    save_file(load_file(path), path, metadata={"fleet": json.dumps(note)})
    return dict(note)


def test_a_damaged_checkpoint_is_refused(family: Family, stopped: RunDirectory) -> None:
    stopped.checkpoint("a").write_bytes(b"rubbish")
    error = train(family("a"), stopped.root).errors["a"]
    assert isinstance(error, CheckpointError)
    assert "is damaged" in error.message


def test_a_checkpoint_of_another_training_is_refused(
    family: Family, stopped: RunDirectory, tmp_path: Path
) -> None:
    other = RunDirectory(tmp_path / "other")
    with pytest.raises(KeyboardInterrupt):
        train_family(family("a", seed=1), run=other.root, executor=Serial(on_event=stop_at(12)))
    foreign = other.checkpoint("a").read_bytes()
    stopped.checkpoint("a").write_bytes(foreign)  # whole, and of a network of the same shape
    error = train(family("a"), stopped.root).errors["a"]
    assert isinstance(error, CheckpointError)
    assert "belongs to another profile or dataset" in error.message
    assert stopped.checkpoint("a").read_bytes() == foreign
    assert not stopped.model("a").exists()


def test_a_checkpoint_of_another_torch_is_refused(family: Family, stopped: RunDirectory) -> None:
    rewrite(stopped.checkpoint("a"), lambda note: note.update(torch="1.13.0"))
    error = train(family("a"), stopped.root).errors["a"]
    assert isinstance(error, CheckpointError)
    assert f"was written by torch 1.13.0, this is {torch.__version__}" in error.message


def test_the_time_of_earlier_sessions_counts(family: Family, stopped: RunDirectory) -> None:
    note = rewrite(stopped.checkpoint("a"), lambda note: note["position"].update(seconds=1000.0))
    assert (note["position"]["epoch"], note["position"]["step"]) == (1, 3)
    result = train(family("a"), stopped.root).results["a"]
    assert 1000 < result["seconds"] < 1100
    speed = json.loads(stopped.metrics("a").read_text().splitlines()[-1])["images_per_second"]
    assert speed == 1, "of 1,024 images in 1,000 seconds"


def test_missing_images_stop_the_training_before_any_file_is_written(
    family: Family, tmp_path: Path
) -> None:
    data = family("a").to_dict()
    data["data"]["root"] = str(tmp_path / "nowhere")
    with pytest.raises(DataError):
        train_family(FamilySpec.from_dict(data), run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_unfinished_device_cannot_be_loaded(family: Family, tmp_path: Path) -> None:
    spec = family("a")
    with pytest.raises(CheckpointError, match="a is not trained yet"):
        load_trained(RunDirectory(tmp_path), spec.devices[0], spec.data)


def test_a_second_training_of_the_same_run_is_refused(family: Family, tmp_path: Path) -> None:
    import fcntl

    plan = plan_training(family("a"), run=tmp_path / "run")
    plan.run.root.mkdir()
    descriptor = os.open(plan.run.root, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(CheckpointError, match="another training is writing"):
            execute_plan(plan)
    finally:
        os.close(descriptor)
    assert list(plan.run.root.iterdir()) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", ["standard", "certified", "adversarial"])
def test_cuda_trains_to_the_same_bits_each_time(
    family: Family, tmp_path: Path, method: str
) -> None:
    spec = replace(family("a", method=method, eps=0.1, precision="fp32"), accelerator="cuda")
    first, again = (train(spec, tmp_path / place).results["a"] for place in ("first", "again"))
    assert first["weights_sha256"] == again["weights_sha256"]
    assert first["accelerator"].startswith("cuda")
    assert first["test"]["correct"] > 100


def test_the_accelerator_is_recorded_and_leaves_the_digest_of_auto_alone(
    family: Family, tmp_path: Path
) -> None:
    spec = family("a", epochs=1)
    named = replace(spec, accelerator="cpu")
    assert "accelerator" not in spec.to_dict()
    assert named.digest() != spec.digest()
    result = train(named, tmp_path / "run").results["a"]
    assert result["accelerator"] == "cpu"
    assert read_family(RunDirectory(tmp_path / "run")) == named
