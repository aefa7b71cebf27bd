"""What a difference buys, over networks and over images. Arrays only, no torch.

Transfer from i to j is fitted as what i is as surrogate, plus what j is as victim, plus one term
for each thing that the two share. A term is tested by permuting what the fit without it leaves,
whole networks at a time (Freedman and Lane 1983, with Mantel's permutations).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fleet.audit.core.permutation import LEVEL, Floats, arrange, interval, least_squares, p_value
from fleet.audit.diversity import result
from fleet.seeding import derive_seed

POWER = 0.8
"""Share of repetitions in which a detectable effect is told from luck."""

RESAMPLES = 1000
"""Resamples of the images for intervals over images."""

_CONFOUNDED = "it cannot be told from what single networks are, or from another difference"
_ALIKE = {
    (False, True): "all networks share it",
    (False, False): "no two networks share it",
    (True, True): "all networks differ in their seed alone",
    (True, False): "no two networks differ in the seed alone; `twin: true` trains such a pair",
}
"""Why nothing is compared, by whether any difference is meant, and whether there is none."""
_REPETITIONS = 200
_ARRANGEMENTS = 2000
_CELLS = 20_000_000
_STEPS = np.linspace(0.01, 1.0, 100)
_CLOSE = 1e-9

Masks = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Seen:
    """Outcomes of all networks at one eps.

    Attributes:
        networks: In the order of the arrays, n of them.
        eps: Radius in pixel units.
        correct: Decoded correctly without an attack, bool (n, N).
        evaded: Evaded by an adaptive image of a surrogate, bool (surrogates, victims, N).
        noisy: Evaded by noise, bool (n, N).
    """

    networks: Sequence[result.Network]
    eps: float
    correct: Masks
    evaded: Masks
    noisy: Masks

    def rates(self, weights: Floats) -> Floats:
        """Evade rates over images that the victim decodes correctly.

        Args:
            weights: How often each image counts, float64 (R, N).

        Returns:
            float64 (R, surrogates, victims); 0 where the victim decodes none correctly.
        """
        size = len(self.networks)
        hit = (self.evaded & self.correct).reshape(size * size, -1).astype(np.float64)
        known = np.maximum(weights @ self.correct.T.astype(np.float64), _CLOSE)
        return np.asarray((weights @ hit.T).reshape(-1, size, size) / known[:, None, :])

    def noise(self, weights: Floats) -> Floats:
        """Evade rates of noise, float64 (R, n), of ``weights`` as in :meth:`rates`."""
        known = np.maximum(weights @ self.correct.T.astype(np.float64), _CLOSE)
        return np.asarray(weights @ (self.noisy & self.correct).T.astype(np.float64) / known)

    def weights(self) -> Floats:
        """Every image once, then resamples of the images, float64 (1 + R, N)."""
        return resampled(self.correct.shape[1])


def resampled(images: int) -> Floats:
    """How often each image counts: once, then in each of :data:`RESAMPLES` resamples."""
    random = np.random.default_rng(derive_seed("diversity", "images", images))
    drawn = random.multinomial(images, np.full(images, 1 / images), RESAMPLES)
    return np.concatenate([np.ones((1, images)), drawn]).astype(np.float64)


def sharing(networks: Sequence[result.Network]) -> dict[result.Factor, Masks]:
    """Which pairs share what, bool (n, n) by factor."""
    labels = {factor: np.array([getattr(n, factor) for n in networks]) for factor in result.FACTORS}
    return {factor: own[:, None] == own[None, :] for factor, own in labels.items()}


def effects(seen: Seen) -> Iterator[result.Effect]:
    """What a difference in each factor bought at one eps."""
    every = seen.rates(seen.weights())
    own = sharing(seen.networks)
    shared: Mapping[result.Difference, Masks] = own | {"any": np.all([*own.values()], axis=0)}
    apart = ~np.eye(len(seen.networks), dtype=bool)
    varied = {of: pairs for of, pairs in shared.items() if 0 < (pairs & apart).sum() < apart.sum()}
    for factor, pairs in shared.items():
        values = len(np.unique(pairs, axis=0))  # networks that share it have equal rows
        same = int((pairs & apart).sum()) // 2
        head = result.Effect(seen.eps, factor, values, same, int(apart.sum()) // 2 - same)
        yield _effect(head, every, varied, seen)


def _effect(
    head: result.Effect, every: Floats, varied: Mapping[result.Difference, Masks], seen: Seen
) -> result.Effect:
    if head.factor not in varied:
        return replace(head, why_not=_ALIKE[head.factor == "any", head.values == 1])
    if not seen.correct.any(1).all():
        return replace(head, why_not="a network decodes no image correctly")
    own = varied[head.factor]
    others = [pairs for factor, pairs in varied.items() if factor not in ("any", head.factor)]
    others = [] if head.factor == "any" else others
    whole, weights = least_squares(every[0], [own, *others])
    if weights is None:
        few = f"it takes four networks to tell it from what single ones are, not {len(own)}"
        return replace(head, why_not=few if len(own) < 4 else _CONFOUNDED)
    labels = tuple(tuple(getattr(n, factor) for factor in result.FACTORS) for n in seen.networks)
    size = len(own)
    orders = arrange(labels).orders[: max(1000, _CELLS // size**2)]
    places = orders[:, :, None] * size + orders[:, None, :]
    permuted = weights.ravel()[places.reshape(len(orders), -1)]  # what permuting the matrix gives
    statistics = permuted @ least_squares(every[0], others)[0].ravel()
    slopes = permuted @ least_squares(own.astype(np.float64), others)[0].ravel()
    told = _CLOSE + np.abs(slopes) >= 1
    return replace(
        head,
        bought=float(statistics[0]),
        over_images=_bounds(every.reshape(len(every), -1) @ weights.ravel()),
        over_networks=interval(float(statistics[0]), statistics, slopes),
        p=p_value(statistics),
        smallest_p=float(told.mean()),
        detectable=_detectable(permuted[:_ARRANGEMENTS], slopes[:_ARRANGEMENTS], whole),
    )


def _detectable(permuted: Floats, slopes: Floats, left: Floats) -> float | None:
    """Smallest effect that the test finds in 80 % of repetitions with the luck that the fit leaves.

    Args:
        permuted: Weights of each arrangement, float64 (A, n * n), the trained one first.
        slopes: Coefficient of the term itself in each arrangement, float64 (A,).
        left: What the full fit leaves, float64 (n, n).
    """
    random = np.random.default_rng(derive_seed("diversity", "power", len(left)))
    drawn = [random.permutation(len(left)) for _ in range(_REPETITIONS)]
    luck = permuted @ np.stack([left[np.ix_(order, order)].ravel() for order in drawn], axis=1)

    def power(effect: float) -> float:
        sizes = np.abs(luck + effect * slopes[:, None])
        return float(((sizes >= sizes[0] - _CLOSE).mean(0) <= LEVEL).mean())

    low, high = 0, len(_STEPS) - 1
    if power(float(_STEPS[high])) < POWER:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power(float(_STEPS[middle])) >= POWER else (middle + 1, high)
    return float(_STEPS[low])


def groups(seen: Seen) -> Iterator[result.Group]:
    """Mean transfer of pairs that differ in the same things, those of the seed alone first."""
    weights, same = seen.weights(), sharing(seen.networks)
    every, noise, seed = seen.rates(weights), seen.noise(weights), None
    found: dict[tuple[result.Factor, ...], list[tuple[int, int]]] = {}
    for i, j in combinations(range(len(seen.networks)), 2):
        differs = tuple(factor for factor in result.FACTORS if not same[factor][i, j])
        found.setdefault(differs, []).append((i, j))
    for differs, pairs in sorted(found.items(), key=lambda item: (len(item[0]), item[0])):
        rows, columns = np.array([*pairs, *((j, i) for i, j in pairs)]).T
        means, floor = every[:, rows, columns].mean(1), noise[:, columns].mean(1)
        excess = means - floor
        seed = excess if not differs else seed
        beyond = None if seed is None or not differs else excess - seed
        yield result.Group(
            *(seen.eps, differs, len(pairs), float(means[0])),
            interval=_bounds(means),
            noise=float(floor[0]),
            excess_interval=_bounds(excess),
            beyond_seed=None if beyond is None else float(beyond[0]),
            beyond_interval=None if beyond is None else _bounds(beyond),
        )


def _bounds(resamples: Floats) -> result.Interval:
    """95 % interval over images, of a figure (1 + R,) whose first entry is as counted."""
    low, high = np.nanquantile(resamples[1:], (0.025, 0.975))
    return float(low), float(high)


def together(
    event: result.Event, eps: float, names: Sequence[str], befell: Masks, counted: Masks
) -> list[result.Together]:
    """Count one event on every two devices.

    Args:
        event: Which.
        eps: Radius in pixel units.
        names: Of the devices, n of them.
        befell: Where it befalls a device, bool (n, N).
        counted: Images that count for a device, bool (n, N).
    """
    rows = []
    for i, j in combinations(range(len(names)), 2):
        both = counted[i] & counted[j]
        a, b = befell[i] & both, befell[j] & both
        sizes = (int(mask.sum()) for mask in (both, a, b, a & b))
        rows.append(result.Together(event, (names[i], names[j]), eps, *sizes))
    return rows


def agreement(event: result.Event, eps: float, befell: Masks, counted: Masks) -> result.Agreement:
    """Correlate one event over images: the mean of the pairs' phi coefficients.

    Args:
        event: Which.
        eps: Radius in pixel units.
        befell: Where it befalls a device, bool (n, N).
        counted: Images that count for a device, bool (n, N).
    """
    weights, found = resampled(befell.shape[1]), []
    for i, j in combinations(range(len(befell)), 2):
        both = counted[i] & counted[j]
        masks = np.stack([both, befell[i] & both, befell[j] & both, befell[i] & befell[j] & both])
        n, a, b, ab = masks.astype(np.float64) @ weights.T
        spread = np.sqrt(a * (n - a) * b * (n - b))
        if spread[0] > 0:
            phi = np.divide(n * ab - a * b, spread, out=np.full(len(n), np.nan), where=spread > 0)
            found.append(phi)
    if not found:
        return result.Agreement(event, eps, 0, None, None, len(befell))
    phis = np.stack(found)
    means = np.nanmean(phis[:, ~np.isnan(phis).all(0)], axis=0)
    return result.Agreement(event, eps, len(found), float(means[0]), _bounds(means), len(befell))
