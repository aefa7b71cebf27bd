"""A coverage-risk curve is that of devices with each ratio; the choice keeps its price."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import pytest
import torch
from torch import nn

from fleet.audit.certify import coverage
from fleet.audit.certify.coverage import Coverage, choose_ratio, coverage_curve
from fleet.audit.core.members import Member, Sample
from fleet.encoding import IntervalEncoding
from fleet.errors import AuditError
from fleet.models import Classifier
from fleet.models.convolutional import ConvNet
from fleet.models.heads import SoftmaxHead

RATIOS = (0.5, 0.8, 0.95)


def images() -> Sample:
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (300, 1, 2, 2), dtype=torch.uint8, generator=generator)
    return Sample.of(pixels, torch.randint(0, 4, (300,), generator=generator))


def test_a_scalar_is_answered_inside_intervals_around_the_same_centres() -> None:
    encoding = IntervalEncoding(4, 4.0, 16.0, s0=-7.0, order=(2, 0, 3, 1))

    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 80 * x.mean((1, 2, 3)) - 7

    member, sample = Member("d", Classifier.from_module(Scaled(), encoding, (1, 2, 2))), images()
    scalars = Scaled()(sample.images / 255)
    for point in coverage_curve(member, sample, RATIOS):
        beta = 20 * point.ratio
        other = replace(encoding, alpha=20 - beta, beta=beta, s0=-7.0 + (16 - beta) / 2)
        decoded = torch.from_numpy(other.decode_array(scalars.numpy()))
        assert point.answered == int((decoded >= 0).sum())
        assert point.correct == int((decoded == sample.labels).sum())
        assert point.stays is None
    assert point.coverage > 0.9
    assert point.risk is not None


@pytest.mark.parametrize("bounded", [True, False])
def test_a_softmax_device_answers_as_one_built_with_the_ratio(bounded: bool) -> None:
    torch.manual_seed(0)
    encoding, sample = IntervalEncoding(4, 2.0, 18.0), images()

    def built(encoding: IntervalEncoding) -> Classifier:
        torch.manual_seed(0)
        head = SoftmaxHead(4, encoding)
        head.linear.weight.data = 4 * torch.randn(4, 4)
        return Classifier(
            backbone=nn.Flatten(), head=head, task="int", head_name="softmax", encoding=encoding,
            num_classes=4, input_shape=(1, 2, 2), mean=(0.0,), std=(1.0,),
        )  # fmt: skip

    kind = nn.Flatten if bounded else ConvNet
    with patch.object(coverage, "ConvNet", kind):  # nn.Flatten has bounds too
        curve = coverage_curve(Member("d", built(encoding)), sample, RATIOS, eps=0.01)
    for point in curve:
        other = built(replace(encoding, alpha=20 * (1 - point.ratio), beta=20 * point.ratio))
        decoded = other.decode(other(sample.images / 255))
        assert point.answered == int((decoded >= 0).sum())
        assert point.correct == int((decoded == sample.labels).sum())
        assert (point.stays is not None) == bounded
    member = Member("d", built(replace(encoding, alpha=(2.0, 2.0, 3.0, 2.0))))
    with pytest.raises(AuditError, match="no single alpha and beta"):
        coverage_curve(member, sample)


def test_the_smallest_ratio_within_the_price_is_chosen() -> None:
    curve = [
        Coverage(0.5, 1000, 900, 890, 500),
        Coverage(0.8, 1000, 960, 947, 600),
        Coverage(0.9, 1000, 980, 950, 640),
    ]
    assert choose_ratio(curve, 0.5).ratio == 0.5
    assert choose_ratio(curve, 0.05).ratio == 0.8
    assert choose_ratio(curve, 0.005).ratio == 0.9  # right answers would allow 0.8
    assert choose_ratio([replace(point, stays=None) for point in curve], 0.005).ratio == 0.8
