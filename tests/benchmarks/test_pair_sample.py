"""Intervals for a fleet from a sample of its pairs, against full matrices of 32 devices.

``python -m pytest -m benchmark tests/benchmarks/test_pair_sample.py -s`` writes
``results/scale/pairs.json``.
"""

from pathlib import Path

import numpy as np
import pytest

from fleet.audit.transfer.estimate import draw_devices, estimate_transfer
from fleet.files import write_json
from fleet.provenance import environment

RESULT = Path(__file__).resolve().parents[2] / "results" / "scale" / "pairs.json"
DEVICES, POPULATION, IMAGES, REPEATS = 32, 2000, 200, 400
FLEETS = {  # mean on the logit scale; spread of surrogates, victims, images and pairs; of strata
    "alike": (-1.0, 0.2, 0.2, 1.0, 0.2, 0.0),
    "two kinds": (-1.5, 0.5, 0.5, 1.0, 0.3, 1.0),
    "victims that differ": (-2.0, 0.3, 1.2, 1.0, 0.3, 0.0),
    "hardly any transfer": (-4.5, 0.5, 0.8, 1.0, 0.3, 0.0),
}
SAMPLES = ((4, 8), (8, 16), (16, 32), (32, 32))


def full_matrix(name: str, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Whether each image made on each device evades each other, and what is right unattacked."""
    mean, surrogate, victim, image, pair, strata = FLEETS[name]
    kind = np.arange(DEVICES) % 2
    logit = (
        mean
        + surrogate * random.standard_normal((DEVICES, 1, 1))
        + victim * random.standard_normal((1, DEVICES, 1))
        + image * random.standard_normal((1, 1, POPULATION))
        + pair * random.standard_normal((DEVICES, DEVICES, 1))
        + strata * (kind[:, None, None] == kind[None, :, None])
    )
    evaded = random.random(logit.shape) < 1 / (1 + np.exp(-logit))
    return evaded, random.random((DEVICES, POPULATION)) < 0.95


@pytest.mark.benchmark
def test_intervals_hold_the_mean_of_the_full_matrix() -> None:
    random = np.random.default_rng(0)
    names = [f"cam-{number:02}" for number in range(DEVICES)]
    found = []
    for fleet in FLEETS:
        hits = {size: [0, 0, 0.0, 0.0] for size in SAMPLES}
        strata = {name: str(number % 2) for number, name in enumerate(names)}
        for repeat in range(REPEATS):
            if repeat % 20 == 0:
                evaded, correct = full_matrix(fleet, random)
                usable = ~np.eye(DEVICES, dtype=bool)
                rates = (evaded & correct).sum(2) / correct.sum(1)
                truth = rates[usable].mean()
            images = random.choice(POPULATION, IMAGES, replace=False)
            for size in SAMPLES:
                rows = draw_devices(strata, size[0], repeat, "surrogates")
                columns = draw_devices(strata, size[1], repeat, "victims")
                s = [names.index(name) for name in rows.names]
                v = [names.index(name) for name in columns.names]
                part = evaded[np.ix_(s, v, images)]
                got = estimate_transfer(part, correct[np.ix_(v, images)], rows, columns)
                n = part[0].size * len(s) / len(v)
                spread = 1.96 * np.sqrt(got.rate * (1 - got.rate) / max(1, n * len(v)))
                kept = hits[size]
                kept[0] += got.low <= truth <= got.high
                kept[1] += abs(truth - got.rate) <= spread
                kept[2] += (got.high - got.low) / REPEATS
                kept[3] += (got.rate - truth) / REPEATS
        for (surrogates, victims), (inside, naive, width, bias) in hits.items():
            found.append(
                {
                    "fleet": fleet,
                    "surrogates": surrogates,
                    "victims": victims,
                    "coverage": inside / REPEATS,
                    "coverage_without_devices": naive / REPEATS,
                    "width": round(width, 4),
                    "bias": round(bias, 5),
                }
            )
            print(found[-1])
    write_json(
        RESULT,
        {
            "schema": "fleet.scale.pairs/1",
            "devices": DEVICES,
            "images": IMAGES,
            "repeats": REPEATS,
            "samples": found,
            "environment": environment(),
        },
    )
    assert min(entry["coverage"] for entry in found) > 0.88
