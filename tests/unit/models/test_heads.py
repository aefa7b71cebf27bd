"""The arithmetic between raw values and what is decoded."""

from __future__ import annotations

import pytest
import torch

from fleet.encoding import IntervalEncoding
from fleet.encoding.tensor import decode, encoding_tensors
from fleet.errors import ProfileError
from fleet.models.heads import LinearHead, LogitsHead, OrdinalHead, SoftmaxHead, margin_gates

ENCODINGS = [
    pytest.param(IntervalEncoding(10, 4.0, 16.0), id="paper"),
    pytest.param(IntervalEncoding(10, 1.0, 0.0), id="degenerate"),
    pytest.param(IntervalEncoding(10, 0.1, 0.0, 0.3), id="degenerate-not-representable"),
    pytest.param(IntervalEncoding(4, 4.0, 16.0, 1e6, (2, 0, 3, 1)), id="far-and-permuted"),
    pytest.param(
        IntervalEncoding(5, (1.0, 2.0, 3.0, 0.5, 7.0), (4.0, 0.0, 1.0, 9.0, 2.5), -3.7),
        id="per-class",
    ),
    pytest.param(
        IntervalEncoding(4, (1.0, 2.0, 3.0, 4.0), (0.1, 0.2, 0.0, 0.7), -80.0, (3, 1, 0, 2)),
        id="per-class-permuted",
    ),
    pytest.param(IntervalEncoding(2, 1e-6, 3e-6), id="tiny"),
]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_ordinal_head_with_p_units_on_decodes_to_the_class_at_slot_p(
    encoding: IntervalEncoding,
) -> None:
    head = OrdinalHead(8, encoding)
    count = encoding.num_classes
    below = torch.arange(count - 1) < torch.arange(count)[:, None]
    raw = torch.where(below, 0.5, -0.5)
    assert (
        decode(head.outputs(raw), encoding_tensors(encoding)).tolist()
        == decode(head.outputs(raw * 1000), encoding_tensors(encoding)).tolist()
        == list(encoding.classes)
    )


def test_ordinal_head_is_the_sum_of_clipped_steps() -> None:
    encoding = IntervalEncoding(4, (1.0, 2.0, 3.0, 4.0), (2.0, 4.0, 6.0, 8.0), 10.0)
    head = OrdinalHead(8, encoding)
    # Intervals [10, 12], [13, 17], [19, 25], [28, 36]: centres 11, 15, 22, 32, steps 4, 7, 10.
    raw = torch.tensor([[0.0, 0.0, 0.0], [0.25, -0.5, -9.0], [-0.25, 0.4, 3.0]])
    expected = [11 + 2 + 3.5 + 5, 11 + 4 * 0.75, 11 + 4 * 0.25 + 7 * 0.9 + 10]
    torch.testing.assert_close(head.outputs(raw), torch.tensor(expected))


def test_ordinal_gradient_is_the_step_inside_the_clip_and_zero_outside() -> None:
    head = OrdinalHead(8, IntervalEncoding(4, 4.0, 16.0))
    raw = torch.tensor([[0.0, 0.7, -0.7]], requires_grad=True)
    head.outputs(raw).sum().backward()
    assert raw.grad is not None
    assert raw.grad.tolist() == [[20.0, 0.0, 0.0]]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_linear_head_starts_in_the_middle_of_the_centres(encoding: IntervalEncoding) -> None:
    head = LinearHead(8, encoding)
    centers = sorted(encoding.center(y) for y in range(encoding.num_classes))
    middle = head.outputs(head(torch.zeros(1, 8)))
    torch.testing.assert_close(middle, torch.tensor([(centers[0] + centers[-1]) / 2]))
    ends = head.outputs(torch.tensor([[-0.5], [0.5]]) * (encoding.num_classes - 1))
    torch.testing.assert_close(ends, torch.tensor([centers[0], centers[-1]]))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_linear_head_at_zero_is_pytorchs_own_layer(encoding: IntervalEncoding) -> None:
    torch.manual_seed(3)
    layer = torch.nn.Linear(64, 1)
    torch.manual_seed(3)
    head = LinearHead(64, encoding, start="zero")
    features = torch.randn(5, 64)
    assert torch.equal(head.outputs(head(features)), layer(features)[:, 0])
    assert head.outputs(head(features)).abs().max() < 3  # features and weights, not the encoding


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_settling_keeps_the_outputs_and_takes_on_the_encodings_constants(
    encoding: IntervalEncoding,
) -> None:
    head = LinearHead(64, encoding, start="zero")
    centers = [encoding.center(label) for label in range(encoding.num_classes)]
    head.linear.bias.data.fill_(sum(centers) / len(centers))  # as after a training
    features = torch.randn(5, 64)
    before = head.outputs(head(features))
    head.settle(encoding)
    scale = max(1.0, *map(abs, centers))
    torch.testing.assert_close(head.outputs(head(features)), before, rtol=0, atol=4e-7 * scale)
    own = LinearHead(64, encoding)
    assert [own.middle, own.pitch] == [head.middle, head.pitch]


