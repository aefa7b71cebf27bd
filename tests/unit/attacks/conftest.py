"""Classifiers whose best attack is known on paper."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fleet.encoding import IntervalEncoding
from fleet.models import Classifier
from fleet.models.heads import LogitsHead, OrdinalHead

SHAPE = (1, 2, 2)


class LinearScalar(nn.Module):
    """``o = sum_i w_i k_i + b`` with pixels k in 8-bit levels, so whole w give whole outputs."""

    def __init__(self, w: list[float], b: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w) * 255)
        self.b = nn.Parameter(torch.tensor(b))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.w + self.b


@pytest.fixture
def linear() -> Callable[..., Classifier]:
    """Make a linear scalar classifier of 2x2 grey images, K slots of [20 p, 20 p + 10]."""

    def make(w: list[float], b: float, classes: int = 3) -> Classifier:
        encoding = IntervalEncoding(classes, alpha=10.0, beta=10.0)
        return Classifier.from_module(LinearScalar(w, b), encoding, SHAPE)

    return make


@pytest.fixture
def ordinal() -> Callable[..., Classifier]:
    """Make a 2x2 ordinal classifier: unit j is ``rows[j] . levels + biases[j]``."""

    def make(rows: list[list[float]], biases: list[float]) -> Classifier:
        encoding = IntervalEncoding(len(rows) + 1, alpha=10.0, beta=10.0)
        head = OrdinalHead(4, encoding)
        head.linear.weight.data = torch.tensor(rows) * 255
        head.linear.bias.data = torch.tensor(biases)
        return Classifier(
            backbone=nn.Flatten(),
            head=head,
            task="int",
            head_name="ordinal",
            encoding=encoding,
            num_classes=len(rows) + 1,
            input_shape=SHAPE,
            mean=(0.0,),
            std=(1.0,),
        )

    return make


@pytest.fixture
def logits() -> Callable[..., Classifier]:
    """Make a 2x2 classifier with K linear logits."""

    def make(rows: list[list[float]], task: str = "tra") -> Classifier:
        head = LogitsHead(4, len(rows))
        head.linear.weight.data = torch.tensor(rows) * 255
        head.linear.bias.data.zero_()
        return Classifier(
            backbone=nn.Flatten(),
            head=head,
            task=task,
            head_name="logits",
            encoding=None,
            num_classes=len(rows),
            input_shape=SHAPE,
            mean=(0.0,),
            std=(1.0,),
        )

    return make


@pytest.fixture
def grey() -> Callable[..., Tensor]:
    """Make B equal 2x2 images of one level, uint8."""

    def make(level: int = 128, count: int = 1) -> Tensor:
        return torch.full((count, *SHAPE), level, dtype=torch.uint8)

    return make
