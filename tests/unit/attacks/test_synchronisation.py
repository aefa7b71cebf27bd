"""FGSM and PGD in every variant never wait for the accelerator: `meta` has no values to read.

Square reads which rows still stand, by design; minimum-norm attacks are not tried here.

A tensor on `meta` raises at `item()`, at a condition, at `nonzero()` and at an operation with a
tensor of another device. What runs there from beginning to end queues its work on a GPU unread.
"""

import contextlib
from typing import Any

import pytest
import torch

from fleet.attacks import (
    FGSM,
    PGD,
    CrossEntropy,
    Directions,
    HalvingStep,
    InputDiversity,
    Margin,
    Momentum,
    SampleKeys,
    SignStep,
    Targets,
    TaskLoss,
    pgd,
)
from fleet.encoding.interval import IntervalEncoding
from fleet.models import Classifier, build_classifier

SCALAR = {
    "FGSM": FGSM(TaskLoss(), 0.1),
    "the paper's PGD": PGD(TaskLoss(), 0.1, steps=1, random_start=True),
    "APGD": PGD(Directions(), 0.1, steps=4, rule=HalvingStep()),
    "crossed runs": PGD(Directions(), 0.1, steps=1, restarts=2, crossed=True),
    "targets": PGD(Targets(), 0.1, steps=1),
    "L2": PGD(Directions(), 0.1, steps=1, norm="l2", random_start=True),
    "MI-DI": PGD(Directions(), 0.1, steps=1, rule=Momentum(SignStep(0.1)), view=InputDiversity()),
}
LOGITS = {
    "margin": PGD(Margin(), 0.1, steps=1, restarts=2),
    "cross-entropy": PGD(CrossEntropy(), 0.1, steps=1),
}
CASES = [
    *(("ordinal", name) for name in SCALAR),
    *(("linear", "MI-DI"), ("softmax", "crossed runs"), ("softmax", "targets")),
]


@pytest.fixture(autouse=True)
def on_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """`meta` has no autocast; and the range of the pixels is read once, before the first step."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(pgd, "checked", torch.Tensor.detach)


def network(head: Any) -> Classifier:
    scalar = head != "logits"
    classifier = build_classifier(
        architecture="cnn",
        head=head,
        task="int" if scalar else "tra",
        encoding=IntervalEncoding(alpha=2, beta=18, num_classes=10) if scalar else None,
        num_classes=10,
        input_shape=(1, 28, 28),
        mean=(0.1,),
        std=(0.3,),
        width=0.25,
        seed=0,
    )
    return classifier.eval().to("meta")


def attack(head: str, method: FGSM | PGD) -> torch.Tensor:
    images, labels = torch.rand(4, 1, 28, 28, device="meta"), torch.arange(4, device="meta")
    return method(network(head), images, labels, SampleKeys(0, "cam", labels))


@pytest.mark.parametrize(("head", "name"), CASES, ids=str)
def test_an_attack_on_a_scalar_reads_no_value_back(head: str, name: str) -> None:
    made = attack(head, SCALAR[name])
    assert made.device.type == "meta"
    assert made.shape == (SCALAR[name].variants, 4, 1, 28, 28)


@pytest.mark.parametrize("name", LOGITS)
def test_an_attack_on_logits_reads_no_value_back(name: str) -> None:
    assert attack("logits", LOGITS[name]).shape == (1, 4, 1, 28, 28)


def test_a_pursuit_reads_one_list_of_images_for_each_of_its_runs() -> None:
    """It does so by design, and the test shows that a read would be found."""
    method = PGD(Directions(), 0.1, steps=1, pursuit=1)
    with pytest.raises((NotImplementedError, RuntimeError)):
        attack("ordinal", method)
