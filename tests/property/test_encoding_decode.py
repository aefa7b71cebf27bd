"""Laws of decoding and of the losses, on drawn encodings and at every edge."""

from __future__ import annotations

import ctypes
import json
import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fleet.encoding import REJECTED, IntervalEncoding
from fleet.encoding.tensor import (
    decode,
    encoding_tensors,
    interval_loss,
    scaled_interval_loss,
    violation,
)

AWKWARD = [
    *(
        0.0,
        -0.0,
        1e-30,
        -1e-30,
        1e-45,
        1e6,
        -1e6,
        1e6 + 0.03125,
        3.4028234e38,
        3.5e38,
        1e300,
        -1e300,
    ),
    *(math.inf, -math.inf, math.nan),
]


@st.composite
def encodings(draw: st.DrawFn) -> IntervalEncoding:
    """Scales from 1e-30 to 1e30, offsets up to a million gaps, lengths for all or by class."""
    k = draw(st.integers(2, 8))
    scale = 10.0 ** draw(st.integers(-30, 30))
    gaps = st.floats(0.5, 2).map(lambda x: x * scale)
    widths = st.one_of(st.just(0.0), st.floats(0.5, 20).map(lambda x: x * scale))

    def one_or_many(values: st.SearchStrategy[float]) -> float | tuple[float, ...]:
        return draw(st.one_of(values, st.tuples(*[values] * k)))

    try:
        return IntervalEncoding(
            k,
            alpha=one_or_many(gaps),
            beta=one_or_many(widths),
            s0=draw(st.floats(-1e6, 1e6)) * scale,
            order=draw(st.one_of(st.none(), st.permutations(range(k)).map(tuple))),
        )
    except ValueError:
        assume(False)
        raise


def float32(value: float) -> float:
    """Round to float32 by the C compiler's rule, apart from numpy and torch."""
    return ctypes.c_float(value).value


def around_edges(encoding: IntervalEncoding) -> list[float]:
    """Edges, exact and rounded, their neighbours in both formats, and the middles."""
    found = list(AWKWARD)
    exact = [e(y) for y in range(encoding.num_classes) for e in (encoding.lower, encoding.upper)]
    for edge in [*exact, encoding.edges.end]:
        for direction in (-math.inf, math.inf):
            single = np.nextafter(np.float32(edge), np.float32(direction))
            found += [math.nextafter(edge, direction), float(single)]
            found += [(edge + float(single)) / 2]
        found += [edge, float32(edge)]
    ascending = sorted(exact)
    return found + [(a + b) / 2 for a, b in pairwise(ascending)]


def oracle(encoding: IntervalEncoding, o: float, mode: str) -> int:
    """The rule of docs/encoding.md, one class after another, without a search."""
    rounded = float32(o)
    if mode == "floor":
        if rounded >= encoding.edges.end:
            return REJECTED
        below = [y for y in range(encoding.num_classes) if float32(encoding.lower(y)) <= rounded]
        return max(below, key=encoding.slot, default=REJECTED)
    for y in range(encoding.num_classes):
        if float32(encoding.lower(y)) <= rounded <= float32(encoding.upper(y)):
            return y
    return REJECTED


@settings(deadline=None)
@given(encodings(), st.data())
def test_any_real_point_of_a_closed_interval_decodes_to_its_class(
    encoding: IntervalEncoding, data: st.DataObject
) -> None:
    y = data.draw(st.integers(0, encoding.num_classes - 1))
    o = data.draw(st.floats(encoding.lower(y), encoding.upper(y)))
    for point in (encoding.lower(y), o, encoding.center(y), encoding.upper(y)):
        assert encoding.decode(point) == encoding.decode(point, "floor") == y


@settings(deadline=None)
@given(encodings(), st.data())
def test_any_point_of_a_gap_beyond_half_a_spacing_rejects(
    encoding: IntervalEncoding, data: st.DataObject
) -> None:
    slot = data.draw(st.integers(0, encoding.num_classes - 2))
    low, high = float(encoding.edges.upper[slot]), float(encoding.edges.lower[slot + 1])
    half = float(np.spacing(np.float32(max(abs(low), abs(high))))) / 2
    o = data.draw(st.floats(low + half, high - half, exclude_min=True, exclude_max=True))
    assert encoding.decode(o) is None
    assert encoding.margin(o) < 0
    assert encoding.decode(o, "floor") == encoding.class_at(slot)
    assert encoding.decode((low + high) / 2) is None


@settings(deadline=None)
@given(encodings(), st.lists(st.floats(), max_size=5), st.sampled_from(["strict", "floor"]))
def test_the_plain_and_the_torch_form_agree_with_the_rule_everywhere(
    encoding: IntervalEncoding, drawn: list[float], mode: str
) -> None:
    outputs = around_edges(encoding) + drawn
    expected = [oracle(encoding, o, mode) for o in outputs]
    assert encoding.decode_array(outputs, mode).tolist() == expected  # type: ignore[arg-type]
    one_by_one = [encoding.decode(o, mode) for o in outputs]  # type: ignore[arg-type]
    assert [REJECTED if y is None else y for y in one_by_one] == expected
    doubles = torch.tensor(outputs, dtype=torch.float64)
    tensors = encoding_tensors(encoding)
    assert decode(doubles, tensors, mode).tolist() == expected  # type: ignore[arg-type]
    assert decode(doubles.float(), tensors, mode).tolist() == expected  # type: ignore[arg-type]


