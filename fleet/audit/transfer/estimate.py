"""What a sample of pairs says about a whole fleet: mean transfer and its interval. No torch.

N devices make N (N - 1) pairs. A stratified sample of surrogates is tried on a stratified sample of
victims, with a sample of images. Each of the three is drawn, so each adds to the variance: it is
taken from the delete-one jackknife over surrogates, over victims and over images (Rao and Wu 1985
for strata; Owen 2007 for the sum over crossed factors, which counts interactions more than once and
so errs to the wide side). Devices come from a finite fleet: where all are drawn, they add nothing.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleet.audit.core.result import Z95, wilson_interval
from fleet.seeding import derive_seed

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Drawn:
    """Devices drawn from a fleet.

    Attributes:
        names: In the order of the fleet.
        strata: Stratum of each.
        sizes: How many devices of the fleet are in the stratum of each.
    """

    names: tuple[str, ...]
    strata: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def weights(self) -> Floats:
        """Devices of the fleet that each stands for."""
        counts = {name: self.strata.count(name) for name in self.strata}
        pairs = zip(self.strata, self.sizes, strict=True)
        return np.array([size / counts[name] for name, size in pairs])


@dataclass(frozen=True)
class Estimate:
    """Mean adaptive evade rate over all ordered pairs of a fleet.

    Attributes:
        rate: Point estimate, [0, 1].
        low: Lower end of the 95 % interval.
        high: Upper end.
        from_surrogates: Standard error for which surrogates were drawn.
        from_victims: For which victims.
        from_images: For which images.
    """

    rate: float
    low: float
    high: float
    from_surrogates: float
    from_victims: float
    from_images: float


def draw_devices(strata: dict[str, str], count: int, seed: int, role: str) -> Drawn:
    """Draw devices from each stratum in proportion to its size, two at least where there are two.

    The order in which a stratum's devices are taken is fixed by the seed, so a larger count keeps
    those of a smaller one.

    Args:
        strata: Stratum of each device of the fleet, by name.
        count: How many; all if there are fewer.
        seed: Of the order.
        role: Another order for each: ``surrogates`` or ``victims``.
    """
    members: dict[str, list[str]] = {}
    for name, stratum in strata.items():
        members.setdefault(stratum, []).append(name)
    chosen: set[str] = set()
    for names in members.values():
        share = round(count * len(names) / len(strata))
        ordered = sorted(names, key=lambda name: derive_seed(seed, role, name))
        chosen |= set(ordered[: max(min(2, len(names)), share)])
    kept = tuple(name for name in strata if name in chosen)
    places = tuple(strata[name] for name in kept)
    return Drawn(kept, places, tuple(len(members[place]) for place in places))


def estimate_transfer(evaded: Bools, correct: Bools, surrogates: Drawn, victims: Drawn) -> Estimate:
    """Estimate the mean transfer of a fleet from a sample of pairs.

    Args:
        evaded: Whether an image made on a surrogate evades a victim, (S, V, N).
        correct: Whether a victim decodes the clean image, (V, N); the others are not counted.
        surrogates: The S devices.
        victims: The V devices; a pair of a device with itself is left out.
    """
    hits = (evaded & correct).astype(np.float64)
    totals, counts = hits.sum(2), correct.sum(1).astype(np.float64)
    usable = np.array([[s != v for v in victims.names] for s in surrogates.names]) & (counts > 0)
    rates = np.divide(totals, counts, out=np.zeros_like(totals), where=counts > 0)
    rows, columns = surrogates.weights, victims.weights

    def mean(values: Floats, rows: Floats = rows, columns: Floats = columns) -> Floats:
        weights = np.where(usable, rows[:, None] * columns, 0.0)
        found: Floats = np.tensordot(weights, values, 2) / weights.sum()
        return found

    rate = float(mean(rates))
    without = np.maximum(counts[:, None] - correct, 1.0)
    images = mean((totals[..., None] - hits) / without)
    number = evaded.shape[2]
    parts = (
        _over_devices(surrogates, rate, lambda weights: float(mean(rates, rows=weights))),
        _over_devices(victims, rate, lambda weights: float(mean(rates, columns=weights))),
        (float(((images - rate) ** 2).sum() * (number - 1) / number), number - 1),
    )
    low, high = _interval(rate, parts, min(len(surrogates.names), len(victims.names), number))
    errors = (math.sqrt(variance) for variance, _ in parts)
    return Estimate(rate, low, high, *errors)


def _over_devices(drawn: Drawn, rate: float, mean: Callable[[Floats], float]) -> tuple[float, int]:
    """Stratified jackknife variance over one kind of device, and its degrees of freedom."""
    weights, variance, freedom = drawn.weights, 0.0, 0
    for stratum in dict.fromkeys(drawn.strata):
        places = [i for i, name in enumerate(drawn.strata) if name == stratum]
        taken, size = len(places), drawn.sizes[places[0]]
        if taken < 2 or taken == size:
            continue
        for place in places:
            less = weights.copy()
            less[places] *= taken / (taken - 1)
            less[place] = 0.0
            variance += (1 - taken / size) * (taken - 1) / taken * (mean(less) - rate) ** 2
        freedom += taken - 1
    return variance, freedom


def _interval(rate: float, parts: Sequence[tuple[float, int]], units: int) -> tuple[float, float]:
    """Student's interval on the logit scale, degrees of freedom after Satterthwaite (1946)."""
    variance = sum(part for part, _ in parts)
    if variance == 0 or not 0 < rate < 1:  # nothing was seen that varies: as few units as there are
        return wilson_interval(round(rate * units), units)
    freedom = variance**2 / sum(part**2 / max(1, count) for part, count in parts)
    spread = _student(freedom) * math.sqrt(variance) / (rate * (1 - rate))
    centre = math.log(rate / (1 - rate))
    low, high = (1 / (1 + math.exp(-(centre + side * spread))) for side in (-1, 1))
    return low, high


def _student(freedom: float) -> float:
    """97.5 % quantile of Student's t by Fisher and Cornish's expansion; within 1 % from 3 on."""
    z, v = Z95, max(freedom, 2.0)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )
