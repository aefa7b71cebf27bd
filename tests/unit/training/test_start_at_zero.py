"""A training whose outputs begin at 0, as the paper's, from its profile to a device's decisions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load
from torch import Tensor

from fleet.assembly import load_images, load_trained, new_classifier
from fleet.bundle.package import package_run
from fleet.data import to_unit
from fleet.encoding import IntervalEncoding
from fleet.errors import CheckpointError
from fleet.execution import Progress, Serial
from fleet.models import load_weights
from fleet.profiles import load_profile
from fleet.profiles.spec import FamilySpec
from fleet.rundir import RunDirectory
from fleet.runtime import load_bundle
from fleet.training.family import train_family

PROFILE = """
version: 1
name: slow
control: false
data: {{dataset: mnist, root: {root}, train_limit: 512, validation: 200}}
defaults:
  model: {{width: 0.25}}
  training: {{start: zero, loss: paper, epochs: 2, batch_size: 32, learning_rate: 0.1}}
devices:
  - {{name: int, encoding: {{alpha: 1, beta: 4, s0: 7}}}}
  - {{name: tra, task: tra}}
"""


def stop(progress: Progress) -> None:
    """Leave the checkpoint of the last step, which the finished training would delete."""
    if progress.job == "int" and progress.done == progress.total:
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory, mnist_root: Path) -> FamilySpec:
    path = tmp_path_factory.mktemp("profile") / "slow.yaml"
    path.write_text(PROFILE.format(root=mnist_root))
    return load_profile(path)


@pytest.fixture(scope="module")
def images(spec: FamilySpec) -> Tensor:
    return to_unit(load_images(spec.data).test.images(torch.arange(200)))


@pytest.fixture(scope="module")
def trained(
    spec: FamilySpec, images: Tensor, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunDirectory, Tensor]:
    """The finished run, and what the interval network gave just before it was finished."""
    root = tmp_path_factory.mktemp("slow") / "run"
    with pytest.raises(KeyboardInterrupt):
        train_family(spec, run=root, executor=Serial(on_event=stop))
    state = load((root / "devices" / "int" / "checkpoint.safetensors").read_bytes())
    classifier = new_classifier(spec.device("int"), spec.data, (0.0,), (1.0,))
    prefix = "model."
    load_weights(
        classifier, {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    )
    with torch.inference_mode():
        outputs = classifier.eval()(images)
    result = train_family(spec, run=root, executor=Serial())
    assert result.errors == {}
    return result.run, outputs


def test_the_losses_of_both_tasks_fall(trained: tuple[RunDirectory, Tensor]) -> None:
    for name in ("int", "tra"):
        lines = [json.loads(line) for line in trained[0].metrics(name).read_text().splitlines()]
        assert lines[1]["loss"] < 0.9 * lines[0]["loss"]


def test_finished_weights_give_the_outputs_of_the_trained_network(
    spec: FamilySpec, trained: tuple[RunDirectory, Tensor], images: Tensor
) -> None:
    run, before = trained
    classifier = load_trained(run, spec.device("int"), spec.data)
    with torch.inference_mode():
        outputs = classifier(images)
    torch.testing.assert_close(outputs, before, rtol=0, atol=1e-4)
    assert outputs.std() > 1
    assert {key: float(value) for key, value in classifier.head.named_buffers()} == {
        "middle": 31.5,  # of 7 to 56
        "pitch": 5.0,
    }


def test_a_bundle_decides_as_the_trained_network(
    trained: tuple[RunDirectory, Tensor], images: Tensor, spec: FamilySpec
) -> None:
    run, before = trained
    info = package_run(run, "r1", devices=["int"])[0]
    encoding = spec.device("int").encoding
    assert encoding is not None
    predictions = load_bundle(info.path).predict(images)
    margins = [prediction.margin for prediction in predictions]
    assert margins == pytest.approx(encoding.margin_array(before.numpy()).tolist(), abs=1e-4)
    assert len({prediction.index for prediction in predictions}) > 2


def test_its_weights_belong_to_its_encoding_alone(
    spec: FamilySpec, trained: tuple[RunDirectory, Tensor]
) -> None:
    other = replace(spec.device("int"), encoding=IntervalEncoding(10, 1.0, 5.0, 7.0))
    with pytest.raises(CheckpointError, match="another encoding"):
        load_trained(trained[0], other, spec.data)
