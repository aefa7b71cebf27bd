"""What alpha and beta buy of one network: every point is that of a device built with them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from fleet.audit.certify.coverage import gate_curve
from fleet.audit.core.members import Member, Sample
from fleet.bounds.certify import certificates
from fleet.data import to_unit
from fleet.encoding import IntervalEncoding
from fleet.errors import AuditError
from fleet.models import Classifier
from fleet.models.heads import LinearHead, SoftmaxHead

SHAPE = (1, 2, 2)
EPS = 0.05
LENGTHS = (2.0, 10.0, 15.0, 18.0, 19.5)


def device(encoding: IntervalEncoding) -> Member:
    """Three classes by the weights of seed 0."""
    torch.manual_seed(0)
    head = SoftmaxHead(4, encoding)
    head.linear.weight.data = 4 * torch.randn(3, 4)
    network = Classifier(
        backbone=nn.Flatten(), head=head, task="int", head_name="softmax", encoding=encoding,
        num_classes=3, input_shape=SHAPE, mean=(0.0,), std=(1.0,),
    )  # fmt: skip
    return Member("d", network)


def images() -> Sample:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (400, *SHAPE), dtype=torch.uint8, generator=generator)
    plain = device(IntervalEncoding(3, 2.0, 18.0)).classifier
    labels = plain.raw(to_unit(pixels)).argmax(1)
    labels[::10] = (labels[::10] + 1) % 3
    return Sample.of(pixels, labels)


@pytest.mark.parametrize("order", [None, (2, 0, 1)])
def test_each_point_is_that_of_a_device_with_these_intervals(
    order: tuple[int, ...] | None,
) -> None:
    sample = images()
    trained = IntervalEncoding(3, 2.0, 18.0, order=order)
    for row in gate_curve(device(trained), sample, EPS, LENGTHS):
        assert row.alpha + row.beta == 20
        built = device(replace(trained, alpha=row.alpha, beta=row.beta)).classifier
        x = to_unit(sample.images)
        decoded = built.decode(built(x))
        proof = certificates(built, x, sample.labels, EPS)
        assert row.n == 400
        assert row.correct == int((decoded == sample.labels).sum())
        assert row.rejected == int((decoded == -1).sum())
        assert (row.stays, row.never_wrong) == (proof.stays.sum(), proof.never_wrong.sum())


def test_longer_intervals_answer_more_and_are_never_wrong_on_less() -> None:
    found = gate_curve(device(IntervalEncoding(3, 2.0, 18.0)), images(), EPS, LENGTHS)
    for name, sign in (("gate", -1), ("rejected", -1), ("correct", 1), ("stays", 1)):
        values = [sign * getattr(row, name) for row in found]
        assert values == sorted(values)
        assert values[0] < values[-1], name
    never = [row.never_wrong for row in found]
    assert never == sorted(never, reverse=True)
    assert all(row.stays <= min(row.correct, row.never_wrong) for row in found)


def test_another_head_is_refused_with_the_head_that_has_a_gate() -> None:
    member = device(IntervalEncoding(3, 2.0, 18.0))
    member.classifier.head = LinearHead(4, IntervalEncoding(3, 2.0, 18.0))
    with pytest.raises(AuditError, match="has the head") as caught:
        gate_curve(member, images(), EPS, LENGTHS)
    assert "`softmax`" in str(caught.value.hint)
