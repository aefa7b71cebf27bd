"""The eps ball of two norms, and the 8-bit images inside it."""

import math

import pytest
import torch
from torch import Tensor

from fleet.attacks import L2Ball, LinfBall, SampleKeys, ball, distance, quantise
from fleet.errors import AuditError

KEYS = SampleKeys(0, "a", torch.arange(200))


def grey(level: float, count: int = 1) -> Tensor:
    return torch.full((count, 1, 2, 2), level)


def lengths(difference: Tensor) -> Tensor:
    return torch.linalg.vector_norm(difference.flatten(1), dim=1)


def test_each_norm_has_its_ball() -> None:
    assert isinstance(ball(grey(0.5), 0.1), LinfBall)
    assert isinstance(ball(grey(0.5), 0.1, "l2"), L2Ball)
    assert ball(grey(0.5), 0.1).norm == "linf"
    assert ball(grey(0.5), 0.1, "l2").norm == "l2"


def test_linf_projection_cuts_each_pixel_for_itself() -> None:
    around = ball(torch.tensor([0.0, 1.0, 0.5, 0.5]).reshape(1, 1, 2, 2), 0.1)
    moved = torch.tensor([-1.0, 2.0, 0.55, 0.7]).reshape(1, 1, 2, 2)
    torch.testing.assert_close(around.project(moved).flatten(), torch.tensor([0.0, 1.0, 0.55, 0.6]))


def test_l2_projection_shrinks_the_whole_difference_and_leaves_what_is_inside() -> None:
    around = ball(grey(0.5, 2), 0.1, "l2")
    moved = grey(0.5, 2)
    moved[0, 0, 0] += torch.tensor([0.3, 0.4])  # length 0.5
    moved[1, 0, 0] += torch.tensor([0.03, 0.04])  # length 0.05
    difference = around.project(moved) - 0.5
    torch.testing.assert_close(difference[0, 0, 0], torch.tensor([0.06, 0.08]))
    torch.testing.assert_close(difference[1, 0, 0], torch.tensor([0.03, 0.04]))


def test_l2_projection_stays_within_black_and_white() -> None:
    around = ball(torch.tensor([0.0, 1.0, 0.5, 0.5]).reshape(1, 1, 2, 2), 1.0, "l2")
    inside = around.project(torch.tensor([-3.0, 4.0, 0.5, 0.5]).reshape(1, 1, 2, 2))
    assert inside.flatten().tolist() == [0.0, 1.0, 0.5, 0.5]


def test_the_steepest_step_of_linf_is_the_sign() -> None:
    gradient = torch.tensor([3.0, -1e-30, 0.0, math.nan]).reshape(1, 1, 2, 2)
    assert ball(grey(0.5), 0.1).steepest(gradient).flatten().tolist() == [1.0, -1.0, 0.0, 0.0]


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_the_steepest_step_of_l2_has_length_1_however_small_the_gradient(scale: float) -> None:
    gradient = torch.tensor([3.0, 0.0, 0.0, -4.0]).reshape(1, 1, 2, 2) * scale
    step = ball(grey(0.5), 0.1, "l2").steepest(gradient)
    torch.testing.assert_close(step.flatten(), torch.tensor([0.6, 0.0, 0.0, -0.8]))


@pytest.mark.parametrize("value", [0.0, math.nan])
def test_no_gradient_is_no_step(value: float) -> None:
    for norm in ("linf", "l2"):
        step = ball(grey(0.5), 0.1, norm).steepest(grey(value))
        assert step.flatten().tolist() == [0.0] * 4


def test_an_infinite_gradient_is_followed() -> None:
    gradient = torch.tensor([math.inf, 1.0, 0.0, math.nan]).reshape(1, 1, 2, 2)
    step = ball(grey(0.5), 0.1, "l2").steepest(gradient)
    torch.testing.assert_close(step.flatten(), torch.tensor([1.0, 0.0, 0.0, 0.0]))


def test_random_points_fill_each_ball() -> None:
    centre = grey(0.5, 200)
    square = ball(centre, 0.1).random(KEYS, "start") - centre
    assert 0.09 < square.abs().max() <= 0.1 + 1e-6
    assert abs(square.mean()) < 0.01
    round_ = lengths(ball(centre, 0.1, "l2").random(KEYS, "start") - centre)
    assert round_.max() <= 0.1 + 1e-6
    # Uniform in 4 dimensions: the share within r is (r / eps)^4, the median 0.5^(1/4).
    assert abs(round_.median() / 0.1 - 0.5**0.25) < 0.05


def test_variants_of_an_image_start_apart_and_equal_ones_alike() -> None:
    for norm in ("linf", "l2"):
        around = ball(grey(0.5, 400), 0.1, norm)
        first, second = around.random(KEYS, "start", 1).split(200)
        assert not torch.equal(first, second)
        assert torch.equal(around.random(KEYS, "start", 1)[:200], first)
        assert not torch.equal(around.random(KEYS, "start", 2)[:200], first)


