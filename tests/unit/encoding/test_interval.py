"""The plain form: Eq. 1, Eq. 2, margins, JSON, and what is refused."""

from __future__ import annotations

import json
import math
import pickle
from typing import Any

import numpy as np
import pytest

from fleet.encoding import REJECTED, IntervalEncoding

PER_CLASS = IntervalEncoding(3, alpha=(1.0, 2.0, 4.0), beta=(8.0, 16.0, 0.0), order=(2, 0, 1))


def test_the_papers_vector_gives_class_3_the_interval_12_to_15() -> None:
    encoding = IntervalEncoding(10, alpha=1, beta=3, s0=0)
    assert (encoding.lower(3), encoding.center(3), encoding.upper(3)) == (12.0, 13.5, 15.0)
    assert [encoding.decode(o) for o in (12, 13.5, 15)] == [3, 3, 3]
    assert encoding.decode(11.5) is None
    assert encoding.decode(15.5) is None


def test_the_papers_degenerate_case_decodes_only_whole_numbers() -> None:
    encoding = IntervalEncoding(10, alpha=1, beta=0)
    assert [encoding.decode(float(y)) for y in range(10)] == list(range(10))
    assert encoding.decode_array([0.5, 3.999, 9.001, -1, 10]).tolist() == [REJECTED] * 5
    assert encoding.margin(4.0) == 0.0


def test_an_order_moves_classes_to_their_slots() -> None:
    encoding = IntervalEncoding(3, alpha=1, beta=1, s0=10, order=(2, 0, 1))
    assert [encoding.lower(y) for y in range(3)] == [14.0, 10.0, 12.0]
    assert [encoding.slot(y) for y in range(3)] == [2, 0, 1]
    assert [encoding.class_at(p) for p in range(3)] == [1, 2, 0]
    assert encoding.decode(10.5) == 1


def test_lengths_by_class_follow_their_class_along_the_slots() -> None:
    # slots hold classes 1, 2, 0: [0, 16], gap 2, [18, 18], gap 4, [22, 30], gap 1
    assert [(PER_CLASS.lower(y), PER_CLASS.upper(y)) for y in (1, 2, 0)] == [
        (0.0, 16.0),
        (18.0, 18.0),
        (22.0, 30.0),
    ]
    assert PER_CLASS.decode_array([16, 17, 18, 20, 22, 30, 30.5]).tolist() == [
        *(1, -1, 2, -1, 0, 0, -1)
    ]
    assert [PER_CLASS.center(y) for y in (1, 2, 0)] == [8.0, 18.0, 26.0]
    assert PER_CLASS.pitch == (18 + 4) / 2
    assert PER_CLASS.span == (0.0, 30.0)


def test_equal_lengths_by_class_give_the_bits_of_one_length_for_all() -> None:
    one = IntervalEncoding(50, alpha=0.1, beta=0.7, s0=0.3)
    many = IntervalEncoding(50, alpha=(0.1,) * 50, beta=(0.7,) * 50, s0=0.3)
    assert [one.lower(y) for y in range(50)] == [0.3 + y * (0.1 + 0.7) for y in range(50)]
    assert [one.upper(y) for y in range(50)] == [0.3 + y * (0.1 + 0.7) + 0.7 for y in range(50)]
    for a, b in zip(vars(one.edges).values(), vars(many.edges).values(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.pitch == many.pitch == 0.1 + 0.7


def test_floor_mode_gives_a_gap_to_the_class_below_and_rejects_only_outside() -> None:
    encoding = IntervalEncoding(3, alpha=1, beta=3, s0=2, order=(1, 0, 2))
    outputs = [1.99, 2, 5.5, 6, 9.99, 10, 13.99, 14, math.inf, -math.inf, math.nan]
    assert encoding.decode_array(outputs, "floor").tolist() == [
        *(-1, 1, 1, 0, 0, 2, 2, -1, -1, -1, -1)
    ]
    assert PER_CLASS.decode_array([17, 21, 30.5, 31], "floor").tolist() == [1, 2, 0, -1]
    assert encoding.decode(5.5, "floor") == 1
    assert encoding.decode(14, "floor") is None


@pytest.mark.parametrize("o", [math.nan, math.inf, -math.inf, 1e300, -1e300])
def test_what_is_not_finite_in_float32_is_rejected_with_the_lowest_margin(o: float) -> None:
    encoding = IntervalEncoding(4)
    assert encoding.decode(o) is None
    assert encoding.decode(o, "floor") is None
    assert encoding.margin(o) == -math.inf


def test_margin_is_the_distance_to_the_nearest_edge_in_pitches() -> None:
    encoding = IntervalEncoding(3, alpha=1, beta=3)  # [0, 3] [4, 7] [8, 11]
    outputs = [-2, 0, 1, 1.5, 3, 3.25, 3.75, 4, 11, 13]
    expected = [-0.5, 0, 0.25, 0.375, 0, -0.0625, -0.0625, 0, 0, -0.5]
    assert encoding.margin_array(outputs).tolist() == expected
    assert encoding.margin(1.5) == 0.375


def test_margin_finds_the_nearest_interval_where_lengths_vary() -> None:
    encoding = IntervalEncoding(2, alpha=(8, 1), beta=1)  # [0, 1] [9, 10]
    assert (encoding.margin_array([3, 6]) * encoding.pitch).tolist() == [-2, -3]


def test_array_decoding_keeps_the_shape_and_takes_every_real_type() -> None:
    encoding = IntervalEncoding(3, alpha=1, beta=1)
    outputs = np.array([[0, 1, 2], [3, 4, 9]])
    for dtype in (np.int64, np.float16, np.float32, np.float64, np.longdouble):
        decoded = encoding.decode_array(outputs.astype(dtype))
        assert decoded.tolist() == [[0, 0, 1], [1, 2, -1]]
        assert decoded.dtype == np.int64
    assert encoding.decode_array([]).shape == encoding.margin_array(np.zeros(0)).shape == (0,)


@pytest.mark.parametrize("outputs", [["1.0"], [True], [1j], [None]])
def test_outputs_that_are_no_real_numbers_are_a_type_error(outputs: list[Any]) -> None:
    with pytest.raises(TypeError, match="real numbers"):
        IntervalEncoding(2).decode_array(outputs)


def test_an_unknown_decode_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="'strict' or 'floor', not 'round'"):
        IntervalEncoding(2).decode(0.0, "round")  # type: ignore[arg-type]


@pytest.mark.parametrize("y", [-1, 10])
def test_a_class_that_does_not_exist_is_an_index_error(y: int) -> None:
    encoding = IntervalEncoding(10)
    for look_up in (encoding.slot, encoding.class_at, encoding.lower):
        with pytest.raises(IndexError, match="not in 0 to 9"):
            look_up(y)


def test_values_become_plain_and_the_encoding_stays_a_value() -> None:
    loose = IntervalEncoding(
        np.int64(2),  # type: ignore[arg-type]
        alpha=[1, 2],  # type: ignore[arg-type]
        beta=np.float32(0.5),  # type: ignore[arg-type]
        s0=3,
        order=[1, 0],  # type: ignore[arg-type]
    )
    plain = IntervalEncoding(2, (1.0, 2.0), 0.5, 3.0, (1, 0))
    assert loose == plain
    assert hash(loose) == hash(plain)
    assert repr(loose) == repr(plain)
    assert pickle.loads(pickle.dumps(loose)) == plain


def test_edges_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="read-only"):
        IntervalEncoding(2).edges.lower[0] = 7


