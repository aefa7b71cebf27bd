"""Step rules."""

import torch

from fleet.attacks import SignStep
from fleet.attacks.pixels import Box


def sizes(rule: SignStep, steps: int) -> list[float]:
    x = torch.full((1, 1, 1, 2), 0.5)
    move = rule.begin(Box.around(x, 0.4), steps)
    gradient = torch.tensor([[[[2.0, 0.0]]]])
    moved = [move(x.clone(), gradient.clone(), step) - x for step in range(steps)]
    assert all(delta[..., 1] == 0 for delta in moved), "a zero gradient moves nothing"
    return [round(delta[..., 0].item(), 6) for delta in moved]


def test_constant_steps() -> None:
    assert sizes(SignStep(0.25), 3) == [0.1, 0.1, 0.1]


def test_steps_shrink_linearly_from_first_to_last() -> None:
    assert sizes(SignStep(1.0, 0.0), 5) == [0.4, 0.3, 0.2, 0.1, 0.0]


def test_a_single_step_is_the_first() -> None:
    assert sizes(SignStep(0.5, 0.02), 1) == [0.2]
