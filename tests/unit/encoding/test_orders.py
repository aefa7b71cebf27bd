"""Orders: inverse, reversal, zig-zags, and what two of them share."""

from __future__ import annotations

from itertools import combinations

import pytest

from fleet.encoding.orders import (
    inverse,
    reverse,
    shared_adjacencies,
    shared_dichotomies,
    spread_orders,
    zigzag_orders,
)

IDENTITY = tuple(range(10))
P1 = inverse((3, 8, 1, 6, 0, 9, 5, 2, 7, 4))  # written slot -> class
P2 = inverse((5, 0, 7, 2, 9, 4, 6, 1, 8, 3))


def test_inverse_turns_classes_and_slots_around() -> None:
    assert inverse((2, 0, 1)) == (1, 2, 0)
    assert inverse(inverse(P1)) == P1


def test_reverse_mirrors_the_slots() -> None:
    assert reverse((2, 0, 1)) == (0, 2, 1)
    assert inverse(reverse(P1)) == inverse(P1)[::-1]


def test_the_first_zigzag_of_ten_is_waleckis() -> None:
    orders = zigzag_orders(10)
    assert inverse(orders[0]) == (0, 1, 9, 2, 8, 3, 7, 4, 6, 5)
    assert inverse(orders[2]) == (2, 3, 1, 4, 0, 5, 9, 6, 8, 7)


@pytest.mark.parametrize("k", [2, 3, 4, 5, 9, 10, 11, 16, 27])
def test_zigzag_orders_share_nothing_and_are_as_many_as_can_be(k: int) -> None:
    orders = zigzag_orders(k)
    assert len(orders) == k // 2
    assert all(sorted(order) == list(range(k)) for order in orders)
    for a, b in combinations(orders, 2):
        assert shared_adjacencies(a, b) == 0
        assert shared_dichotomies(a, b) == 0


def test_zigzag_orders_need_two_classes() -> None:
    with pytest.raises(ValueError, match="at least 2 classes, not 1"):
        zigzag_orders(1)


@pytest.mark.parametrize("other", [P1, reverse(P1)])
def test_an_order_shares_everything_with_itself_and_its_reverse(other: tuple[int, ...]) -> None:
    assert shared_adjacencies(P1, other) == shared_dichotomies(P1, other) == 9


def test_shared_splits_and_neighbours_are_counted() -> None:
    assert shared_dichotomies(P1, P2) == 4
    assert shared_dichotomies(IDENTITY, P1) == shared_dichotomies(IDENTITY, P2) == 0
    # 0 1 2 3 and 1 0 2 3: neighbours 0-1 and 2-3; splits 01|23 and 012|3
    assert shared_adjacencies((0, 1, 2, 3), (1, 0, 2, 3)) == 2
    assert shared_dichotomies((0, 1, 2, 3), (1, 0, 2, 3)) == 2


@pytest.mark.parametrize(("k", "count", "got"), [(2, 4, 1), (3, 4, 3), (4, 40, 12), (10, 30, 30)])
def test_spread_orders_differ_up_to_reversal_and_begin_with_the_zigzags(
    k: int, count: int, got: int
) -> None:
    orders = spread_orders(k, count)
    assert len({min(order, reverse(order)) for order in orders}) == len(orders) == got
    assert orders[: k // 2] == zigzag_orders(k)[:count]
    assert orders == spread_orders(k, count)
