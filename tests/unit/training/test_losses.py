"""Each task and head has the loss that its table row promises."""

import math

import pytest
import torch

from fleet.encoding import IntervalEncoding
from fleet.encoding.tensor import encoding_tensors
from fleet.models import Classifier, build_classifier
from fleet.training.method import batch_loss, ordinal_loss

ENCODING = IntervalEncoding(10, 4.0, 16.0, order=(3, 1, 4, 0, 5, 9, 2, 6, 8, 7))


def build(task: str, head: str) -> Classifier:
    return build_classifier(
        architecture="nn",
        head=head,
        task=task,
        encoding=ENCODING if task == "int" else None,
        num_classes=10,
        input_shape=(1, 28, 28),
        mean=(0.0,),
        std=(1.0,),
        width=0.25,
        seed=0,
    )


@pytest.mark.parametrize(("head", "loss"), [("linear", "paper"), ("ordinal", "paper")])
def test_the_paper_loss_is_eq_3_on_the_scalar(head: str, loss: str) -> None:
    classifier = build("int", head).eval()
    x, y = torch.rand(6, 1, 28, 28), torch.arange(6)
    raw = classifier.raw(x)
    o = classifier.outputs(raw)
    lower = torch.tensor([ENCODING.lower(int(label)) for label in y])
    upper = torch.tensor([ENCODING.upper(int(label)) for label in y])
    expected = ((lower - o).relu() + (o - upper).relu()).square().mean()
    tensors = encoding_tensors(ENCODING)
    actual = batch_loss(classifier, raw, y, tensors, loss=loss, margin=0.3)
    torch.testing.assert_close(actual, expected)


def test_the_scaled_loss_does_not_depend_on_the_scale_of_the_encoding() -> None:
    values = []
    for scale in (1.0, 1000.0):
        encoding = IntervalEncoding(10, 4.0 * scale, 16.0 * scale, s0=7.0 * scale)
        classifier = build_classifier(
            architecture="nn", head="linear", task="int", encoding=encoding, num_classes=10,
            input_shape=(1, 28, 28), mean=(0.0,), std=(1.0,), width=0.25, seed=0,
        ).eval()  # fmt: skip
        torch.manual_seed(0)
        raw, y = classifier.raw(torch.rand(8, 1, 28, 28)), torch.arange(8)
        tensors = encoding_tensors(encoding)
        values.append(batch_loss(classifier, raw, y, tensors, loss="scaled", margin=0.3))
    torch.testing.assert_close(values[0], values[1], rtol=1e-4, atol=1e-4)


def test_the_ordinal_loss_is_exact_on_a_known_case() -> None:
    # K = 3, slot 1: "at least 1" is yes, "at least 2" is no.
    units = torch.tensor([[2.0, -1.0]])
    expected = math.log1p(math.exp(-2.0)) + math.log1p(math.exp(-1.0))
    assert ordinal_loss(units, torch.tensor([1])).item() == pytest.approx(expected, rel=1e-6)


def test_the_ordinal_loss_asks_about_slots_and_not_classes() -> None:
    classifier = build("int", "ordinal")
    label = torch.tensor([0])  # class 0 sits at slot 3
    raw = torch.tensor([[9.0] * 3 + [-9.0] * 6])
    tensors = encoding_tensors(ENCODING)
    loss = batch_loss(classifier, raw, label, tensors, loss="scaled", margin=0.3)
    assert loss.item() < 0.01
    assert classifier.decode(classifier.outputs(raw)).tolist() == [0]


def test_control_tasks_have_cross_entropy_and_multi_class_hinge() -> None:
    raw, y = torch.tensor([[2.0, 1.5] + [0.0] * 8]), torch.tensor([0])
    hinge = batch_loss(build("hin", "logits"), raw, y, None, loss="scaled", margin=0.3)
    assert hinge.item() == pytest.approx(0.5)  # class 1 comes within the margin of 1 by 0.5
    cross = batch_loss(build("tra", "logits"), raw, y, None, loss="scaled", margin=0.3)
    expected = math.log(math.exp(2.0) + math.exp(1.5) + 8) - 2.0
    assert cross.item() == pytest.approx(expected, rel=1e-5)
