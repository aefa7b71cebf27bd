"""Permutation tests over networks: exact where exactness can be counted, honest where not."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.audit.core.permutation import LEVEL, arrange, interval, p_value, rank_test
from fleet.paper.figure3_result import Lengths
from fleet.paper.figure3_tests import relate, victim_levels, weights
from unit.paper.figure3_samples import GRID

labels = st.lists(st.sampled_from([1.0, 4.0, 16.0]), min_size=2, max_size=5)
values = st.lists(st.integers(0, 5).map(float), min_size=5, max_size=5)
SMALL = GRID[:8]  # beta 16: 420 arrangements


def related(grid):
    return relate([Lengths(*lengths) for lengths in grid])


def estimate(grid, matrix):
    """Difference of same and different encodings, its p value and its interval."""
    arrangements, weighed = arrange(tuple(grid)), weights(related(grid)).ravel()
    statistics = arrangements.permuted(matrix) @ weighed
    slopes = arrangements.permuted((related(grid) == "same").astype(float)) @ weighed
    observed = float(statistics[0])
    return observed, p_value(statistics), interval(observed, statistics, slopes)


@given(labels)
@settings(deadline=None, max_examples=60)
def test_every_arrangement_stands_once_and_the_trained_one_first(found):
    arrangements = arrange(tuple(found))
    assert arrangements.exact
    assert arrangements.orders[0].tolist() == list(range(len(found)))
    dealt = [tuple(row) for row in np.array(found)[arrangements.orders]]
    assert len(dealt) == len(set(dealt))
    assert set(dealt) == set(permutations(found))


@given(labels, values)
@settings(deadline=None, max_examples=30)
def test_the_rank_test_counts_all_arrangements(found, numbers):
    numbers = numbers[: len(found)]
    tested = rank_test(found, numbers)
    if len(set(found)) == 1 or len(set(numbers)) == 1:
        assert tested is None
        return

    def ranks(items):
        return [np.mean([sorted(items).index(x) + k for k in range(items.count(x))]) for x in items]

    def rho(order):
        return float(np.corrcoef(order, ranks(numbers))[0, 1])

    every = [abs(rho(order)) for order in permutations(ranks(found))]  # each one equally often
    assert tested.rho == pytest.approx(rho(ranks(found)))
    assert tested.p == pytest.approx(np.mean([size >= abs(tested.rho) - 1e-9 for size in every]))
    if tested.smallest is None:
        assert np.mean([size >= max(every) - 1e-9 for size in every]) > LEVEL
    else:
        assert np.mean([size >= tested.smallest - 1e-9 for size in every]) <= LEVEL
        lower = [size for size in every if size < tested.smallest - 1e-6]
        assert np.mean([size >= max(lower) - 1e-9 for size in every]) > LEVEL


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=10)
def test_rows_and_columns_move_together_with_the_labels(seed):
    """The statistic of an arrangement is that of the networks with their labels exchanged."""
    matrix = np.random.default_rng(seed).normal(size=(6, 6))
    grid = [GRID[k] for k in (0, 1, 2, 3, 6, 7)]
    arrangements = arrange(tuple(grid))
    statistics = arrangements.permuted(matrix) @ weights(related(grid)).ravel()
    for order, statistic in list(zip(arrangements.orders, statistics, strict=True))[::7]:
        relabelled = related([grid[k] for k in order])
        assert statistic == pytest.approx((weights(relabelled) * matrix).sum())


@given(st.integers(0, 2**32 - 1), st.floats(-0.3, 0.3))
@settings(deadline=None, max_examples=25)
def test_the_interval_holds_exactly_the_shifts_that_are_not_rejected(seed, shift):
    matrix = np.random.default_rng(seed).normal(0.4, 0.1, (8, 8))
    _, unmoved, (low, high) = estimate(SMALL, matrix)
    _, p, _ = estimate(SMALL, matrix - shift * (related(SMALL) == "same"))
    if min(abs(shift - low), abs(shift - high)) > 1e-6:
        assert (p > LEVEL) == (low < shift < high)
    assert (unmoved > LEVEL) == (low < 0 < high)


@given(st.integers(0, 2**32 - 1), st.integers(3, 12))
@settings(deadline=None, max_examples=40)
def test_levels_of_victims_are_freed_of_the_surrogates(seed, size):
    random = np.random.default_rng(seed)
    rows, columns = random.normal(size=(2, size))
    off = (rows[:, None] + columns[None]) * ~np.eye(size, dtype=bool)
    onto, out_of = off.sum(axis=0) / (size - 1), off.sum(axis=1) / (size - 1)
    np.testing.assert_allclose(np.diff(victim_levels(onto, out_of)), np.diff(columns), atol=1e-9)
    np.testing.assert_allclose(np.diff(victim_levels(out_of, onto)), np.diff(rows), atol=1e-9)


def test_false_alarms_are_as_rare_as_the_level_says():
    """400 matrices of networks that differ, with no effect of any encoding."""
    random = np.random.default_rng(11)
    arrangements, weighed = arrange(tuple(SMALL)), weights(related(SMALL)).ravel()
    alphas = [float(alpha) for alpha, _ in SMALL]
    found, ranks = [], []
    for _ in range(400):
        rows, columns = random.normal(0, 0.06, (2, 8))
        matrix = rows[:, None] + columns[None] + random.normal(0, 0.04, (8, 8))
        found.append(p_value(arrangements.permuted(matrix) @ weighed))
        ranks.append(rank_test(alphas, columns.tolist()).p)
    for ps in (found, ranks):
        for level in (0.05, 0.2, 0.5):
            # Never above the level (2.6 standard errors of 400), and not far below it.
            assert level * 0.6 <= np.mean(np.array(ps) <= level) + 0.01
            assert np.mean(np.array(ps) <= level) <= level + 2.6 * np.sqrt(level / 400)


def test_a_real_effect_is_found_and_its_size_is_held():
    random = np.random.default_rng(12)
    held, found, same = 0, 0, related(GRID) == "same"
    for _ in range(40):
        rows, columns = random.normal(0, 0.06, (2, 14))
        matrix = rows[:, None] + columns[None] + random.normal(0, 0.04, (14, 14))
        _, p, (low, high) = estimate(GRID, matrix + 0.06 * same)
        held += low <= 0.06 <= high
        found += p <= LEVEL
    assert held >= 34  # of 40 at 95 %: fewer have a chance of 1 %
    assert found >= 38


def test_an_interval_without_rare_arrangements_has_no_end():
    statistics = np.array([0.1, -0.1, 0.02])
    assert interval(0.1, statistics, np.array([1.0, -0.5, 0.2])) is None
