"""One device from images to weights: reproducible, resumable, and stopped when it diverges."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fleet.assembly import load_trained
from fleet.errors import CheckpointError, DataError, TrainingError
from fleet.execution import Progress, Serial
from fleet.profiles.resolved import read_family
from fleet.profiles.spec import FamilySpec
from fleet.rundir import RunDirectory
from fleet.training import fit
from fleet.training.family import FamilyResult, execute_plan, train_family
from fleet.training.plan import plan_training

Family = Callable[..., FamilySpec]

TRAIN_SCRIPT = """
import json, sys
from pathlib import Path
from fleet.profiles.resolved import read_family
from fleet.profiles.spec import FamilySpec
from fleet.training import fit
from fleet.execution import Processes
from fleet.training.family import train_family

fit.CHECKPOINT_SECONDS = 0.0  # a checkpoint after every step, so that a kill meets one
if __name__ == "__main__":
    spec = FamilySpec.from_dict(json.loads(Path(sys.argv[1]).read_text()))
    train_family(spec, run=Path(sys.argv[2]), executor=Processes(int(sys.argv[3])))
"""


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def train(spec: FamilySpec, run: Path) -> FamilyResult:
    return train_family(spec, run=run, executor=Serial())


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
    assert result["test"]["n"] == 10_000
    assert result["validation"]["n"] == 200
    assert result["test"]["correct"] + result["test"]["rejected"] <= 10_000
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


def test_kill_nine_at_any_moment_and_the_rerun_gives_the_same_bits(
    family: Family, tmp_path: Path
) -> None:
    spec = family("a", "b", epochs=3)
    unbroken = train(spec, tmp_path / "unbroken").run
    profile, script = tmp_path / "spec.json", tmp_path / "train.py"
    profile.write_text(json.dumps(spec.to_dict()))
    script.write_text(TRAIN_SCRIPT)
    broken = RunDirectory(tmp_path / "broken")
    kills = 0
    for workers in ("2", "1"):
        process = subprocess.Popen(
            [sys.executable, str(script), str(profile), str(broken.root), workers],
            start_new_session=True,
        )
        seen = {path.stat().st_mtime_ns for path in broken.root.rglob("checkpoint*")}
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            fresh = {path.stat().st_mtime_ns for path in broken.root.rglob("checkpoint*")} - seen
            if fresh:  # a device has moved on
                break
            time.sleep(0.01)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # the workers too
            kills += 1
        process.wait()
    assert kills >= 1
    finished = train(spec, broken.root).run
    for name in ("a", "b"):
        assert digest(finished.model(name)) == digest(unbroken.model(name))
    rubbish = [path for path in broken.root.rglob(".*.tmp") if path.parent.name in ("a", "b")]
    assert len(rubbish) <= 2 * kills  # a kill may leave a temporary file, never a half final one


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


def test_a_damaged_or_foreign_checkpoint_is_refused(family: Family, tmp_path: Path) -> None:
    run = train(family("a"), tmp_path / "run").run
    run.model("a").unlink()
    run.result("a").unlink()
    run.checkpoint("a").write_bytes(b"rubbish")
    error = train(family("a"), run.root).errors["a"]
    assert isinstance(error, CheckpointError)
    assert "is damaged" in error.message


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
