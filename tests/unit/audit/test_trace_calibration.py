"""From raw scores to standard deviations and thresholds, on arrays made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fleet.audit.trace.calibration import Floats, calibrate, grouped, standardise
from fleet.audit.trace.result import Calibration


def constant(own: float, other: float, device: int, n: int = 4, devices: int = 2) -> Floats:
    """Scores of one source: ``own`` for its device and ``other`` for the rest, alternating by 1."""
    raw = np.full((2, n, devices), float(other))
    raw[:, :, device] = own
    raw[:, ::2] += 1.0
    return raw


def learnt(**values: object) -> Calibration:
    given: dict[str, object] = {
        "sources": [constant(9, 3, 0), constant(9, 5, 1)],
        "outsiders": [],
        "evidence": (1,),
        "false_positives": 0.25,
        "seed": 0,
    }
    return calibrate(0.1, **{**given, **values})  # type: ignore[arg-type]


def test_mean_and_spread_come_from_images_of_the_other_devices() -> None:
    """Device 0 is innocent of source 1, whose scores are 5 and 6; device 1 of source 0: 3 and 4."""
    found = learnt()
    assert found.mean == ((5.5, 3.5), (5.5, 3.5))
    assert found.spread == ((0.5, 0.5), (0.5, 0.5))
    assert found.images == (4, 4)
    z = standardise(found, np.array([[[6.0, 3.5]], [[5.5, 4.0]]]))
    assert z.tolist() == [[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 1.0]]]


def test_scores_without_any_spread_stay_finite() -> None:
    same = [np.zeros((2, 4, 2)), np.zeros((2, 4, 2))]
    found = learnt(sources=same)
    assert np.isfinite(standardise(found, np.ones((2, 1, 2)))).all()


def test_a_device_that_nobody_else_made_images_against_is_left_as_it_is() -> None:
    empty = np.zeros((2, 0, 2))
    found = learnt(sources=[constant(9, 3, 0), empty])
    assert (found.mean[0][0], found.spread[0][0], found.images) == (0.0, 1.0, (0, 4))


def test_the_threshold_lets_through_the_allowed_share_of_the_worst_outsider() -> None:
    """Standardised by mean 5.5 and spread .5: best scores of the outsider are 0, 1, 2 and 7."""
    outsider = np.zeros((2, 4, 2))
    outsider[:, :, 0] = 5.5 + 0.5 * np.array([0.0, 1.0, 2.0, 7.0])
    found = learnt(outsiders=[outsider])
    assert found.threshold("deviation", 1) == pytest.approx(7.0)
    looser = learnt(outsiders=[outsider], false_positives=0.5)
    assert looser.threshold("deviation", 1) == pytest.approx(2.0)
    assert (standardise(looser, outsider)[0].max(axis=1) > 2.0).mean() <= 0.5


def test_a_device_left_out_is_an_outsider_too() -> None:
    """Without outsiders: source 0 against device 1 alone has scores -1 and 1."""
    assert learnt(false_positives=0.01).threshold("combined", 1) == pytest.approx(2.0)


def test_more_evidence_needs_less_and_unknown_amounts_take_the_next_smaller() -> None:
    rng = np.random.default_rng(0)
    sources = [rng.normal(size=(2, 200, 2)) for _ in range(2)]
    found = learnt(sources=sources, evidence=(1, 5), false_positives=0.05)
    one, five = (found.threshold("combined", m) for m in (1, 5))
    assert five < one
    assert found.threshold("combined", 4) == one
    assert found.threshold("combined", 50) == five
    again = learnt(sources=sources, evidence=(1, 5), false_positives=0.05)
    assert again == found, "random groups are seeded"


def test_without_enough_images_the_threshold_is_zero() -> None:
    assert learnt(evidence=(7,)).threshold("combined", 7) == 0.0


def test_groups_share_no_image_and_leave_the_rest_out() -> None:
    scores = np.arange(14.0).reshape(7, 2)
    assert grouped(scores, 3).tolist() == [[2.0, 3.0], [8.0, 9.0]]
    assert grouped(scores, 8).shape == (0, 2)
