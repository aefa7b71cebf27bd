"""A family that trains in seconds, on the first images of the real MNIST."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.encoding import IntervalEncoding
from fleet.profiles.spec import DataSpec, DeviceSpec, FamilySpec
from fleet.vocabulary import ModelSpec, TrainingSpec

TRAINING = TrainingSpec(
    loss="scaled",
    margin=0.3,
    epochs=2,
    batch_size=64,
    optimizer="adam",
    learning_rate=3e-3,
    weight_decay=0.0,
    schedule="one-cycle",
    precision="bf16",
    shift=1,
    mirror=False,
    gradient_clip=None,
    seed=0,
)

Family = Callable[..., FamilySpec]


@pytest.fixture(scope="session")
def family(mnist_root: Path) -> Family:
    """Make a family of ``names``; keyword arguments change every device's training."""

    def make(*names: str, task: str = "int", head: str = "linear", **changes: Any) -> FamilySpec:
        data = DataSpec("mnist", mnist_root, 10, 1, 28, 200, 512, 0, test_limit=500)
        encoding = IntervalEncoding(10, 4.0, 16.0) if task == "int" else None
        model = ModelSpec(head=head, width=0.25)  # type: ignore[arg-type]
        training = replace(TRAINING, **changes)
        devices = tuple(
            DeviceSpec(name, task, encoding, model, training)  # type: ignore[arg-type]
            for name in names or ("a",)
        )
        return FamilySpec("tiny", data, devices)

    return make
