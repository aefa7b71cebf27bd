"""Colours of the figures, once for light paper and once for dark, and one scale for rates.

A figure is drawn once, in the light colours. In the page each of them becomes a CSS variable, so
that the figure follows the reader's scheme. The series are Okabe and Ito's colours for all kinds of
colour vision (2008), darker or lighter where 3:1 against the paper (WCAG 2, 1.4.11) asks for it;
each has a line style, a marker or a hatch beside its colour.

The scale is cividis, fixed from 0 to 1, lighter = higher. Fixed, so that two reports can be laid
side by side; cividis, because it reads the same with and without colour vision (Nunez, Anderton and
Renslow 2018) and in grey print. The direction is that of the paper's Figure 3.
"""

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
