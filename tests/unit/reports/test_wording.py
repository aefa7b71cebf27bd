import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.reports.wording import (
    format_eps,
    format_interval,
    format_lift,
    format_range,
    format_rate,
    visible,
)


@pytest.mark.parametrize(
    ("rate", "digits", "text"),
    [
        (0.0, 3, "0.000"),
        (1.0, 3, "1.000"),
        (0.4116, 3, "0.412"),
        (0.0004, 3, "<0.001"),
        (0.9996, 3, ">0.999"),
        (0.004, 2, "<0.01"),
        (0.996, 2, ">0.99"),
        (None, 3, "–"),
    ],
)
def test_rates(rate, digits, text):
    assert format_rate(rate, digits) == text


@settings(deadline=None)
@given(st.floats(0, 1), st.integers(1, 6))
def test_only_exact_ends_read_as_ends(rate, digits):
    text = format_rate(rate, digits)
    assert (text == f"{0:.{digits}f}") == (rate == 0)
    assert (text == f"{1:.{digits}f}") == (rate == 1)


@pytest.mark.parametrize(
    ("eps", "text"),
    [
        (8 / 255, "8/255 (0.0314)"),
        (0.1, "0.1 (25.5/255)"),
        (0.2, "0.2 (51/255)"),
        (0.031, "0.031 (7.91/255)"),
        (1.0, "1 (255/255)"),
    ],
)
def test_a_radius_is_written_in_both_forms(eps, text):
    assert format_eps(eps) == text


def test_intervals_ranges_and_lifts():
    assert format_interval((0.0, 0.1234)) == "0.000–0.123"
    assert format_range((0.1, 1.0)) == "0.100 to 1.000"
    assert format_range(None) == "–"
    assert [format_lift(value) for value in (0.25, -0.031, None)] == ["+0.250", "-0.031", "–"]


@pytest.mark.parametrize("bad", ["\x1b[31m", "\x00", "\u202e", "\u200b", "\n", "\ud800"])
def test_what_does_not_print_becomes_visible(bad):
    shown = visible(f"a{bad}b")
    assert shown.isprintable()
    assert shown != f"a{bad}b"
    shown.encode("utf-8")


def test_ordinary_names_stay_as_they_are():
    assert visible("kamera-süd.2 α ✓") == "kamera-süd.2 α ✓"
