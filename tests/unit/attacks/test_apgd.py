"""The step rule of APGD."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fleet.attacks import PGD, Directions, HalvingStep, Norm, SampleKeys, ball
from fleet.attacks.steps import Move, checkpoints
from fleet.models import Classifier

Make = Callable[..., Classifier]


def start(rule: HalvingStep, steps: int, rows: int = 1) -> Move:
    return rule.begin(ball(torch.full((rows, 1, 1, 1), 0.5), 0.4), steps)


def climb(move: Move, slopes: list[float], values: list[float]) -> list[float]:
    """Positions of one pixel that is given these gradients and values."""
    x, path = torch.full((1, 1, 1, 1), 0.5), []
    for index, (slope, value) in enumerate(zip(slopes, values, strict=True)):
        x = move(x, torch.full_like(x, slope), torch.tensor([value]), index)
        path.append(round(x.item(), 5))
    return path


def test_checkpoints_are_those_of_the_paper() -> None:
    """p = 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99 of 100 steps."""
    assert list(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(100)[41] == 19
    assert list(checkpoints(10)) == [3, 5, 6, 7, 8, 9]
    assert checkpoints(1) == {}


def test_the_first_step_is_full_and_the_second_has_momentum() -> None:
    """x2 = x1 + 0.75 (z - x1) + 0.25 (x1 - x0), with z a step of 0.2 down from x1 = 0.7."""
    path = climb(start(HalvingStep(0.5), 100), [1.0, -1.0], [0.0, 1.0])
    assert path == [0.7, round(0.7 - 0.75 * 0.2 + 0.25 * 0.2, 5)]


def test_a_value_that_keeps_falling_halves_the_step_from_the_best_image() -> None:
    """At the third of 10 steps: back to 0.5, the best, and then 0.1 instead of 0.2."""
    move = start(HalvingStep(0.5, momentum=1.0), 10)
    path = climb(move, [1.0, -1.0, 1.0, 1.0], [5.0, 4.0, 3.0, 2.0])
    assert path[:3] == [0.7, 0.5, 0.7]
    assert path[3] == 0.6, "the best image's own gradient, half the step"


def test_a_value_that_keeps_rising_keeps_the_step() -> None:
    move = start(HalvingStep(0.1, momentum=1.0), 10)
    path = climb(move, [1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0])
    assert path == [0.54, 0.58, 0.62, 0.66, 0.7]


def test_no_new_best_halves_the_step_even_if_most_steps_rose() -> None:
    """Condition 2: three of four steps rise, but never above the start."""
    move = start(HalvingStep(0.1, momentum=1.0, rises=0.5), 18)
    values = [9.0, 1.0, 2.0, 3.0, 4.0]
    assert next(iter(checkpoints(18))) == 4
    assert climb(move, [1.0] * 5, values)[4] == 0.52


def test_each_image_has_a_step_of_its_own() -> None:
    move = start(HalvingStep(0.1, momentum=1.0), 10, rows=2)
    x = torch.full((2, 1, 1, 1), 0.5)
    for index in range(4):
        values = torch.tensor([float(index), -float(index)])
        x = move(x, torch.ones_like(x), values, index)
    assert [round(value, 5) for value in x.flatten().tolist()] == [0.66, 0.52]


def test_a_nan_value_is_never_the_best_and_harms_no_other_row() -> None:
    move = start(HalvingStep(0.1), 10, rows=2)
    x = torch.full((2, 1, 1, 1), 0.5)
    for index in range(10):
        x = move(x, torch.ones_like(x), torch.tensor([torch.nan, float(index)]), index)
    assert x.isfinite().all()
    assert x[1].item() > 0.8


@pytest.mark.parametrize(("norm", "eps", "reach"), [("linf", 7 / 255, 70.0), ("l2", 0.05, 69.83)])
def test_apgd_reaches_the_closed_form(linear: Make, norm: Norm, eps: float, reach: float) -> None:
    """``eps * ||w||_1`` and ``eps * ||w||_2``, in units of 1/255: w = (3, -2, 1, 4)."""
    classifier = linear([3.0, -2.0, 1.0, 4.0], -743.0)
    x = torch.full((2, 1, 2, 2), 128 / 255)
    attack = PGD(Directions(), eps, 20, HalvingStep(), restarts=2, norm=norm)
    up, down = attack(classifier, x, torch.tensor([1, 1]), SampleKeys(0, "a", torch.arange(2)))
    o: Tensor = classifier(x)
    torch.testing.assert_close(classifier(up), o + reach, rtol=0, atol=0.05)
    torch.testing.assert_close(classifier(down), o - reach, rtol=0, atol=0.05)


def test_a_value_that_stands_still_has_not_risen() -> None:
    """One rise in the first three of 10 steps: the step is halved although the best is new."""
    move = start(HalvingStep(0.1, momentum=1.0), 10)
    path = climb(move, [1.0] * 5, [0.0, 0.0, 0.0, 1.0, 1.0])
    assert path[:3] == [0.54, 0.58, 0.62]
    assert path[3] == 0.64
