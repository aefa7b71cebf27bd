"""Median smoothing: L2 certificates of a device that answers with the median of noisy outputs.

For Gaussian noise N(0, sigma^2 I) and any scalar function o, if ``P[o(x + noise) >= t] >= p`` then
for every perturbation shorter than ``sigma * Phi^-1(p)`` that probability stays above 1/2, so the
median of o stays at t or above (Chiang et al. 2020; the argument is Cohen et al. 2019's). Applied
to both edges of the true class's interval, ``[lower, upper]``, the median stays inside it within

    sigma * min(Phi^-1(P[o >= lower]), Phi^-1(P[o <= upper])).

Either probability is at least that of hitting the interval, so order certifies no less than the
majority vote over classes does. It proves nothing of the device that answers once without noise.
"""

import math
from functools import cache
from statistics import NormalDist

import numpy as np
import torch

from fleet.encoding.tensor import encoding_tensors
from fleet.errors import AuditError
from fleet.models import Classifier
from fleet.seeding import derive_seed

BATCH = 500
"""Noisy copies of one image that are computed at once."""


def median_radii(
    classifier: Classifier,
    images: torch.Tensor,
    labels: torch.Tensor,
    sigma: float,
    *,
    draws: int,
    seed: int = 0,
    error: float = 0.001,
) -> torch.Tensor:
    """L2 radii within which the median of the outputs under noise stays in the true interval.

    Args:
        classifier: One scalar output (task ``int``), in eval mode; any architecture.
        images: float32 (N, C, H, W) in [0, 1]; noisy copies may leave that range.
        labels: Classes, int64 (N,).
        sigma: Standard deviation of the noise on the [0, 1] scale, > 0.
        draws: Noisy copies of each image.
        seed: Of the noise.
        error: Largest probability, for each image, that its radius is not a true one: it rests on
            a sample. Half of it goes to each edge.

    Returns:
        Radii on the [0, 1] scale, float64 (N,); 0 where nothing is proven.

    Raises:
        AuditError: The classifier has no scalar output.
    """
    if classifier.encoding is None:
        raise AuditError("median smoothing needs one scalar output", hint="use the task `int`")
    place = classifier.mean.device
    edges = encoding_tensors(classifier.encoding, place)
    found = []
    with torch.inference_mode():
        for row, (x, label) in enumerate(zip(images, labels.tolist(), strict=True)):
            generator = torch.Generator().manual_seed(derive_seed(seed, "smoothing", row))
            above = below = 0
            for size in (min(BATCH, draws - start) for start in range(0, draws, BATCH)):
                noise = torch.randn(size, *x.shape, generator=generator).mul_(sigma)
                outputs = classifier((x + noise).to(place))
                above += int((outputs >= edges.lower[label]).sum())
                below += int((outputs <= edges.upper[label]).sum())
            held = _least_share(min(above, below), draws, error / 2)
            found.append(sigma * NormalDist().inv_cdf(held) if held > 0.5 else 0.0)
    return torch.tensor(found, dtype=torch.float64)


@cache
def _least_share(hits: int, draws: int, error: float) -> float:
    """Lower end of Clopper and Pearson's one-sided interval.

    The p at which ``P[Bin(draws, p) >= hits] = error``, by bisection and rounded down.
    """
    if hits == 0:
        return 0.0
    counts = np.arange(hits, draws + 1)
    ways = np.array(
        [math.lgamma(draws + 1) - math.lgamma(k + 1) - math.lgamma(draws - k + 1) for k in counts]
    )
    low, high = 0.0, hits / draws
    for _ in range(40):
        middle = (low + high) / 2
        logs = ways + counts * math.log(middle) + (draws - counts) * math.log1p(-middle)
        low, high = (middle, high) if np.exp(logs).sum() < error else (low, middle)
    return low
