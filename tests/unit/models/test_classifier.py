"""Shapes, dtypes, normalisation and decoding of a classifier."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from fleet.encoding import IntervalEncoding
from fleet.errors import AuditError, DataError
from fleet.models import Classifier, build_classifier

PAPER = IntervalEncoding(10, 4.0, 16.0)


def small(task: str = "int", head: str = "linear", channels: int = 1) -> Classifier:
    built = build_classifier(
        architecture="nn",
        head=head,  # type: ignore[arg-type]
        task=task,  # type: ignore[arg-type]
        encoding=PAPER if task == "int" else None,
        num_classes=10,
        input_shape=(channels, 28, 28),
        mean=(0.25,) * channels,
        std=(0.5,) * channels,
        width=0.25,
        seed=1,
    )
    return built.eval()


def images(count: int = 4, channels: int = 1) -> Tensor:
    return torch.rand((count, channels, 28, 28), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("task", "head", "raw_shape", "output_shape"),
    [
        ("int", "linear", (4, 1), (4,)),
        ("int", "ordinal", (4, 9), (4,)),
        ("tra", "logits", (4, 10), (4, 10)),
        ("hin", "logits", (4, 10), (4, 10)),
    ],
)
def test_shapes_follow_task_and_head(
    task: str, head: str, raw_shape: tuple[int, ...], output_shape: tuple[int, ...]
) -> None:
    classifier = small(task, head)
    raw = classifier.raw(images())
    assert (raw.shape, raw.dtype) == (raw_shape, torch.float32)
    outputs = classifier(images())
    assert (outputs.shape, outputs.dtype) == (output_shape, torch.float32)
    assert torch.equal(outputs, classifier.outputs(raw))
    labels = classifier.decode(outputs)
    assert (labels.shape, labels.dtype) == ((4,), torch.int64)
    assert classifier.features(images()).shape == (4, 32)


def test_normalisation_is_part_of_the_network() -> None:
    classifier = small()
    x = images()
    by_hand = classifier.head(classifier.backbone((x - 0.25) / 0.5))
    assert torch.equal(classifier.raw(x), by_hand)
    assert {"mean", "std"} <= set(classifier.state_dict())


def test_memory_format_does_not_change_the_outputs() -> None:
    classifier = small(channels=3)
    x = images(channels=3)
    expected = classifier(x)
    classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    outputs = classifier(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(outputs, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("task", "head"), [("int", "linear"), ("int", "ordinal"), ("tra", "logits")]
)
def test_head_leaves_autocast(task: str, head: str) -> None:
    classifier = small(task, head)
    with torch.autocast("cpu", torch.bfloat16):
        features = classifier.features(images())
        raw = classifier.raw(images())
        outputs = classifier.outputs(raw)
    assert features.dtype == torch.bfloat16
    assert raw.dtype == outputs.dtype == torch.float32
    assert torch.equal(raw, classifier.head(features.float()))


def test_gradients_reach_the_images() -> None:
    x = images().requires_grad_()
    small()(x).sum().backward()
    assert x.grad is not None
    assert bool((x.grad != 0).any())


@pytest.mark.parametrize("shape", [(4, 3, 28, 28), (4, 1, 27, 28), (1, 28, 28)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"the classifier takes \('B', 1, 28, 28\)") as caught:
        small()(torch.zeros(shape))
    assert caught.value.hint is not None


def test_interval_outputs_decode_strictly_or_by_floor() -> None:
    outputs = torch.tensor([0.0, 16.0, 18.0, 196.0, 197.0, -0.1, float("nan"), float("inf")])
    classifier = small()
    assert classifier.decode(outputs).tolist() == [0, 0, -1, 9, -1, -1, -1, -1]
    assert classifier.decode(outputs, "floor").tolist() == [0, 0, 0, 9, 9, -1, -1, -1]


def test_logits_decode_to_the_largest_and_reject_what_is_not_finite() -> None:
    logits = torch.zeros(4, 10)
    logits[0, 7] = 1.0
    logits[1, 3] = float("nan")
    logits[2, 3] = float("inf")
    logits[3, 5] = float("-inf")
    assert small("tra", "logits").decode(logits).tolist() == [7, -1, -1, -1]


def test_a_copy_is_independent_and_gives_the_same_outputs() -> None:
    classifier = small()
    twin = copy.deepcopy(classifier)
    assert torch.equal(twin(images()), classifier(images()))
    with torch.no_grad():
        twin.head.linear.bias += 1.0  # type: ignore[union-attr, operator]
    assert not torch.equal(twin(images()), classifier(images()))


@pytest.mark.parametrize("flat", [True, False], ids=["(B,)", "(B, 1)"])
def test_any_module_with_a_scalar_output_can_be_wrapped(flat: bool) -> None:
    linear = nn.Linear(4, 1, bias=False)
    nn.init.constant_(linear.weight, 2.0)
    layers = [nn.Flatten(), linear, *([nn.Flatten(0)] if flat else [])]
    classifier = Classifier.from_module(nn.Sequential(*layers), PAPER, (1, 2, 2))
    x = torch.tensor([0.25, 0.5, 0.75, 1.0]).reshape(1, 1, 2, 2)
    assert classifier(x).tolist() == [5.0]
    assert classifier.raw(x).shape == classifier.features(x).shape == (1, 1)
    assert classifier.decode(classifier(x)).tolist() == [0]
    assert (classifier.task, classifier.num_classes) == ("int", 10)


def test_a_module_with_many_outputs_cannot_be_wrapped() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 10))
    classifier = Classifier.from_module(module, PAPER, (1, 2, 2))
    with pytest.raises(AuditError, match=r"shape \(3, 10\) for 3 images"):
        classifier(torch.zeros(3, 1, 2, 2))
