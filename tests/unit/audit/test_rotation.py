"""When images made on burnt weights count as dead."""

from __future__ import annotations

import numpy as np
import pytest

from fleet.audit.rotation import MARGIN, Survival, excess_bound


def masks(n: int, both: int, images: int, noise: int) -> tuple[np.ndarray, np.ndarray]:
    fooled, noisy = np.zeros((2, n), dtype=bool)
    fooled[: both + images] = True
    noisy[:both] = True
    noisy[both + images : both + images + noise] = True
    return fooled, noisy


@pytest.mark.parametrize(
    ("n", "both", "images", "noise", "dead"),
    [
        (500, 0, 0, 0, True),
        (500, 150, 0, 0, True),  # they evade 30 %, on the very images that noise evades
        (5, 0, 0, 0, False),  # too few to say
        (500, 0, 10, 0, False),  # 2 % above noise, and it may be more
        (500, 0, 3, 1, True),
        (500, 100, 60, 60, False),  # the rates are equal, and may differ by 3.6 points
    ],
)
def test_the_bound_decides(n: int, both: int, images: int, noise: int, dead: bool) -> None:
    assert (excess_bound(*masks(n, both, images, noise)) <= MARGIN) == dead


def test_the_bound_covers_the_true_excess_in_95_of_100_samples() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        draw = rng.random(400)
        fooled, noisy = draw < 0.10, (draw > 0.04) & (draw < 0.12)  # 10 % and 8 %
        held += excess_bound(fooled, noisy) >= 0.02
    assert 0.93 < held / 2000 < 0.99


def test_a_certificate_bounds_what_noise_does_not_and_nothing_is_proven_of_no_image() -> None:
    above = Survival(1, 0.1, 100, 0.9, 5, 0, 0.09, open=8)
    assert (above.ground, above.rate) == ("certificate", 0.05)
    assert Survival(1, 0.1, 100, 0.9, 5, 0, 0.09, open=None).ground == "none"
    nothing = Survival(1, 0.1, 0, 0.9, 0, 0, excess_bound(*masks(0, 0, 0, 0)), open=0)
    assert (nothing.ground, nothing.rate) == ("none", None)
    assert nothing.to_dict()["interval"] == [0.0, 1.0]