@settings(deadline=None)
@given(encodings(), st.sampled_from([torch.float16, torch.bfloat16]))
def test_both_forms_agree_on_half_precision_outputs(
    encoding: IntervalEncoding, dtype: torch.dtype
) -> None:
    outputs = torch.tensor(around_edges(encoding), dtype=torch.float64).to(dtype)
    expected = encoding.decode_array(outputs.double().numpy()).tolist()
    assert decode(outputs, encoding_tensors(encoding)).tolist() == expected


@settings(deadline=None)
@given(encodings())
def test_the_sign_of_the_margin_is_the_strict_decision(encoding: IntervalEncoding) -> None:
    outputs = around_edges(encoding)
    margins = encoding.margin_array(outputs)
    np.testing.assert_array_equal(margins >= 0, encoding.decode_array(outputs) != REJECTED)
    assert not np.isnan(margins).any()
    np.testing.assert_array_equal(margins, [encoding.margin(o) for o in outputs])


@given(encodings())
def test_few_outputs_are_decided_as_arrays_are(encoding: IntervalEncoding) -> None:
    outputs = np.array([float32(o) for o in around_edges(encoding)], np.float32)
    found = encoding.decide(outputs.tolist())
    assert [index for index, _ in found] == encoding.decode_array(outputs).tolist()
    np.testing.assert_array_equal([m for _, m in found], encoding.margin_array(outputs))


@given(st.floats(-20, 200, width=32), st.integers(0, 5), st.integers(1, 64), st.integers(0, 64))
def test_floor_mode_is_eq_2_where_the_edges_are_float32_numbers(
    o: float, s0: int, alpha: int, beta: int
) -> None:
    encoding = IntervalEncoding(10, alpha=alpha / 8, beta=beta / 8, s0=s0)
    slot = (Fraction(o) - s0) // Fraction(alpha + beta, 8)  # Eq. 2 without rounding
    assert encoding.decode(o, "floor") == (slot if 0 <= slot < 10 else None)


@settings(deadline=None)
@given(encodings(), st.data())
def test_the_loss_and_its_gradient_are_zero_exactly_where_the_label_is_decoded(
    encoding: IntervalEncoding, data: st.DataObject
) -> None:
    tensors = encoding_tensors(encoding)
    label = data.draw(st.integers(0, encoding.num_classes - 1))
    finite = [o for o in map(float32, around_edges(encoding)) if math.isfinite(o)]
    outputs = torch.tensor(finite, requires_grad=True)
    labels = torch.full_like(outputs, label, dtype=torch.int64)
    decoded = decode(outputs, tensors) == label
    distance = violation(outputs, labels, tensors)
    assert torch.equal(distance == 0, decoded)
    for loss in (
        distance,
        interval_loss(outputs, labels, tensors),
        scaled_interval_loss(outputs, labels, tensors, 0.0),
    ):
        (gradient,) = torch.autograd.grad(loss.sum(), outputs, retain_graph=True)
        assert (loss[decoded] == 0).all()
        assert (gradient[decoded] == 0).all()
        assert (loss >= 0).all()


@settings(deadline=None)
@given(encodings(), st.floats(0.01, 100), st.sampled_from([-1, 1]))
def test_the_scaled_loss_outside_is_positive_and_pulls_towards_the_interval(
    encoding: IntervalEncoding, distance: float, side: int
) -> None:
    tensors = encoding_tensors(encoding)
    labels = torch.arange(encoding.num_classes)
    edges = tensors.upper if side > 0 else tensors.lower
    outputs = (edges.double() + side * distance * tensors.pitch).requires_grad_()
    loss = scaled_interval_loss(outputs, labels, tensors, 0.0)
    (gradient,) = torch.autograd.grad(loss.sum(), outputs)
    assert (loss > 0).all()
    assert (gradient * side > 0).all()
    expected = distance**2 if distance < 0.5 else distance - 0.25
    torch.testing.assert_close(loss, torch.full_like(loss, expected), rtol=1e-6, atol=1e-6)


@given(encodings())
def test_the_json_round_trip_is_exact(encoding: IntervalEncoding) -> None:
    back = IntervalEncoding.from_dict(json.loads(json.dumps(encoding.to_dict(), allow_nan=False)))
    assert back == encoding
    assert repr(back) == repr(encoding)
    assert hash(back) == hash(encoding)
    for a, b in zip(vars(encoding.edges).values(), vars(back.edges).values(), strict=True):
        np.testing.assert_array_equal(a, b)


@given(
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(2, 20),
)
def test_any_floats_give_a_sound_encoding_or_a_value_error(
    alpha: float, beta: float, s0: float, k: int
) -> None:
    try:
        encoding = IntervalEncoding(k, alpha, beta, s0)
    except ValueError:
        return
    edges = encoding.edges
    assert (edges.lower <= edges.upper).all()
    assert (edges.upper[:-1] < edges.lower[1:]).all()
    assert edges.upper[-1] < edges.end < math.inf
    for y in range(k):
        assert encoding.decode(encoding.lower(y)) == encoding.decode(encoding.upper(y)) == y


def test_a_random_sample_of_float32_bit_patterns_decodes_alike() -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint32)
    outputs = bits.view(np.float32)
    for encoding in (
        IntervalEncoding(10),
        IntervalEncoding(4, 1e-30, 1e-30),
        IntervalEncoding(9, 1e30, 0),
    ):
        plain = encoding.decode_array(outputs)
        batched = decode(torch.from_numpy(outputs), encoding_tensors(encoding))
        np.testing.assert_array_equal(plain, batched.numpy())
    assert pytest.approx(np.isnan(outputs).mean(), abs=0.01) == 2 / 512
