"""The seam of training methods: a toy method uses all of it, and the loop does not know it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fleet.errors import TrainingError
from fleet.execution import Progress, Serial
from fleet.profiles.spec import FamilySpec
from fleet.rundir import RunDirectory
from fleet.training import fit
from fleet.training.family import train_family
from fleet.training.fit import METHODS
from fleet.training.method import Batch, Method, Verdict

Family = Callable[..., FamilySpec]


class Toy(Method):
    """Noise whose size follows the step, a learned scale, and an epoch that it takes back."""

    rolls_back = True
    growth_limit = None

    def begin(self) -> None:
        self.scale = nn.Parameter(torch.ones(()))
        self.rollbacks = 0
        nn.init.normal_(next(self.classifier.parameters()), std=0.1)

    def parameter_groups(self) -> list[dict[str, Any]]:
        ours = {"params": [self.scale], "weight_decay": 0.0}
        return [{"params": list(self.classifier.parameters())}, ours]

    def learning_rate(self, step: int, steps: int) -> float:
        return super().learning_rate(step, steps) / 2**self.rollbacks

    def loss(self, batch: Batch) -> Tensor:
        noise = torch.rand_like(batch.images) * (batch.step / batch.steps)
        raw = self.raw((batch.images + noise).clamp(0, 1)) * self.scale
        return self.clean_loss(raw, batch.labels) * 1e-3 * 100**batch.epoch  # grows by design

    def end_epoch(self, epoch: int) -> Verdict:
        if epoch == 1 and self.rollbacks < 2:
            self.rollbacks += 1
            return Verdict(keep=False)
        return Verdict(metrics={"rollbacks": self.rollbacks, "scale": self.scale.item()})

    def before_evaluation(self, *, final: bool) -> None:
        if final:
            for name, value in self.classifier.named_buffers():
                if name.endswith("running_mean"):
                    value.fill_(0.25)

    def state(self) -> dict[str, Any]:
        return {"scale": self.scale, "rollbacks": self.rollbacks}

    def load_state(self, state: dict[str, Any]) -> None:
        self.scale.data.copy_(state["scale"])
        self.rollbacks = state["rollbacks"]


@pytest.fixture
def toy(family: Family, monkeypatch: pytest.MonkeyPatch) -> FamilySpec:
    monkeypatch.setitem(METHODS, "toy", Toy)
    monkeypatch.setattr(fit, "REPORT_STEPS", 1)
    return family("a", method="toy", epochs=3, gradient_clip=1.0)


class Steady(Method):
    """The loss of every step of an epoch is the epoch's number."""

    def loss(self, batch: Batch) -> Tensor:
        return self.clean_loss(self.raw(batch.images), batch.labels) * 0 + batch.epoch + 1


def train(spec: FamilySpec, root: Path, report: Callable[[Progress], None] | None = None) -> Any:
    return train_family(spec, run=root, executor=Serial(on_event=report) if report else Serial())


def lines(run: RunDirectory) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in run.metrics("a").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in found]


def test_a_method_sets_out_judges_epochs_and_finishes(toy: FamilySpec, tmp_path: Path) -> None:
    steps: list[int] = []
    outcome = train(toy, tmp_path / "run", lambda progress: steps.append(progress.done))
    assert not outcome.errors, "its loss may grow"
    assert [line["rollbacks"] for line in lines(outcome.run)] == [0, 2, 2]
    assert lines(outcome.run)[0]["scale"] != 1
    # The job is announced with 0; an epoch reports its place before, at and after its steps.
    second = [*range(8, 17)]
    twice_back = [*second, 8, *second, 8, *second, 16]
    assert steps == [0, *range(9), 8, *twice_back, *range(16, 25), 24]
    weights = load_file(outcome.run.model("a"))
    means = [value for key, value in weights.items() if key.endswith("running_mean")]
    assert means
    assert all(bool((value == 0.25).all()) for value in means)
    assert not list(outcome.run.root.rglob("epoch.safetensors"))


def test_an_interrupted_method_goes_on_with_its_own_state_to_the_same_bits(
    toy: FamilySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = train(toy, tmp_path / "unbroken").run
    monkeypatch.setattr(fit, "CHECKPOINT_SECONDS", 0.0)  # after every step
    for calls in (3, 10, 9, 6, 14):  # one in each epoch, rolled back ones too
        with pytest.raises(KeyboardInterrupt):
            train(toy, tmp_path / "run", stop_after(calls))
    finished = train(toy, tmp_path / "run").run
    assert finished.model("a").read_bytes() == unbroken.model("a").read_bytes()
    assert lines(finished) == lines(unbroken)


def stop_after(calls: int) -> Callable[[Progress], None]:
    seen: list[Progress] = []

    def report(progress: Progress) -> None:
        seen.append(progress)
        if len(seen) == calls:
            raise KeyboardInterrupt

    return report


def test_the_loss_of_an_epoch_is_the_mean_over_its_own_steps(
    family: Family, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(METHODS, "steady", Steady)
    spec = family("a", method="steady", epochs=3, batch_size=256, validate_every=1)
    found = lines(train(spec, tmp_path / "run").run)
    assert [line["loss"] for line in found] == pytest.approx([1, 2, 3])
    assert [line["epoch"] for line in found] == [1, 2, 3]
    assert [[point["step"] for point in line["curve"]] for line in found] == [[1], [1], [1]]


class Lost(Method):
    """A loss that is no number."""

    def loss(self, batch: Batch) -> Tensor:
        return self.clean_loss(self.raw(batch.images), batch.labels) * torch.nan


def test_a_device_whose_loss_is_no_number_raises(
    family: Family, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(METHODS, "lost", Lost)
    spec = family("a", method="lost")
    with pytest.raises(TrainingError, match="loss is nan in epoch 1, step 1"):
        train_family(spec, run=tmp_path / "one", executor=Serial())
