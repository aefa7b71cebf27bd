"""Devices whose transfer matrix is known on paper, and evidence made by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fleet.audit.core.evidence import (
    AttackName,
    Evidence,
    GradientHealth,
    Outcomes,
    Reach,
    VictimScores,
    count_matrices,
    count_noise,
)
from fleet.audit.core.members import Member
from fleet.audit.core.result import AuditedDevice
from fleet.encoding import IntervalEncoding
from fleet.models import Classifier
from fleet.models.heads import LogitsHead

SHAPE = (1, 2, 2)


class LinearScalar(nn.Module):
    """``o = sum_i w_i k_i + b`` with pixels k in 8-bit levels, so whole w give whole outputs."""

    def __init__(self, w: list[float], b: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w) * 255)
        self.b = nn.Parameter(torch.tensor(b))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ self.w + self.b


@pytest.fixture(scope="session")
def linear() -> Callable[..., Member]:
    """Make a linear scalar device of 2x2 grey images, K slots of [20 p, 20 p + 10]."""

    def make(name: str, w: list[float], b: float, classes: int = 3) -> Member:
        encoding = IntervalEncoding(classes, alpha=10.0, beta=10.0)
        return Member(name, Classifier.from_module(LinearScalar(w, b), encoding, SHAPE))

    return make


@pytest.fixture
def logits() -> Callable[..., Member]:
    """Make a control device of 2x2 grey images with linear logits."""

    def make(name: str, rows: list[list[float]]) -> Member:
        head = LogitsHead(4, len(rows))
        head.linear.weight.data = torch.tensor(rows) * 255
        head.linear.bias.data.zero_()
        classifier = Classifier(
            backbone=nn.Flatten(),
            head=head,
            task="tra",
            head_name="logits",
            encoding=None,
            num_classes=len(rows),
            input_shape=SHAPE,
            mean=(0.0,),
            std=(1.0,),
        )
        return Member(name, classifier)

    return make


ATTACKS = (
    AttackName("paper", "fgsm"),
    AttackName("paper", "pgd"),
    AttackName("adaptive", "up"),
)


def outcomes(flip: int, reject: int, n: int = 100) -> Outcomes:
    """``flip`` twos, then ``reject`` ones, then zeros."""
    values = np.zeros(n, dtype=np.int8)
    values[:flip] = 2
    values[flip : flip + reject] = 1
    return values


class EvidenceMaker:
    """Two healthy devices a and b, 100 images, two eps; change what a check should notice.

    White-box flips: FGSM 60, PGD 80 and UP 80 at the small eps, 90 at the large one; transfer 30;
    noise 5.
    """

    def __init__(self) -> None:
        self.eps = (0.1, 0.2)
        self.health = [GradientHealth(name, 100, 0, 0, 0, 0) for name in "ab"]
        self.reaches = [Reach(name, eps, 25, 25) for name in "ab" for eps in self.eps]
        self.heads = {"a": "linear", "b": "linear"}
        self.scores = [self._scores(name) for name in "ab"]

    @staticmethod
    def _scores(victim: str) -> VictimScores:
        own = [[outcomes(60, 0), outcomes(80, 0), outcomes(80, 0)], [outcomes(90, 0)] * 3]
        transfer = [[outcomes(30, 0)] * 3] * 2
        attacked = {name: np.array(own if name == victim else transfer) for name in "ab"}
        noise = np.array([outcomes(5, 0)] * 2)
        return VictimScores(victim, outcomes(0, 0), noise, attacked, 0, True)

    def change(self, device: int, **values: Any) -> None:
        """Replace fields of one device's scores."""
        self.scores[device] = replace(self.scores[device], **values)

    def build(self) -> Evidence:
        attacks = dict.fromkeys("ab", ATTACKS)
        devices = tuple(
            AuditedDevice(
                name=score.victim,
                task="int",
                architecture="nn",
                head=self.heads[score.victim],
                encoding=None,
                weights_sha256="",
                images=100,
                correct=int((score.clean == 0).sum()),
                rejected=int((score.clean == 1).sum()),
            )
            for score in self.scores
        )
        return Evidence(
            devices=devices,
            eps=self.eps,
            attacks=attacks,
            scores=tuple(self.scores),
            matrices=count_matrices(self.scores, attacks, self.eps),
            noise=count_noise(self.scores, self.eps, 1),
            health=tuple(self.health),
            reaches=tuple(self.reaches),
        )


@pytest.fixture
def maker() -> EvidenceMaker:
    return EvidenceMaker()
