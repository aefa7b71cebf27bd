"""Colours of the figures, once for light paper and once for dark.

A figure is drawn once, in the light colours. In the page each of them becomes a CSS variable, so
that the figure follows the reader's scheme. The series are Okabe and Ito's colours for all kinds of
colour vision (2008), darker or lighter where 3:1 against the paper (WCAG 2, 1.4.11) asks for it;
each has a line style, a marker or a hatch beside its colour.
"""

from __future__ import annotations

INK = "#1b1d22"
MUTED = "#555a66"
LINE = "#d4d7de"
PAPER = "#fefefe"  # not plain white, which stands on coloured cells and stays white in the dark
ADAPTIVE = "#0072b2"
FLIP = "#c04f00"
REJECT = "#8a6d00"
MASKED = "#6b6f78"
NOISE = "#b9bec8"
GREEDY = "#009068"
PURPLE = "#a8467e"
ALARM = "#9c1420"
EDGE = "#e0402f"

DARK = {
    INK: "#e9eaee",
    MUTED: "#b0b5c1",
    LINE: "#3a3f4a",
    PAPER: "#14161a",
    ADAPTIVE: "#56b4e9",
    FLIP: "#ff9247",
    REJECT: "#e8c547",
    MASKED: "#9aa0ac",
    NOISE: "#636a78",
    GREEDY: "#2fc9a0",
    PURPLE: "#e49ac4",
    ALARM: "#ffb3ad",
    EDGE: "#ff7a6b",
}
"""Every colour above, and what stands for it on dark paper."""


def variable(color: str) -> str:
    """Name of the CSS variable that holds a colour of :data:`DARK`.

    Raises:
        ValueError: It is none of them.
    """
    return f"--fig-{list(DARK).index(color)}"


def variables(*, dark: bool) -> str:
    """CSS declarations of every variable for one scheme."""
    return " ".join(
        f"{variable(light)}: {in_the_dark if dark else light};"
        for light, in_the_dark in DARK.items()
    )
