"""The torch form: tensors, decoding, losses and their gradients."""

from __future__ import annotations

import math

import pytest
import torch

from fleet.encoding import REJECTED, IntervalEncoding
from fleet.encoding.tensor import (
    decode,
    encoding_tensors,
    interval_loss,
    scaled_interval_loss,
    violation,
)

ENCODING = IntervalEncoding(3, alpha=1, beta=4, s0=10, order=(2, 0, 1))  # 1: [10,14] 2: [15,19] ...
TENSORS = encoding_tensors(ENCODING)


def test_tensors_hold_the_edges_by_class_and_by_slot() -> None:
    assert TENSORS.lower.tolist() == [20, 10, 15]
    assert TENSORS.upper.tolist() == [24, 14, 19]
    assert TENSORS.center.tolist() == [22, 12, 17]
    assert TENSORS.slot_lower.tolist() == [10, 15, 20]
    assert TENSORS.slot_upper.tolist() == [14, 19, 24]
    assert TENSORS.slot_class.tolist() == [1, 2, 0]
    assert TENSORS.class_slot.tolist() == [2, 0, 1]
    assert (TENSORS.end, TENSORS.pitch) == (25.0, 5.0)
    floats = (TENSORS.lower, TENSORS.upper, TENSORS.center, TENSORS.slot_lower, TENSORS.slot_upper)
    assert {t.dtype for t in floats} == {torch.float32}
    assert TENSORS.slot_class.dtype == TENSORS.class_slot.dtype == torch.int64


def test_tensors_go_to_the_device_that_is_named() -> None:
    assert encoding_tensors(ENCODING, "meta").slot_class.device.type == "meta"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_batches_decode_in_both_modes_and_every_float_type(dtype: torch.dtype) -> None:
    outputs = torch.tensor([9.5, 10, 14, 14.5, 15, 24, 24.5, 25, math.nan, math.inf, -math.inf])
    strict, floor = (decode(outputs.to(dtype), TENSORS, mode) for mode in ("strict", "floor"))
    assert strict.tolist() == [-1, 1, 1, -1, 2, 0, -1, -1, -1, -1, -1]
    assert floor.tolist() == [-1, 1, 1, 1, 2, 0, 0, -1, -1, -1, -1]
    assert strict.dtype == torch.int64


def test_decoding_takes_strided_outputs_that_need_a_gradient() -> None:
    outputs = torch.tensor([[10.0, 0.0], [20.0, 0.0]], requires_grad=True)[:, 0]
    assert decode(outputs, TENSORS).tolist() == [1, 0]
    assert decode(torch.empty(0), TENSORS).shape == (0,)


def test_batch_decoding_refuses_an_unknown_mode() -> None:
    with pytest.raises(ValueError, match="'strict' or 'floor', not 'nearest'"):
        decode(torch.zeros(1), TENSORS, "nearest")  # type: ignore[arg-type]


def test_violation_is_the_distance_to_the_shrunk_interval() -> None:
    outputs = torch.tensor([7.0, 10.0, 12.0, 14.0, 16.5])
    labels = torch.full((5,), 1)
    assert violation(outputs, labels, TENSORS).tolist() == [3, 0, 0, 0, 2.5]
    assert violation(outputs, labels, TENSORS, 0.5).tolist() == [3.5, 0.5, 0, 0.5, 3]
    each = torch.tensor([0.0, 1.0, 2.0, 0.25, 0.0])
    assert violation(outputs, labels, TENSORS, each).tolist() == [3, 1, 0, 0.25, 2.5]


def test_eq_3_is_the_squared_violation_of_each_example() -> None:
    loss = interval_loss(torch.tensor([7.0, 12.0, 16.5]), torch.tensor([1, 1, 1]), TENSORS)
    assert loss.tolist() == [9, 0, 6.25]


