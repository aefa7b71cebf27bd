"""From raw scores to evidence: standard deviations, groups of images, thresholds. Pure numpy.

Raw scores of one source are an array (2, n, D): deviation and alignment of n images for D devices.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fleet.audit.trace.result import SCORES, Calibration, Threshold
from fleet.seeding import derive_seed

Floats = NDArray[np.float64]

REGROUPED = 1000
"""Random groups of several images from which a threshold is taken; single images need none."""

_LEAST_SPREAD = 1e-9
"""For scores that never vary, so that dividing by their spread stays finite."""


def calibrate(
    eps: float,
    sources: Sequence[Floats],
    outsiders: Sequence[Floats],
    *,
    evidence: Sequence[int],
    false_positives: float,
    seed: int,
) -> Calibration:
    """Learn what scores are like when a device is innocent.

    Mean and spread of a device come from images made on the other devices. Thresholds come from
    outsiders, and from each device's images where that device is left out of the suspects.

    Args:
        eps: Linf radius in pixel units.
        sources: Raw scores of the images made on each device, in device order.
        outsiders: Raw scores of images made elsewhere.
        evidence: Amounts of evidence, m.
        false_positives: Share of innocent evidence that may accuse somebody, (0, 1).
        seed: Of the random groups.
    """
    count = len(sources)
    null = [np.concatenate([s[:, :, d] for i, s in enumerate(sources) if i != d], axis=1)
            for d in range(count)]  # fmt: skip
    mean = np.stack([x.mean(axis=1) if x.size else np.zeros(2) for x in null], axis=1)
    spread = np.stack([x.std(axis=1) if x.size else np.ones(2) for x in null], axis=1)
    learnt = Calibration(
        eps=eps,
        mean=_plain(mean),
        spread=_plain(np.maximum(spread, _LEAST_SPREAD)),
        thresholds=(),
        images=tuple(x.shape[1] for x in null),
    )
    innocent = [standardise(learnt, raw) for raw in outsiders]
    for device, raw in enumerate(sources):
        innocent.append(np.delete(standardise(learnt, raw), device, axis=2))
    thresholds = tuple(
        Threshold(score, m, _quantile(innocent, row, m, false_positives, seed))
        for row, score in enumerate(SCORES)
        for m in evidence
    )
    return Calibration(eps, learnt.mean, learnt.spread, thresholds, learnt.images)


def standardise(calibration: Calibration, raw: Floats) -> Floats:
    """Count raw scores, (2, n, D), in standard deviations, and add their sum: (3, n, D)."""
    z = (raw - np.array(calibration.mean)[:, None]) / np.array(calibration.spread)[:, None]
    return np.concatenate([z, z.sum(axis=0, keepdims=True)])


def grouped(scores: Floats, evidence: int) -> Floats:
    """Mean scores of disjoint groups of ``evidence`` images, in order; a rest is left out.

    Args:
        scores: (n, D).
        evidence: Images in a group, m.

    Returns:
        (n // m, D).
    """
    count = len(scores) // evidence
    whole = scores[: count * evidence]
    return np.asarray(whole.reshape(count, evidence, scores.shape[1]).mean(axis=1))


def _quantile(
    innocent: Sequence[Floats], row: int, evidence: int, false_positives: float, seed: int
) -> float:
    """The score that no source exceeds in more than a share ``false_positives`` of its evidence.

    The score is the best remaining device's; the source with the highest quantile decides.
    """
    best = []
    for number, z in enumerate(innocent):
        scores = z[row]
        if len(scores) < evidence or scores.shape[1] == 0:
            continue
        if evidence > 1:
            numbers = np.random.default_rng(derive_seed(seed, "groups", number, evidence))
            picks = numbers.integers(0, len(scores), (REGROUPED, evidence))
            scores = scores[picks].mean(axis=1)
        best.append(np.quantile(scores.max(axis=1), 1 - false_positives, method="higher"))
    return float(max(best)) if best else 0.0


def _plain(values: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(float, row)) for row in values)