def test_json_holds_exactly_the_fields() -> None:
    assert PER_CLASS.to_dict() == {
        "num_classes": 3,
        "alpha": [1.0, 2.0, 4.0],
        "beta": [8.0, 16.0, 0.0],
        "s0": 0.0,
        "order": [2, 0, 1],
    }
    assert IntervalEncoding.from_dict(json.loads(json.dumps(PER_CLASS.to_dict()))) == PER_CLASS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": 1}, "num_classes must be 2 to 65536, not 1"),
        ({"num_classes": 10**12}, "num_classes must be 2 to 65536"),
        ({"num_classes": 3.0}, "num_classes must be a whole number, not 3.0"),
        ({"num_classes": True}, "num_classes must be a whole number, not True"),
        ({"num_classes": "3"}, "num_classes must be a whole number, not '3'"),
        ({"alpha": 0}, "alpha must be above 0, not 0.0"),
        ({"alpha": -1}, "alpha must be above 0, not -1.0"),
        ({"alpha": "4"}, "alpha must be a number, not '4'"),
        ({"alpha": None}, "alpha must be a number, not None"),
        ({"alpha": True}, "alpha must be a number, not True"),
        ({"alpha": math.nan}, "alpha must be finite"),
        ({"alpha": [1, 2]}, "alpha has 2 values for 3 classes"),
        ({"alpha": [1, 2, 0]}, r"alpha\[2\] must be above 0"),
        ({"alpha": [1, [2], 3]}, r"alpha\[1\] must be a number"),
        ({"beta": -3}, "beta must be 0 or more, not -3.0"),
        ({"beta": math.inf}, "beta must be finite"),
        ({"beta": 10**400}, "beta must be finite"),
        ({"beta": [1, 1, 1, 1]}, "beta has 4 values for 3 classes"),
        ({"beta": [1, 1, "1"]}, r"beta\[2\] must be a number"),
        ({"s0": -math.inf}, "s0 must be finite"),
        ({"s0": 3.5e38}, "s0 must be finite in float32"),
        ({"s0": "0"}, "s0 must be a number"),
        ({"s0": [0]}, "s0 must be a number"),
        ({"order": [0, 1]}, "order has 2 slots for 3 classes"),
        ({"order": [0, 1, 1]}, "order must name each slot 0 to 2 exactly once"),
        ({"order": [1, 2, 3]}, "order must name each slot 0 to 2 exactly once"),
        ({"order": [0, 1, 2.0]}, r"order\[2\] must be a whole number"),
        ({"order": [False, True, 2]}, r"order\[0\] must be a whole number"),
        ({"order": "012"}, "order must be a list of slots"),
        ({"order": 3}, "order must be a list of slots"),
    ],
)
def test_a_wrong_value_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    good = IntervalEncoding(3).to_dict()
    with pytest.raises(ValueError, match=message):
        IntervalEncoding.from_dict({**good, **change})


@pytest.mark.parametrize(
    "data", [{}, {"num_classes": 3}, {**IntervalEncoding(3).to_dict(), "gamma": 1}, [], None]
)
def test_json_with_other_fields_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match="exactly the fields alpha, beta, num_classes, order, s0"):
        IntervalEncoding.from_dict(data)


def test_the_largest_number_of_classes_is_usable() -> None:
    encoding = IntervalEncoding(65_536, alpha=1, beta=3)
    assert encoding.decode(4 * 65_535 + 3.0) == 65_535
