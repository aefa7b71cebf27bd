"""Step rules."""

import math

import pytest
import torch

from fleet.attacks import Momentum, SignStep
from fleet.attacks.ball import ball


def sizes(rule: SignStep, steps: int) -> list[float]:
    x = torch.full((1, 1, 1, 2), 0.5)
    move = rule.begin(ball(x, 0.4), steps)
    gradient = torch.tensor([[[[2.0, 0.0]]]])
    moved = [move(x.clone(), gradient.clone(), torch.zeros(1), step) - x for step in range(steps)]
    assert all(delta[..., 1] == 0 for delta in moved), "a zero gradient moves nothing"
    return [round(delta[..., 0].item(), 6) for delta in moved]


def test_constant_steps() -> None:
    assert sizes(SignStep(0.25), 3) == [0.1, 0.1, 0.1]


def test_steps_shrink_linearly_from_first_to_last() -> None:
    assert sizes(SignStep(1.0, 0.0), 5) == [0.4, 0.3, 0.2, 0.1, 0.0]


def test_the_second_of_two_steps_is_the_last() -> None:
    assert sizes(SignStep(1.0, 0.0), 2) == [0.4, 0.0]


def test_a_single_step_is_the_first() -> None:
    assert sizes(SignStep(0.5, 0.02), 1) == [0.2]


def test_in_l2_a_step_has_its_length_and_follows_the_gradient() -> None:
    x = torch.full((1, 1, 1, 2), 0.5)
    move = SignStep(0.5).begin(ball(x, 0.4, "l2"), 1)
    delta = move(x.clone(), torch.tensor([[[[3.0, 4.0]]]]), torch.zeros(1), 0) - x
    torch.testing.assert_close(delta.flatten(), torch.tensor([0.12, 0.16]))


def momentum(gradients: list[list[float]], decay: float = 1.0) -> list[list[float]]:
    """Signs of the moves of two pixels."""
    x = torch.full((1, 1, 1, 2), 0.5)
    move = Momentum(SignStep(0.01), decay).begin(ball(x, 0.4), len(gradients))
    signs = []
    for step, gradient in enumerate(gradients):
        after = move(x.clone(), torch.tensor([[[gradient]]]), torch.zeros(1), step)
        signs.append((after - x).sign().flatten().tolist())
    return signs


def test_momentum_sums_gradients_over_their_mean_size() -> None:
    """(3, 1) / 2 then (-1, 1): the first pixel goes on, since 1.5 - 1 is above 0."""
    assert momentum([[3.0, 1.0], [-1.0, 1.0]]) == [[1.0, 1.0], [1.0, 1.0]]
    assert momentum([[3.0, 1.0], [-1.0, 1.0]], decay=0.0) == [[1.0, 1.0], [-1.0, 1.0]]
    assert momentum([[1.0, 1.0], [-300.0, 300.0]]) == [[1.0, 1.0], [0.0, 1.0]], (
        "size does not count"
    )


def test_a_zero_gradient_does_not_freeze_an_image() -> None:
    """Elsewhere 0 / 0 puts NaN into the sum, and its sign is 0 for the rest of the run."""
    assert momentum([[0.0, 0.0], [1.0, -1.0]]) == [[0.0, 0.0], [1.0, -1.0]]
    assert momentum([[1.0, -1.0], [0.0, 0.0]]) == [[1.0, -1.0], [1.0, -1.0]]


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_broken_gradient_does_not_freeze_an_image(broken: float) -> None:
    assert momentum([[broken, broken], [1.0, -1.0]])[1] == [1.0, -1.0]
