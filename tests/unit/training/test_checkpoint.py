"""A checkpoint gives back all that was put in, and to nobody else."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from fleet.encoding import IntervalEncoding
from fleet.errors import CheckpointError
from fleet.models import Classifier, build_classifier, weights_digest
from fleet.training.checkpoint import Position, load_checkpoint, save_checkpoint

POSITION = Position(2, 7, 1.25, 33.5, [{"epoch": 0, "loss": 0.5}], [{"step": 3}])


def network(seed: int) -> tuple[Classifier, torch.optim.Optimizer]:
    classifier = build_classifier(
        architecture="nn",
        head="linear",
        task="int",
        encoding=IntervalEncoding(3, 4.0, 16.0),
        num_classes=3,
        input_shape=(1, 16, 16),
        mean=(0.5,),
        std=(0.5,),
        width=0.0625,
        seed=seed,
    ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return classifier, torch.optim.Adam(classifier.parameters(), lr=0.01)


def step(classifier: Classifier, optimizer: torch.optim.Optimizer, seed: int) -> None:
    x = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    classifier(x).square().mean().backward()
    optimizer.step()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    classifier, optimizer = network(0)
    step(classifier, optimizer, 0)
    file = tmp_path / "checkpoint.safetensors"
    own = {"share": torch.tensor([0.5, 2.0]), "retries": 3}
    save_checkpoint(file, classifier, optimizer, POSITION, identity="mine", method=own)
    return file


def rewrite(path: Path, **changes: Any) -> None:
    """The same tensors with another note."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    note = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["fleet"])
    path.write_bytes(save(load(data), metadata={"fleet": json.dumps({**note, **changes})}))


def test_a_training_goes_on_as_if_it_had_not_stopped(path: Path) -> None:
    whole, optimizer = network(0)
    for seed in (0, 1, 2):
        step(whole, optimizer, seed)
    resumed, again = network(9)
    position, own = load_checkpoint(path, resumed, again, identity="mine")
    assert asdict(position) == asdict(POSITION)
    assert own["retries"] == 3
    assert own["share"].tolist() == [0.5, 2.0]
    assert set(own) == {"share", "retries"}
    for seed in (1, 2):
        step(resumed, again, seed)
    assert weights_digest(resumed) == weights_digest(whole)


@pytest.mark.parametrize(
    ("changes", "identity", "message"),
    [
        ({}, "another", "belongs to another profile or dataset"),
        ({"identity": None}, "mine", "belongs to another profile or dataset"),
        ({"torch": "1.0.0"}, "mine", "was written by torch 1.0.0, this is"),
        ({"torch": None}, "mine", "was written by torch None"),
    ],
)
def test_the_checkpoint_of_another_training_or_torch_changes_nothing(
    path: Path, changes: dict[str, Any], identity: str, message: str
) -> None:
    rewrite(path, **changes)
    classifier, optimizer = network(9)
    before = weights_digest(classifier)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path, classifier, optimizer, identity=identity)
    assert "--resume never" in str(caught.value.hint)
    assert weights_digest(classifier) == before
    assert not optimizer.state


@pytest.mark.parametrize("damage", [0, 4, 40, -1])
def test_a_damaged_checkpoint_is_named(path: Path, damage: int) -> None:
    path.write_bytes(path.read_bytes()[:damage])
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(path, *network(9), identity="mine")


def test_a_safetensors_file_of_somebody_else_is_named(path: Path) -> None:
    path.write_bytes(save(load(path.read_bytes())))
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(path, *network(9), identity="mine")
