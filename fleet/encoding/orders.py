"""Orders of classes along the number line, and how much two of them share.

An order is a permutation class -> slot. Devices with different orders must learn different splits
of the classes; the same order reversed is the same device (c = -1 in ``o -> c*o + d``).
"""

import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from operator import or_

Order = tuple[int, ...]

_TRIES = 24
_WORK = 1024
"""A further order is the best of so many; of fewer where classes are many and share little."""


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


def spread_orders(k: int, count: int, taken: Iterable[Order] = ()) -> list[Order]:
    """Choose orders that share little, of which no two are the same one reversed.

    The zig-zag orders come first. Each further one is the best of some that a fixed seed draws: the
    one that shares the fewest dichotomies with all before it, then the fewest neighbours. A longer
    list begins with the shorter one.

    Args:
        k: Number of classes, >= 2.
        count: Orders wanted.
        taken: Orders that are not to be chosen again, nor reversed.

    Returns:
        ``count`` orders (class -> slot), or all k!/2 that are not taken where there are fewer.
    """
    gone = set(taken)
    seen = {*gone, *map(reverse, gone)}
    left = (math.factorial(k) - len(seen)) // 2
    chosen = [order for order in zigzag_orders(k) if order not in seen][:count]
    seen |= {*chosen, *map(reverse, chosen)}
    splits = Counter(split for order in chosen for split in _dichotomies(order))
    pairs = Counter(pair for order in chosen for pair in _adjacencies(order))

    def overlap(order: Order) -> tuple[int, int]:
        return (
            sum(splits[split] for split in _dichotomies(order)),
            sum(pairs[pair] for pair in _adjacencies(order)),
        )

    generator = random.Random(k)  # noqa: S311 - orders are no secret
    tries = min(_TRIES, max(1, _WORK // k))
    while len(chosen) < min(count, left):
        drawn = [tuple(generator.sample(range(k), k)) for _ in range(tries)]
        new = [order for order in drawn if order not in seen]
        if not new:
            continue
        best = min(new, key=overlap)
        chosen.append(best)
        seen |= {best, reverse(best)}
        splits.update(_dichotomies(best))
        pairs.update(_adjacencies(best))
    return chosen


def mean_shared(orders: Sequence[Order]) -> float:
    """Dichotomies that two of the orders share, mean over all pairs; 0 of fewer than two."""
    pairs = math.comb(len(orders), 2)
    made = Counter(split for order in orders for split in _dichotomies(order))
    return sum(math.comb(times, 2) for times in made.values()) / pairs if pairs else 0.0


def expected_shared(k: int) -> float:
    """Dichotomies that two orders of k classes share on average, if drawn at random."""
    return 2 * sum(1 / math.comb(k, cut) for cut in range(1, k))


def shared_adjacencies(a: Sequence[int], b: Sequence[int]) -> int:
    """Count the pairs of classes that are neighbours in both orders, 0 to K - 1."""
    return len(_adjacencies(a) & _adjacencies(b))


def shared_dichotomies(a: Sequence[int], b: Sequence[int]) -> int:
    """Count the splits {slot <= j} against the rest that both orders make, 0 to K - 1."""
    return len(_dichotomies(a) & _dichotomies(b))


def _adjacencies(order: Sequence[int]) -> set[int]:
    """Each pair of neighbours, a bit for each of the two classes."""
    return {1 << a | 1 << b for a, b in pairwise(inverse(order))}


def _dichotomies(order: Sequence[int]) -> set[int]:
    """Each split by the side that holds class 0, a bit a class: a reversed order makes the same."""
    whole = 2 ** len(order) - 1
    lows = accumulate((1 << y for y in inverse(order)[:-1]), or_)
    return {low if low & 1 else whole ^ low for low in lows}
