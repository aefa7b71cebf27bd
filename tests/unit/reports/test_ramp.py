from itertools import pairwise

import pytest

from fleet.reports.palette import ANCHORS, contrast, ink_color, ramp_color

WHOLE = [step / 1000 for step in range(1001)]


def test_ends_and_anchors_are_exact():
    assert [ramp_color(step / 10) for step in range(11)] == list(ANCHORS)


def test_between_anchors_the_ramp_is_linear():
    assert ramp_color(0.05) == "#062b5f"  # half way from #00224e to #0c3470


@pytest.mark.parametrize(
    ("first", "second", "ratio"),
    [
        ("#000000", "#ffffff", 21.0),
        ("#ffffff", "#000000", 21.0),
        ("#777777", "#ffffff", 4.48),
        ("#ff0000", "#ffffff", 4.00),
        ("#123456", "#123456", 1.0),
    ],
)
def test_contrast_is_that_of_wcag(first, second, ratio):
    assert contrast(first, second) == pytest.approx(ratio, abs=0.005)


def test_text_is_legible_on_the_whole_ramp():
    assert min(contrast(ink_color(ramp_color(x)), ramp_color(x)) for x in WHOLE) >= 4.5


def test_lighter_means_higher():
    against_black = [contrast(ramp_color(x), "#000000") for x in WHOLE]
    assert all(low <= high + 0.02 for low, high in pairwise(against_black))
    assert against_black[-1] > 10 * against_black[0]