def test_l2_variants_of_an_image_start_in_directions_of_their_own() -> None:
    centre = grey(0.5, 400)
    moved = (ball(centre, 0.1, "l2").random(KEYS, "start") - centre).flatten(1)
    first, second = torch.nn.functional.normalize(moved, dim=1).split(200)
    assert (first * second).sum(1).abs().median() < 0.9


def test_variants_of_one_image_stay_beside_it() -> None:
    """Row b of each variant belongs to image b, however dark its neighbours are."""
    centre = torch.cat([grey(0.1), grey(0.9)]).repeat(3, 1, 1, 1)
    keys = SampleKeys(0, "a", torch.arange(2))
    for norm in ("linf", "l2"):
        made = ball(centre, 0.05, norm).random(keys, "start")
        assert made.shape == centre.shape
        assert (made - centre).abs().max() <= 0.05 + 1e-6


def test_an_l2_radius_beyond_the_whole_cube_is_refused() -> None:
    assert ball(grey(0.5), 2.0, "l2").eps == 2.0
    with pytest.raises(AuditError, match="larger than the distance from black to white, 2"):
        ball(grey(0.5), 2.01, "l2")


@pytest.mark.parametrize("eps", [0.0, -1.0, math.nan, math.inf])
def test_an_l2_radius_must_be_finite_and_above_0(eps: float) -> None:
    with pytest.raises(AuditError, match="not above 0"):
        ball(grey(0.5), eps, "l2")


def levels(*values: float) -> Tensor:
    return (torch.tensor(values) / 255).reshape(1, 1, 2, 2)


def test_l2_rounds_to_the_nearest_level_where_that_stays_inside() -> None:
    clean = torch.full((1, 1, 2, 2), 100, dtype=torch.uint8)
    made = quantise(levels(103.4, 96.4, 100.2, 100.0), clean, 6 / 255, "l2")
    assert made.flatten().tolist() == [103, 96, 100, 100]


def test_l2_takes_back_the_pixel_that_was_rounded_farthest_outwards() -> None:
    """2.6, 2.55 and 2.9 levels have the length 4.66; rounded to 3 each they have 5.2, above 4.8."""
    clean = torch.full((1, 1, 2, 2), 100, dtype=torch.uint8)
    made = quantise(levels(102.6, 97.45, 102.9, 100.0), clean, 4.8 / 255, "l2")
    assert made.flatten().tolist() == [103, 98, 103, 100]
    assert distance(made, clean, "l2").item() <= 4.8 / 255


def test_l2_images_from_outside_are_shrunk_first() -> None:
    clean = torch.full((1, 1, 2, 2), 100, dtype=torch.uint8)
    made = quantise(levels(130.0, 140.0, 100.0, 100.0), clean, 5 / 255, "l2")
    assert made.flatten().tolist() == [103, 104, 100, 100]


def test_an_l2_radius_of_one_level_moves_one_pixel_by_one() -> None:
    clean = torch.full((1, 1, 2, 2), 100, dtype=torch.uint8)
    made = quantise(levels(100.9, 100.4, 100.0, 100.0), clean, 1 / 255, "l2")
    assert made.flatten().tolist() == [101, 100, 100, 100]
    with pytest.raises(AuditError, match="less than one level"):
        quantise(levels(100, 100, 100, 100), clean, 0.9 / 255, "l2")


def test_linf_goes_back_to_whole_levels() -> None:
    clean = torch.full((1, 1, 2, 2), 100, dtype=torch.uint8)
    made = quantise(levels(103.4, 96.6, 100.5, 110.0), clean, 3.9 / 255)
    assert made.flatten().tolist() == [103, 97, 100, 103]


def test_distances_are_those_of_whole_levels() -> None:
    clean = torch.tensor([0, 255, 100, 100], dtype=torch.uint8).reshape(1, 1, 2, 2)
    moved = torch.tensor([3, 251, 100, 100], dtype=torch.uint8).reshape(1, 1, 1, 2, 2)
    assert distance(moved, clean).tolist() == [[4 / 255]]
    assert distance(moved, clean, "l2").tolist() == [[5 / 255]]


def test_the_steepest_l2_steps_of_a_batch_do_not_depend_on_each_other() -> None:
    gradient = torch.tensor([3.0, 0.0, 0.0, -4.0]).repeat(2, 1).reshape(2, 1, 2, 2)
    gradient[1] *= 1e-30
    step = ball(grey(0.5, 2), 0.1, "l2").steepest(gradient)
    for row in step.flatten(1):
        torch.testing.assert_close(row, torch.tensor([0.6, 0.0, 0.0, -0.8]))


def test_images_brighter_than_white_are_white() -> None:
    clean = torch.tensor([253, 254, 100, 100], dtype=torch.uint8).reshape(1, 1, 2, 2)
    made = quantise(levels(300.0, 259.0, 100.0, -40.0), clean, 200 / 255, "l2")
    assert made.flatten().tolist() == [255, 255, 100, 0]