def test_the_scaled_loss_is_in_slot_units_with_a_huber_tail() -> None:
    # pitch 5, beta 4, margin 0.25 -> the target of class 1 is [11, 13]
    outputs = torch.tensor([12.0, 11.0, 10.0, 13.0 + 2.5, 13.0 + 5.0])
    loss = scaled_interval_loss(outputs, torch.full((5,), 1), TENSORS, 0.25)
    torch.testing.assert_close(loss, torch.tensor([0.0, 0.0, 0.04, 0.25, 0.75]))


def test_the_scaled_margin_is_a_share_of_the_labels_own_beta() -> None:
    tensors = encoding_tensors(IntervalEncoding(2, alpha=(2.0, 1.0), beta=(8.0, 0.0)))
    loss = scaled_interval_loss(torch.tensor([0.0, 10.0]), torch.tensor([0, 1]), tensors, 0.25)
    torch.testing.assert_close(loss, torch.tensor([(2 / 10) ** 2, 0.0]))


@pytest.mark.parametrize("factor", [2.0**-20, 2.0**20])
def test_the_scaled_loss_does_not_depend_on_the_scale(factor: float) -> None:
    scaled = encoding_tensors(
        IntervalEncoding(3, alpha=factor, beta=4 * factor, s0=10 * factor, order=(2, 0, 1))
    )
    outputs, labels = torch.linspace(5, 30, 40), torch.arange(40) % 3
    expected = scaled_interval_loss(outputs, labels, TENSORS, 0.1)
    torch.testing.assert_close(
        scaled_interval_loss(outputs * factor, labels, scaled, 0.1), expected
    )


@pytest.mark.parametrize("margin", [-0.1, 0.5, math.nan])
def test_a_margin_that_leaves_no_target_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match=r"margin must be in \[0, 0\.5\)"):
        scaled_interval_loss(torch.zeros(1), torch.zeros(1, dtype=torch.int64), TENSORS, margin)


@pytest.mark.parametrize("shape", [(4, 1), (1, 4), (3,), ()])
def test_shapes_that_would_broadcast_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must both be \(B,\)"):
        violation(torch.zeros(shape), torch.zeros(4, dtype=torch.int64), TENSORS)


@pytest.mark.parametrize("shape", [(2, 2), (1, 3), ()])
def test_equal_shapes_that_are_no_batch_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must both be \(B,\)"):
        violation(torch.zeros(shape), torch.zeros(shape, dtype=torch.int64), TENSORS)


@pytest.mark.parametrize("label", [REJECTED, 3])
def test_labels_that_are_no_class_are_refused(label: int) -> None:
    with pytest.raises(RuntimeError, match="out of bounds"):
        interval_loss(torch.zeros(1), torch.tensor([label]), TENSORS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_outputs_are_scored_in_float32_and_get_their_gradient_back(dtype: torch.dtype) -> None:
    outputs = torch.tensor([7.0, 12.0], dtype=dtype, requires_grad=True)
    loss = interval_loss(outputs, torch.tensor([1, 1]), TENSORS)
    assert loss.dtype == torch.float32
    loss.sum().backward()
    assert outputs.grad is not None
    assert outputs.grad.tolist() == [-6, 0]


def test_nan_and_infinite_outputs_show_in_the_loss() -> None:
    outputs = torch.tensor([math.nan, math.inf, -math.inf])
    loss = scaled_interval_loss(outputs, torch.tensor([0, 0, 0]), TENSORS, 0.0)
    assert loss[0].isnan()
    assert loss[1:].tolist() == [math.inf, math.inf]


def test_gradients_of_the_losses_are_those_of_finite_differences() -> None:
    # both sides, inside, and both branches of the Huber tail; away from the kinks of the relu
    outputs = torch.tensor([3.0, 8.7, 12.0, 15.1, 20.0], dtype=torch.float64, requires_grad=True)
    labels = torch.full((5,), 1)
    for loss in (
        lambda o: violation(o, labels, TENSORS, 0.3),
        lambda o: interval_loss(o, labels, TENSORS),
        lambda o: scaled_interval_loss(o, labels, TENSORS, 0.1),
    ):
        assert torch.autograd.gradcheck(loss, outputs)
