"""Backward linear bounds: around every activation, sound, and tighter than intervals."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fleet.audit.core.members import Member
from fleet.bounds.box import Box, image_box, propagate
from fleet.bounds.certify import _line_above, _line_below, certificates, lower_margins_backward
from fleet.bounds.heads import lower_margins
from fleet.data import ImageData, to_unit
from fleet.encoding import IntervalEncoding
from fleet.models import Classifier
from fleet.models.heads import OrdinalHead, SoftmaxHead


@given(low=st.floats(-4, 4), width=st.floats(0, 6), top=st.sampled_from([1.0, 2.5, float("inf")]))
@settings(max_examples=300, deadline=None)
def test_lines_lie_below_and_above_the_activation(low: float, width: float, top: float) -> None:
    ends = torch.tensor([[low], [low + width]], dtype=torch.float64)
    slope, at = _line_below(ends[0], ends[1], top)
    over, over_at = _line_above(ends[0], ends[1], top)
    points = torch.linspace(low, low + width, 101, dtype=torch.float64)
    value = points.clamp(0, top)
    assert (slope * points + at <= value + 1e-9).all()
    assert (over * points + over_at >= value - 1e-9).all()


def small(head: str, activation: nn.Module) -> Classifier:
    """A network of every kind of layer that linear bounds go through."""
    encoding = IntervalEncoding(4, 2.0, 18.0, order=(2, 0, 3, 1))
    norm = nn.BatchNorm2d(4)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    backbone = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1), norm, activation, nn.Flatten(),
        nn.Linear(36, 8), activation,
    )  # fmt: skip
    make = SoftmaxHead if head == "softmax" else OrdinalHead
    return Classifier(
        backbone=backbone, head=make(8, encoding), task="int", head_name=head,  # type: ignore[arg-type]
        encoding=encoding, num_classes=4, input_shape=(1, 6, 6), mean=(0.0,), std=(1.0,),
    ).double().eval()  # fmt: skip


@pytest.mark.parametrize("head", ["softmax", "ordinal"])
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Hardtanh(0.0, 1.0)], ids=["relu", "clip"])
def test_no_point_falls_below_and_intervals_are_looser(head: str, activation: nn.Module) -> None:
    torch.manual_seed(2)
    network, labels = small(head, activation), torch.tensor([0, 1, 2, 3])
    x = torch.rand(4, 1, 6, 6).double()
    box = image_box(x, 0.1, clean=False)
    with torch.inference_mode():
        bound = lower_margins_backward(network, box, labels)
        interval = lower_margins(network.head, propagate(network.backbone, box), labels)
        for _ in range(300):
            sign = torch.randint(0, 3, x.shape) - 1
            point = Box(box.centre + sign * box.radius, torch.zeros_like(box.radius))
            reached = lower_margins(network.head, propagate(network.backbone, point), labels)
            assert (reached >= bound).all()
    finite = interval.isfinite()
    assert (bound[finite] > interval[finite]).double().mean() > 0.5


def test_crown_certifies_what_intervals_do_and_more(
    certified: dict[str, Member], mnist: ImageData
) -> None:
    rows = torch.arange(300)
    x, labels = to_unit(mnist.test.images(rows)), mnist.test.labels[rows]
    more = 0
    for member in certified.values():
        loose = certificates(member.classifier, x, labels, 0.1)
        tight = certificates(member.classifier, x, labels, 0.1, tight=True)
        assert not (loose.stays & ~tight.stays).any()
        assert not (loose.never_wrong & ~tight.never_wrong).any()
        more += int((tight.stays & ~loose.stays).sum())
    assert more > 0
