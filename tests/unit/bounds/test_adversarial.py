"""Adversarial training: what it ascends, what it buys, and the guard against collapse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from fleet.data import ImageData, to_unit
from fleet.encoding import IntervalEncoding
from fleet.models import Classifier, build_classifier
from fleet.profiles.spec import DeviceSpec
from fleet.training.adversarial import Adversarial, ascend
from fleet.vocabulary import ModelSpec, TrainingSpec

HEADS = ("linear", "ordinal", "softmax")


@pytest.fixture(scope="module")
def images(mnist: ImageData) -> tuple[torch.Tensor, torch.Tensor]:
    rows = torch.arange(100)
    return to_unit(mnist.test.images(rows)), mnist.test.labels[rows]


def method(mnist: ImageData, head: str = "ordinal") -> Adversarial:
    encoding = IntervalEncoding(10, 2.0, 18.0)
    model = ModelSpec("cnn", width=0.125, head=head)  # type: ignore[arg-type]
    training = TrainingSpec(method="adversarial", eps=0.1, precision="fp32")
    classifier = build_classifier(
        **vars(model), task="int", encoding=encoding, num_classes=10, input_shape=(1, 28, 28),
        mean=mnist.mean, std=mnist.std, seed=0,
    )  # fmt: skip
    found = Adversarial(DeviceSpec("d", "int", encoding, model, training), mnist, classifier)
    found.begin()
    return found


def standing(classifier: Classifier, x: torch.Tensor, labels: torch.Tensor, eps: float) -> float:
    torch.manual_seed(0)
    moved = ascend(classifier, x, labels, eps, step=eps / 4, steps=10)
    assert (moved - x).abs().max() <= eps + 1e-6
    assert moved.min() >= 0
    assert moved.max() <= 1
    with torch.inference_mode():
        return (classifier.decode(classifier(moved)) == labels).double().mean().item()


def test_it_holds_where_standard_training_falls(
    train: Callable[..., Classifier], images: tuple[torch.Tensor, torch.Tensor]
) -> None:
    usual = train("ordinal", "standard", steps=60, activation="relu")
    made = train("ordinal", "adversarial", steps=60, activation="relu", eps=0.1, attack_steps=3)
    assert standing(made, *images, 0.1) > standing(usual, *images, 0.1) + 0.2


@pytest.mark.parametrize("head", HEADS)
def test_the_attack_leaves_the_network_as_it_was(
    head: str, mnist: ImageData, images: tuple[torch.Tensor, torch.Tensor]
) -> None:
    classifier = method(mnist, head).classifier.train()
    before = {key: value.clone() for key, value in classifier.state_dict().items()}
    ascend(classifier, *images, 0.1, step=0.05, steps=2)
    assert classifier.training
    assert all(parameter.requires_grad for parameter in classifier.parameters())
    after = classifier.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_collapsed_epoch_is_taken_back_with_a_finer_attack(
    mnist: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = method(mnist)
    shares = iter([0.6, 0.75, 0.64, 0.68, 0.74, 0.2, 0.2, 0.2, 0.2, 0.2])
    monkeypatch.setattr(Adversarial, "probe", lambda _: next(shares))
    kept = [work.end_epoch(epoch).keep for epoch in (0, 1, 2, 2, 3)]
    assert kept == [True, True, False, True, True]
    assert (work.steps, work.length, work.best) == (10, 0.5, 0.75)
    resumed = method(mnist)
    resumed.load_state(work.state())
    assert (resumed.steps, resumed.length, resumed.best) == (10, 0.5, 0.75)
    # Four epochs at most are trained again; then the record says what happened.
    assert [resumed.end_epoch(4).keep for _ in range(4)] == [False, False, False, True]
    verdict = resumed.end_epoch(5)
    assert verdict.metrics == {"probe": 0.2, "attack_steps": 19, "rollbacks": 4}


def test_without_a_radius_left_to_grow_it_is_standard_training(mnist: ImageData) -> None:
    from fleet.training.method import Batch, Standard

    work = method(mnist)
    plain = Standard(replace(work.device), mnist, work.classifier)
    x = to_unit(mnist.train.images(torch.arange(8)))
    batch = Batch(x, mnist.train.labels[:8], 0, 100, 0)
    assert torch.equal(work.loss(batch), plain.loss(batch))
