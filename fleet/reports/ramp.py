"""One colour scale for every report: cividis, fixed from 0 to 1, lighter = higher.

Fixed, so that two reports can be laid side by side; cividis, because it reads the same with and
without colour vision (Nunez, Anderton and Renslow 2018) and in grey print. The direction is that
of the paper's Figure 3.
"""

from __future__ import annotations

ANCHORS = (
    "#00224e",
    "#0c3470",
    "#35456c",
    "#4f576c",
    "#666970",
    "#7d7c78",
    "#948e77",
    "#ada272",
    "#c8b866",
    "#e5cf52",
    "#fee838",
)
"""Cividis at 0.0, 0.1, ..., 1.0; between two anchors the ramp is linear in sRGB."""

INKS = ("#ffffff", "#000000")

RAMP_STEPS = 100
"""Steps of the scale in HTML; one CSS class each."""


def ramp_color(share: float) -> str:
    """Colour of a share.

    Args:
        share: In [0, 1].

    Returns:
        ``#rrggbb``.
    """
    position = share * (len(ANCHORS) - 1)
    left = min(int(position), len(ANCHORS) - 2)
    pairs = zip(_channels(ANCHORS[left]), _channels(ANCHORS[left + 1]), strict=True)
    mixed = (round(a + (b - a) * (position - left)) for a, b in pairs)
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def ramp_class(rate: float | None) -> str:
    """CSS class of a rate, ``r0`` to ``r100``; ``none`` where there is no rate."""
    return "none" if rate is None else f"r{round(rate * RAMP_STEPS)}"


def ink_color(background: str) -> str:
    """White or black, whichever reads better on ``background``.

    The better of the two has a contrast of at least sqrt(21) = 4.58 on any colour, above the 4.5
    of WCAG 2 level AA.
    """
    return max(INKS, key=lambda ink: contrast(ink, background))


def contrast(first: str, second: str) -> float:
    """Contrast ratio of WCAG 2, in [1, 21]."""
    dark, light = sorted((_luminance(first), _luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: str) -> float:
    red, green, blue = (_linear(channel / 255) for channel in _channels(color))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)


def _channels(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