def test_linear_head_trains_alike_at_every_scale() -> None:
    """Two encodings that differ by an affine map give the same gradients in slot units."""
    gradients = []
    for encoding in (IntervalEncoding(10, 1.0, 4.0), IntervalEncoding(10, 200.0, 800.0, 7.0)):
        torch.manual_seed(0)
        head = LinearHead(8, encoding)
        (head.outputs(head(torch.ones(3, 8))) / head.pitch).sum().backward()
        assert head.linear.weight.grad is not None
        gradients.append(head.linear.weight.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


def test_linear_head_ignores_the_common_mean_of_the_features() -> None:
    head = LinearHead(64, IntervalEncoding(10, 4.0, 16.0))
    shifted = head.outputs(head(torch.full((1, 64), 5.0)))
    torch.testing.assert_close(shifted, torch.tensor([98.0]), atol=1e-3, rtol=0)


def test_logits_head_gives_one_value_for_each_class() -> None:
    head = LogitsHead(8, 10)
    raw = head(torch.ones(3, 8))
    assert raw.shape == (3, 10)
    assert head.outputs(raw) is raw


SOFTMAX = [case for case in ENCODINGS if case.id in {"paper", "far-and-permuted", "tiny"}] + [
    pytest.param(IntervalEncoding(10, 2.0, 18.0, order=(4, 2, 7, 0, 9, 6, 3, 8, 1, 5)), id="wide"),
    pytest.param(
        IntervalEncoding(5, (1.0, 2.0, 3.0, 0.5, 7.0), (4.0, 0.3, 1.0, 9.0, 2.5)), id="by class"
    ),
    pytest.param(IntervalEncoding(6, 9.0, 1.0), id="narrow"),
]


@pytest.mark.parametrize("encoding", SOFTMAX)
def test_softmax_head_answers_the_class_that_leads_by_its_gate_and_none_otherwise(
    encoding: IntervalEncoding,
) -> None:
    head = SoftmaxHead(8, encoding)
    count, tensors = encoding.num_classes, encoding_tensors(encoding)
    generator = torch.Generator().manual_seed(0)
    raw = torch.cat(
        [
            torch.randn(4000, count, generator=generator) * scale
            for scale in (0.1, 0.5, 2.0, 50.0, 1e4)
        ]
    )
    best, label = raw.double().topk(2)
    gates = head.gates[label[:, 0]]
    lead = best[:, 0] - best[:, 1]
    answers = decode(head.outputs(raw), tensors)
    assert torch.equal(answers, torch.where(lead >= gates, label[:, 0], -1))
    assert (answers >= 0).any()
    assert (answers < 0).any()


@pytest.mark.parametrize("encoding", SOFTMAX)
def test_all_other_values_at_the_gate_do_not_carry_the_scalar_out(
    encoding: IntervalEncoding,
) -> None:
    head = SoftmaxHead(8, encoding)
    classes = torch.arange(encoding.num_classes)
    raw = torch.zeros(len(classes), len(classes), dtype=torch.float64)
    raw[classes, classes] = head.gates
    assert torch.equal(decode(head.outputs(raw), encoding_tensors(encoding)), classes)


def test_a_mixture_of_two_far_classes_is_no_third_one() -> None:
    encoding = IntervalEncoding(9, 4.0, 16.0)
    head = SoftmaxHead(8, encoding)
    raw = torch.full((1, 9), -30.0)
    raw[0, 0] = raw[0, 8] = 5.0
    ungated = (raw.softmax(1).double() @ head.centers).float()
    assert decode(ungated, encoding_tensors(encoding)).tolist() == [4]
    assert decode(head.outputs(raw), encoding_tensors(encoding)).tolist() == [-1]


def test_the_gate_is_what_alpha_and_beta_say() -> None:
    assert margin_gates(IntervalEncoding(10, 4.0, 16.0)).tolist() == pytest.approx(
        [0.40547] * 10, abs=1e-4
    )
    wider = margin_gates(IntervalEncoding(10, 1.0, 19.0)).max()
    narrower = margin_gates(IntervalEncoding(10, 16.0, 4.0)).min()
    assert wider < 0.11
    assert narrower > 2
    with pytest.raises(ProfileError, match="beta 0"):
        SoftmaxHead(8, IntervalEncoding(10, 1.0, 0.0))


def test_values_that_are_not_finite_are_rejected() -> None:
    encoding = IntervalEncoding(3, 4.0, 16.0)
    inf, nan = float("inf"), float("nan")
    raw = torch.tensor([[nan, 0.0, 0.0], [inf, 0.0, 0.0], [inf, inf, 0.0], [-inf, -inf, -inf]])
    assert (
        decode(SoftmaxHead(8, encoding).outputs(raw), encoding_tensors(encoding)).tolist()
        == [-1] * 4
    )
