"""Attackers who ask linear devices, where each query's answer is known on paper.

A device that reads pixel 0 alone has output 25 at level 128, the middle of [20, 30]: 5 levels reach
the edge, 6 end in the gap, 20 in the neighbouring interval.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from fleet.attacks import FLIP, REJECT, SampleKeys
from fleet.audit.core.members import Member, Sample
from fleet.audit.query.methods import (
    NO_ATTEMPTS,
    Attempts,
    after,
    candidates_then_square,
    decision,
    median_queries,
    noise,
    square,
)

Make = Callable[..., Member]


def sample(count: int = 3) -> Sample:
    images = torch.full((count, 1, 2, 2), 128, dtype=torch.uint8)
    return Sample.of(images, torch.ones(count, dtype=torch.int64))


def reader(linear: Make, pixel: int = 0) -> Member:
    weights = [0.0] * 4
    weights[pixel] = 1.0
    return linear(f"reader-{pixel}", weights, -103.0)


@pytest.mark.parametrize("method", [noise, square])
@pytest.mark.parametrize(("levels", "outcome"), [(5, 0), (6, REJECT), (20, FLIP)])
def test_one_pixel_falls_to_the_first_query_of_full_strength_or_never(
    linear: Make, method: Callable[..., Attempts], levels: int, outcome: int
) -> None:
    found = method(reader(linear), sample(), levels / 255, 60, 0)
    assert found.outcomes.tolist() == [outcome] * 3
    assert found.queries.tolist() == [1 if outcome else 60] * 3


def test_noise_counts_the_draws_until_the_signs_agree(linear: Make) -> None:
    """o = k0 + k1 moves by two strengths or not at all, by what the keyed signs say."""
    victim = linear("sum", [1.0, 1.0, 0.0, 0.0], -231.0)
    part = sample(20)
    found = noise(victim, part, 5 / 255, 8, 3)
    keys = SampleKeys(3, "sum", part.indices)
    for row in range(20):
        agree = [
            query + 1
            for query in range(8)
            if keys.signs(torch.Size((1, 2, 2)), "query", query)[row].flatten()[:2].sum() != 0
        ]
        assert found.queries[row] == (agree[0] if agree else 8)
        assert (found.outcomes[row] == REJECT) == bool(agree)


def test_the_decision_attack_finds_what_there_is_and_no_more(linear: Make) -> None:
    assert decision(reader(linear), sample(), 5 / 255, 100).outcomes.tolist() == [0, 0, 0]
    found = decision(reader(linear), sample(), 6 / 255, 100)
    assert found.outcomes.tolist() == [REJECT] * 3
    assert (found.queries < 100).all()


def shifted(part: Sample, *levels: int) -> torch.Tensor:
    """One candidate for each number of levels, added to pixel 0."""
    made = part.images.repeat(len(levels), 1, 1, 1, 1).int()
    for number, level in enumerate(levels):
        made[number, :, 0, 0, 0] += level
    return made.to(torch.uint8)


@pytest.mark.parametrize(
    ("levels", "budget", "queries", "outcome"),
    [
        ((6,), 10, 1, REJECT),
        ((0, 3, 6), 10, 3, REJECT),
        ((0, 3, 6), 2, 2, 0),
        ((0, 20), 10, 2, FLIP),
    ],
)
def test_candidates_are_tried_in_order_within_the_budget(
    linear: Make, levels: tuple[int, ...], budget: int, queries: int, outcome: int
) -> None:
    part = sample()
    found = candidates_then_square(
        reader(linear), part, shifted(part, *levels), eps=20 / 255, budget=budget, seed=0
    )
    assert found.queries.tolist() == [queries] * 3
    assert found.outcomes.tolist() == [outcome] * 3


def test_squares_go_on_from_the_best_candidate(linear: Make) -> None:
    """o = k0 + k1 needs both pixels up: the candidate has one, a square adds the other.

    From the original a single pixel changes o by 4 of the 6 that leave the interval.
    """
    victim = linear("sum", [1.0, 1.0, 0.0, 0.0], -231.0)
    part = sample(8)
    found = candidates_then_square(
        victim, part, shifted(part, 0, 4, -1), eps=4 / 255, budget=60, seed=0
    )
    assert found.outcomes.tolist() == [REJECT] * 8
    assert (found.queries > 3).all()
    assert (found.queries < 60).all()


def test_a_method_gives_each_image_the_same_whatever_stands_beside_it(linear: Make) -> None:
    victim = linear("sum", [1.0, 1.0, 0.0, 0.0], -231.0)
    part = sample(6)
    rows = torch.tensor([4, 1])
    for method in (noise, square):
        whole, some = (method(victim, s, 4 / 255, 40, 0) for s in (part, part.part(rows)))
        assert some.queries.tolist() == whole.queries[rows].tolist()
        assert some.outcomes.tolist() == whole.outcomes[rows].tolist()
    ready = shifted(part, 0, 4)
    whole = candidates_then_square(victim, part, ready, eps=4 / 255, budget=40, seed=0)
    some = candidates_then_square(
        victim, part.part(rows), ready[:, rows], eps=4 / 255, budget=40, seed=0
    )
    assert some.queries.tolist() == whole.queries[rows].tolist()


def test_logits_can_be_asked_too(logits: Make) -> None:
    """Class 1 wins while pixel 0 is above pixel 1; 5 levels on each make them equal."""
    victim = logits("control", [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    images = torch.tensor([[[[133, 123], [0, 0]]]], dtype=torch.uint8)
    part = Sample.of(images, torch.tensor([1]))
    assert square(victim, part, 4 / 255, 60, 0).outcomes.tolist() == [0]
    assert decision(victim, part, 6 / 255, 60).outcomes.tolist() == [FLIP]
    ready = torch.tensor([[[[[127, 129], [0, 0]]]]], dtype=torch.uint8)
    found = candidates_then_square(victim, part, ready, eps=6 / 255, budget=9, seed=0)
    assert (found.queries.tolist(), found.outcomes.tolist()) == ([1], [FLIP])


def test_a_budget_shows_what_had_fallen_by_then() -> None:
    attempts = Attempts(np.array([1, 7, 9, 9]), np.array([2, 1, 0, 2], dtype=np.int8))
    assert after(attempts, 1).tolist() == [2, 0, 0, 0]
    assert after(attempts, 8).tolist() == [2, 1, 0, 0]
    assert after(attempts, 9).tolist() == [2, 1, 0, 2]


@pytest.mark.parametrize(
    ("queries", "outcomes", "median"),
    [
        ([1, 7, 9, 9], [2, 1, 0, 2], 7),
        ([3, 9, 9], [2, 0, 0], None),
        ([3, 5, 9], [2, 1, 0], 5),
        ([4], [1], 4),
    ],
)
def test_the_median_counts_images_that_never_fall(
    queries: list[int], outcomes: list[int], median: int | None
) -> None:
    attempts = Attempts(np.array(queries), np.array(outcomes, dtype=np.int8))
    assert median_queries(attempts) == median


def test_no_images_have_no_median() -> None:
    assert median_queries(NO_ATTEMPTS) is None
    assert after(NO_ATTEMPTS, 5).tolist() == []
