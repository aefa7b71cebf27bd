"""What the fall of some devices means for a fleet: pure functions over numpy arrays.

``fallen`` and ``counted`` are bool arrays whose last axis is the images: whether a device flips or
rejects an image, and whether it decodes it correctly without an attack. A rate is the share of the
counted images that fell.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

HALF = 0.5


def resamples(images: int, draws: int, seed: int) -> Floats:
    """How often each image is drawn in each bootstrap sample (Efron 1979).

    Args:
        images: N; each sample draws N of them with replacement.
        draws: D.
        seed: The same seed gives the same samples.

    Returns:
        float64 (D, N), rows that sum to N.
    """
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(images, np.full(images, 1 / images), size=draws)
    return np.asarray(drawn, dtype=np.float64)


def rates(fallen: Bools, counted: Bools) -> Floats:
    """Rate of each row, (R, N) to (R,); every row has a counted image."""
    return np.asarray((fallen & counted).sum(axis=1) / counted.sum(axis=1))


def resampled_rates(fallen: Bools, counted: Bools, samples: Floats) -> Floats:
    """Rate of each row in each bootstrap sample.

    Args:
        fallen: (R, N).
        counted: (R, N); every row has a counted image.
        samples: (D, N), from :func:`resamples`.

    Returns:
        float64 (D, R). A sample without a counted image of a row keeps that row's own rate.
    """
    total = samples @ counted.T.astype(float)
    fell = samples @ (fallen & counted).T.astype(float)
    own = np.broadcast_to(rates(fallen, counted), total.shape)
    return np.asarray(np.divide(fell, total, out=own.copy(), where=total > 0))


def bounds(values: Floats) -> tuple[float, float]:
    """The middle 95 % of bootstrap values, (D,): percentile interval, cut to [0, 1]."""
    # Sums of shares in floating point may leave [0, 1] by an ulp.
    low, high = np.quantile(values, (0.025, 0.975)).clip(0.0, 1.0)
    return float(low), float(high)


def without_one(
    resampled: Floats, victims: NDArray[np.intp], interval: tuple[float, float]
) -> tuple[float, float]:
    """Widest interval of the mean rate when any one victim is left out.

    Says how much a figure hangs on a single device, which a bootstrap over images cannot.

    Args:
        resampled: (D, R).
        victims: Number of each row's device, (R,).
        interval: With all victims; the result is never narrower.
    """
    low, high = interval
    for victim in np.unique(victims):
        kept = victims != victim
        if kept.any():
            left = bounds(resampled[:, kept].mean(axis=1))
            low, high = min(low, left[0]), max(high, left[1])
    return low, high


def pair_correlations(fallen: Bools) -> list[float]:
    """Correlation of "fell" between each two devices, over images.

    Args:
        fallen: (devices, N).

    Returns:
        One for each pair; pairs with a device that fell always or never have none.
    """
    varied = [row.astype(float) for row in fallen if row.any() and not row.all()]
    return [float(np.corrcoef(one, other)[0, 1]) for one, other in combinations(varied, 2)]


def effective_size(devices: int, correlation: float) -> float:
    """How many independent devices N correlated ones are worth: N / (1 + (N - 1) r).

    Args:
        devices: N, 2 or more.
        correlation: Mean correlation r of their falls; below 0 counts as 0, so at most N come out.
    """
    return devices / (1 + (devices - 1) * max(0.0, correlation))


def half_point(curve: Sequence[tuple[int, float]]) -> int | None:
    """m50: the smallest size whose share is 1/2 or more; None if none is.

    Args:
        curve: (size, share), in any order.
    """
    return min((size for size, share in curve if share >= HALF), default=None)


def greedy_order(fallen: Bools, counted: Bools) -> list[tuple[int, float]]:
    """Order devices by what owning them adds, one after the other.

    A device that is not owned falls to an image if it falls to what any *one* owned device gives.
    Each step takes the device with which the rest of the fleet then falls most; the first of
    equals.

    Args:
        fallen: Whether surrogate i's image fools victim j, (E, N devices, N devices, images).
        counted: (N devices, images); every device has a counted image.

    Returns:
        (device, mean rate of the devices still not owned) for 1 to N - 1 owned devices.
    """
    fleet = range(len(counted))
    owned: list[int] = []
    order: list[tuple[int, float]] = []
    while len(owned) < len(counted) - 1:
        share, device = max(
            (_gain(fallen, counted, [*owned, candidate]), -candidate)
            for candidate in fleet
            if candidate not in owned
        )
        owned.append(-device)
        order.append((-device, share))
    return order


def _gain(fallen: Bools, counted: Bools, owned: list[int]) -> float:
    rest = [victim for victim in range(len(counted)) if victim not in owned]
    union = np.asarray(fallen[:, owned].any(axis=1))[:, rest]
    return float(np.mean([rates(level, counted[rest]) for level in union]))
