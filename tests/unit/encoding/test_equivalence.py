"""Which encodings are one and the same device."""

from __future__ import annotations

import pytest

from fleet.encoding import IntervalEncoding, equivalent
from fleet.encoding.orders import reverse

ORDER = (3, 1, 0, 4, 2)
BASE = IntervalEncoding(5, alpha=4, beta=16, order=ORDER)


@pytest.mark.parametrize(
    "other",
    [
        IntervalEncoding(5, alpha=4, beta=16, s0=-77, order=ORDER),
        IntervalEncoding(5, alpha=0.1, beta=0.4, order=ORDER),
        IntervalEncoding(5, alpha=4e5, beta=16e5, s0=1e6, order=reverse(ORDER)),
        IntervalEncoding(5, alpha=(4, 4, 4, 4, 4), beta=(16,) * 5, order=ORDER),
        IntervalEncoding(5, alpha=(4, 4, 4, 99, 4), beta=16, order=ORDER),  # class 3 sits last
    ],
)
def test_scaled_shifted_and_reversed_encodings_are_equivalent(other: IntervalEncoding) -> None:
    assert equivalent(BASE, other)
    assert BASE.canonical() == other.canonical()


@pytest.mark.parametrize(
    "other",
    [
        IntervalEncoding(5, alpha=4, beta=16),
        IntervalEncoding(5, alpha=4, beta=15, order=ORDER),
        IntervalEncoding(5, alpha=4, beta=16.001, order=ORDER),
        IntervalEncoding(5, alpha=4, beta=0, order=ORDER),
        IntervalEncoding(5, alpha=(4, 4, 4, 4, 5), beta=16, order=ORDER),
        IntervalEncoding(5, alpha=4, beta=(16, 16, 16, 17, 16), order=ORDER),
        IntervalEncoding(4, alpha=4, beta=16),
    ],
)
def test_another_ratio_order_or_class_count_is_another_encoding(other: IntervalEncoding) -> None:
    assert not equivalent(BASE, other)


def test_none_and_the_written_identity_are_equivalent() -> None:
    assert equivalent(IntervalEncoding(3), IntervalEncoding(3, order=(0, 1, 2)))


def test_a_reversed_line_carries_the_lengths_of_each_class_with_it() -> None:
    # 0: [0, 1] gap 2, 1: [3, 7] gap 8, 2: [15, 31], and the same read from the right
    ahead = IntervalEncoding(3, alpha=(2, 8, 1), beta=(1, 4, 16))
    back = IntervalEncoding(3, alpha=(1, 2, 8), beta=(1, 4, 16), s0=-31, order=(2, 1, 0))
    assert [(-back.upper(y), -back.lower(y)) for y in range(3)] == [
        (ahead.lower(y), ahead.upper(y)) for y in range(3)
    ]
    assert equivalent(ahead, back)
    assert not equivalent(ahead, IntervalEncoding(3, (2, 8, 1), (1, 4, 16), order=(2, 1, 0)))


def test_canonical_lengths_are_parts_of_the_distance_between_centres() -> None:
    classes, lengths = IntervalEncoding(2, alpha=1, beta=3, order=(1, 0)).canonical()
    assert classes == (0, 1)
    assert [length / 2**20 for length in lengths] == [0.75, 0.25, 0.75]
    # beta, alpha by slot: 1, 2, 4, 8, 16; outer centres at 0.5 and 23, so two steps of 11.25
    _, lengths = IntervalEncoding(3, alpha=(2, 8, 1), beta=(1, 4, 16)).canonical()
    assert lengths == tuple(round(length / 11.25 * 2**20) for length in (1, 2, 4, 8, 16))


def test_half_and_half_is_no_tie_of_the_grid() -> None:
    # rho = 1/2 in three spellings whose quotients differ in the last bit
    spellings = [(1.0, 1.0), (0.1 + 0.2, 0.3), (0.7, 0.1 * 7)]
    assert len({IntervalEncoding(10, a, b).canonical() for a, b in spellings}) == 1
