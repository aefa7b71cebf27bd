"""Fleet metrics on arrays whose figures are known on paper."""

from __future__ import annotations

import numpy as np
import pytest

from fleet.audit.coalition import risk


def bools(*rows: str) -> risk.Bools:
    """Rows of 0 and 1."""
    return np.array([[digit == "1" for digit in row] for row in rows])


def test_a_rate_is_the_share_of_the_counted_images_that_fell() -> None:
    found = risk.rates(bools("1100", "1111"), bools("1011", "1000"))
    assert found.tolist() == [pytest.approx(1 / 3), 1.0]


def test_resamples_draw_as_many_images_as_there_are_and_repeat() -> None:
    samples = risk.resamples(7, 50, seed=3)
    assert samples.shape == (50, 7)
    assert (samples.sum(axis=1) == 7).all()
    assert np.array_equal(samples, risk.resamples(7, 50, seed=3))
    assert not np.array_equal(samples, risk.resamples(7, 50, seed=4))


def test_a_bootstrap_interval_is_that_of_a_binomial() -> None:
    fallen, counted = bools("1" * 30 + "0" * 70), bools("1" * 100)
    drawn = risk.resampled_rates(fallen, counted, risk.resamples(100, 4000, seed=0))
    assert drawn.mean() == pytest.approx(0.3, abs=0.005)
    assert drawn.std() == pytest.approx(np.sqrt(0.3 * 0.7 / 100), rel=0.05)
    low, high = risk.bounds(drawn[:, 0])
    assert low == pytest.approx(0.3 - 1.96 * 0.0458, abs=0.012)
    assert high == pytest.approx(0.3 + 1.96 * 0.0458, abs=0.012)


def test_a_sample_without_a_counted_image_keeps_the_rows_own_rate() -> None:
    samples = np.array([[0.0, 2.0], [2.0, 0.0]])
    drawn = risk.resampled_rates(bools("11"), bools("10"), samples)
    assert drawn.tolist() == [[1.0], [1.0]]


def test_leaving_one_victim_out_widens_the_interval_only_if_it_matters() -> None:
    alike = np.full((10, 3), 0.4)
    victims = np.array([0, 1, 2])
    assert risk.without_one(alike, victims, (0.4, 0.4)) == pytest.approx((0.4, 0.4))
    odd = alike.copy()
    odd[:, 2] = 1.0
    assert risk.without_one(odd, victims, (0.6, 0.6)) == pytest.approx((0.4, 0.7))


def test_a_single_victim_cannot_be_left_out() -> None:
    assert risk.without_one(np.ones((4, 2)), np.array([1, 1]), (0.2, 0.3)) == (0.2, 0.3)


def test_bounds_stay_shares() -> None:
    assert risk.bounds(np.full(5, 1 + 1e-16 * 3)) == (1.0, 1.0)


def test_correlations_of_falls() -> None:
    fallen = bools("1100", "1100", "0011", "1010", "1111", "0000")
    # Same, opposite and independent rows; devices that fell always or never have none.
    assert risk.pair_correlations(fallen) == pytest.approx([1.0, -1.0, 0.0, -1.0, 0.0, 0.0])
    assert risk.pair_correlations(bools("1111", "0000")) == []


@pytest.mark.parametrize(("r", "size"), [(0.0, 8.0), (1.0, 1.0), (0.5, 8 / 4.5), (-0.1, 8.0)])
def test_effective_size(r: float, size: float) -> None:
    assert risk.effective_size(8, r) == pytest.approx(size)


def test_half_point_is_the_first_size_that_reaches_half() -> None:
    assert risk.half_point([(3, 0.9), (1, 0.2), (2, 0.5)]) == 2
    assert risk.half_point([(1, 0.499)]) is None
    assert risk.half_point([(0, 0.7), (1, 0.2)]) == 0


def test_greedy_takes_what_adds_most_and_not_what_is_best_alone() -> None:
    counted = np.ones((4, 4), dtype=bool)
    fallen = np.zeros((1, 4, 4, 4), dtype=bool)
    # Device 0 fools the three others on images 0 and 1, device 1 on images 0 and 1 too, device 2
    # on image 3 only: after device 0, device 2 adds an image and device 1 adds none.
    fallen[0, 0, 1:, :2] = True
    fallen[0, 1, [0, 2, 3], :2] = True
    fallen[0, 2, [0, 1, 3], 3] = True
    order = risk.greedy_order(fallen, counted)
    assert [device for device, _ in order] == [0, 2, 1]
    assert [share for _, share in order] == pytest.approx([0.5, 0.75, 0.75])


def test_greedy_takes_the_first_of_equals_and_counts_correct_images_only() -> None:
    fallen = np.ones((2, 2, 2, 3), dtype=bool)
    fallen[:, 1, 0, 0] = False  # not counted for device 0
    counted = np.array([[False, True, True], [True, True, True]])
    assert risk.greedy_order(fallen, counted) == [(0, 1.0)]
