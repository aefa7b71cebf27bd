"""Edges live on the float32 grid: what is rounded, what still decodes, what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fleet.encoding import IntervalEncoding


def test_a_float64_edge_between_two_float32_numbers_decodes() -> None:
    encoding = IntervalEncoding(2, alpha=1, beta=0.1, s0=0.1)
    assert float(np.float32(0.1)) > 0.1  # the edge on the grid lies above the exact one
    assert encoding.lower(0) == 0.1
    assert encoding.decode(0.1) == 0
    assert encoding.decode(float(np.nextafter(np.float32(0.1), np.float32(0)))) is None


def test_at_a_million_the_decision_changes_at_the_neighbouring_float32() -> None:
    encoding = IntervalEncoding(3, alpha=0.125, beta=0.25, s0=1e6)  # spacing 0.0625
    assert encoding.decode(1e6 + 0.25) == 0
    assert encoding.decode(1e6 + 0.25 + 0.0625) is None
    assert encoding.decode(1e6 + 0.25 + 0.125) == 1
    # less than half a spacing beyond the edge is the edge itself in float32; more is the gap
    assert encoding.decode(1e6 + 0.25 + 0.031) == 0
    assert encoding.decode(1e6 + 0.25 + 0.032) is None


@pytest.mark.parametrize("s0", [1e6, -1e6])
def test_a_gap_without_a_float32_number_inside_is_refused_and_the_named_gap_works(
    s0: float,
) -> None:
    with pytest.raises(ValueError, match="the gap after class 0 vanishes") as caught:
        IntervalEncoding(3, alpha=0.06, beta=1, s0=s0)
    assert "are 0.0625 apart; make alpha at least 0.125 there" in str(caught.value)
    IntervalEncoding(3, alpha=0.125, beta=1, s0=s0)


def test_an_interval_whose_edges_coincide_is_refused_and_the_named_length_works() -> None:
    with pytest.raises(ValueError, match="the interval of class 1 vanishes") as caught:
        IntervalEncoding(2, alpha=1, beta=(1.0, 0.01), s0=1e6)
    assert "make beta at least 0.0625 there" in str(caught.value)
    IntervalEncoding(2, alpha=1, beta=(1.0, 0.0625), s0=1e6)
    IntervalEncoding(2, alpha=1, beta=(1.0, 0.0), s0=1e6)  # a point is meant to be one


def test_the_message_names_the_class_and_not_the_slot() -> None:
    # slot 1 holds class 0, and only its gap is too narrow
    with pytest.raises(ValueError, match="the gap after class 0"):
        IntervalEncoding(3, alpha=(0.01, 1, 1), beta=1, s0=1e6, order=(1, 0, 2))


def test_the_gap_after_the_last_slot_counts_because_floor_mode_uses_it() -> None:
    with pytest.raises(ValueError, match="the gap after class 1"):
        IntervalEncoding(2, alpha=(1, 0.01), beta=1, s0=1e6)


def test_a_gap_that_grows_too_narrow_along_the_line_is_refused_where_it_does() -> None:
    with pytest.raises(ValueError, match="vanishes") as caught:
        IntervalEncoding(1000, alpha=1, beta=2**20)
    slot = int(re.search(r"class (\d+)", str(caught.value)).group(1))  # type: ignore[union-attr]
    IntervalEncoding(slot, alpha=1, beta=2**20)  # without that class it is usable


@pytest.mark.parametrize(
    "values",
    [
        {"num_classes": 10, "alpha": 1e38, "beta": 1e38},
        {"num_classes": 2, "alpha": 3e38, "beta": 3e38, "s0": -3e38},
        {"num_classes": 2, "alpha": 1e31, "beta": 1e30, "s0": 3.4028234e38},
    ],
)
def test_edges_beyond_float32_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="leave float32's range"):
        IntervalEncoding(**values)  # type: ignore[arg-type]


def test_an_edge_at_the_largest_float32_is_refused_without_a_warning() -> None:
    with pytest.raises(ValueError, match="leave float32's range"):
        IntervalEncoding(
            2, alpha=(2e38, 1e-3), beta=1e38, s0=float(np.finfo(np.float32).max) - 4e38
        )


@pytest.mark.parametrize("alpha", [5e-324, 1e-45])
def test_lengths_below_the_smallest_float32_are_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="vanishes"):
        IntervalEncoding(2, alpha=alpha, beta=0)


def test_tiny_encodings_near_zero_decode_at_their_edges() -> None:
    encoding = IntervalEncoding(3, alpha=1e-30, beta=3e-30)
    for y in range(3):
        assert encoding.decode(encoding.lower(y)) == encoding.decode(encoding.upper(y)) == y
        assert encoding.decode(encoding.upper(y) + 5e-31) is None
