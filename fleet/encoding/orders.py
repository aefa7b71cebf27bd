"""Orders of classes along the number line, and how much two of them share.

An order is a permutation class -> slot. Devices with different orders must learn different splits
of the classes; the same order reversed is the same device (c = -1 in ``o -> c*o + d``).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import pairwise

Order = tuple[int, ...]


def inverse(order: Sequence[int]) -> Order:
    """Turn class -> slot into slot -> class, and back.

    Args:
        order: A permutation of 0 to K - 1.
    """
    turned = [0] * len(order)
    for y, slot in enumerate(order):
        turned[slot] = y
    return tuple(turned)


def reverse(order: Sequence[int]) -> Order:
    """Run the line the other way: slot p becomes K - 1 - p."""
    return tuple(len(order) - 1 - slot for slot in order)


def zigzag_orders(k: int) -> list[Order]:
    """Walecki's zig-zag orders: as many as can be without a shared neighbour.

    For even k the first one visits 0, 1, k-1, 2, k-2, ...; the others add 1, 2, ... to every class
    modulo k. For odd k the same is done with k - 1 classes, and the last class goes between the
    two classes in the middle, which are different ones in each order.

    Args:
        k: Number of classes, >= 2.

    Returns:
        k // 2 orders (class -> slot). No two share an adjacency or a dichotomy; k // 2 is the
        most for both.

    Raises:
        ValueError: ``k`` is below 2.
    """
    if k < 2:
        raise ValueError(f"an order needs at least 2 classes, not {k}")
    even = k - k % 2
    path = [(slot + 1) // 2 * (1 if slot % 2 else -1) for slot in range(even)]
    orders = []
    for shift in range(even // 2):
        classes = [(y + shift) % even for y in path]
        classes[even // 2 : even // 2] = range(even, k)
        orders.append(inverse(classes))
    return orders


def spread_orders(k: int, count: int) -> list[Order]:
    """Choose orders of which no two are the same one reversed.

    The zig-zag orders come first; then orders drawn by a fixed seed.

    Args:
        k: Number of classes, >= 2.
        count: Orders wanted, >= 1.

    Returns:
        ``count`` orders (class -> slot), or all k!/2 where there are fewer.
    """
    chosen = zigzag_orders(k)[:count]
    seen = {*chosen, *map(reverse, chosen)}
    generator = random.Random(k)  # noqa: S311 - orders are no secret
    wanted = min(count, max(1, math.factorial(k) // 2))
    while len(chosen) < wanted:
        order = tuple(generator.sample(range(k), k))
        if order not in seen:
            chosen.append(order)
            seen |= {order, reverse(order)}
    return chosen


def shared_adjacencies(a: Sequence[int], b: Sequence[int]) -> int:
    """Count the pairs of classes that are neighbours in both orders, 0 to K - 1."""
    return len(_adjacencies(a) & _adjacencies(b))


def shared_dichotomies(a: Sequence[int], b: Sequence[int]) -> int:
    """Count the splits {slot <= j} against the rest that both orders make, 0 to K - 1."""
    return len(_dichotomies(a) & _dichotomies(b))


def _adjacencies(order: Sequence[int]) -> set[frozenset[int]]:
    classes = inverse(order)
    return {frozenset(pair) for pair in pairwise(classes)}


def _dichotomies(order: Sequence[int]) -> set[frozenset[int]]:
    """Each split by the side that holds class 0, so that a reversed order makes the same ones."""
    classes = inverse(order)
    sides = ((classes[:cut], classes[cut:]) for cut in range(1, len(classes)))
    return {frozenset(low if 0 in low else high) for low, high in sides}
