"""Means and intervals of proportions."""

from __future__ import annotations

import math
from collections.abc import Iterable

Z95 = 1.959963984540054
"""Two-sided 95 % quantile of the standard normal distribution."""


def mean_rate(rates: Iterable[float | None]) -> float | None:
    """Mean of rates, each counted once; None, a rate over no example, is left out.

    Returns:
        In the range of the rates, or None if there are none.
    """
    known = [rate for rate in rates if rate is not None]
    return sum(known) / len(known) if known else None


def wilson_interval(successes: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson score interval of a binomial proportion (Wilson 1927).

    Unlike the normal approximation it stays inside [0, 1] and has a width at 0 of n.

    Args:
        successes: In [0, n].
        n: Trials; 0 gives (0, 1).
        z: Normal quantile; 95 % two-sided by default.

    Returns:
        Lower and upper bound in [0, 1].
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes in {n} trials")
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    scale = 1 + z * z / n
    center = (share + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the ends the bound is exactly 0 or 1; the floating-point form misses it by an ulp.
    low = 0.0 if successes == 0 else max(0.0, center - half)
    high = 1.0 if successes == n else min(1.0, center + half)
    return low, high
