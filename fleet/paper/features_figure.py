"""Draws penultimate features in the plane, TRA beside INT, and under each what was measured."""

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fleet.paper.figure2_result import Embedding, Figure2, Measure, Task
from fleet.reports import drawing
from fleet.reports.palette import INK, PAPER
from fleet.reports.wording import format_count, format_rate

# Ten colours cannot all be told apart by everybody: each cluster has its number too. The first
# nine are Paul Tol's muted scheme for all kinds of colour vision, without its pale grey.
COLORS = (
    "#332288",
    "#88ccee",
    "#44aa99",
    "#117733",
    "#999933",
    "#ddcc77",
    "#cc6677",
    "#882255",
    "#aa4499",
    "#777777",
)

_TITLES: dict[Task, str] = {"tra": "TRA, cross-entropy", "int": "INT, intervals"}
_WORDS: dict[Measure, str] = {
    "silhouette": "silhouette",
    "silhouette_standardised": "  standardised",
    "purity": "purity",
    "probe": "linear probe",
    "accuracy": "own accuracy",
    "effective_dimension": "dimensions",
}
_HALO: patheffects.AbstractPathEffect = patheffects.Stroke(linewidth=2.5, foreground=PAPER)
_SIDE = 3.2  # inches of a panel
_LINE = 0.2  # inches of a line of the caption below it
_BELOW = (len(_WORDS) + 2) * _LINE + 0.1


def draw(found: Figure2) -> Figure:
    """TRA left, INT right, one row for each training embedded."""
    shown = sorted(found.embeddings, key=lambda e: (e.network, e.seed, e.task != "tra"))
    figure, axes = drawing.panels(
        len(shown),
        columns=2,
        size=(_SIDE, _SIDE),
        top=1.6,
        gap=(0.45, _BELOW + 0.4),
        margin=(0.3, _BELOW),
    )
    name, dataset = (drawing.drawable(text, 24) for text in (shown[0].network, found.dataset))
    drawing.head(figure, f"t-SNE of penultimate features: {name} on {dataset}", _notes(found))
    mark = Line2D([], [], ls="", marker="x", color=INK, ms=5, label="decoded wrongly, or as None")
    drawing.legend(figure, [mark], 1.1)
    for panel, embedding in zip(axes, shown, strict=True):
        panel.set_title(f"{_TITLES[embedding.task]}, seed {embedding.seed}")
        _scatter(panel, embedding)
        _caption(panel, found, embedding)
    return figure


def _notes(found: Figure2) -> list[str]:
    pixels = found.pixels
    return [
        f"{format_count(pixels.n, 'test image')}, the same in all panels; perplexity "
        f"{found.settings['perplexity']:g}. Sizes and distances mean little in t-SNE:",
        "judge by the measures below, taken on the features themselves.",
        f"For comparison, the pixels: silhouette {pixels.silhouette:.3f}, "
        f"purity {format_rate(pixels.purity)}, linear probe {format_rate(pixels.probe)}.",
    ]


def _scatter(axes: Axes, embedding: Embedding) -> None:
    points, labels = np.array(embedding.points), np.array(embedding.labels)
    wrong = points[labels != np.array(embedding.decided)]
    axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
    axes.spines[:].set_visible(True)
    for label in np.unique(labels):
        own = points[labels == label]
        color = COLORS[label % len(COLORS)]
        # As pixels: an SVG with thousands of marks is slow, and larger than the PNG.
        axes.scatter(own[:, 0], own[:, 1], s=5, color=color, lw=0, rasterized=True)
        x, y = np.median(own, axis=0)
        # A halo becomes an outline in SVG; the number itself, above it, stays text.
        for effects in ([_HALO], []):
            number = axes.text(x, y, str(label), size=13, weight="bold", ha="center", va="center")
            number.set_path_effects(effects)
    axes.scatter(wrong[:, 0], wrong[:, 1], s=16, color=INK, marker="x", lw=0.9, zorder=3)


def _caption(axes: Axes, found: Figure2, embedding: Embedding) -> None:
    seeds = [s for s in found.scores if (s.network, s.task) == (embedding.network, embedding.task)]
    over = f"mean ± sd of {len(seeds)} seeds" if len(seeds) > 1 else "one seed"
    picture = f"silhouette {embedding.silhouette:.3f}, purity {format_rate(embedding.purity)}"
    lines = [("this picture", picture), ("the features", over)]
    lines += [(words, _value(found, embedding, measure)) for measure, words in _WORDS.items()]
    for number, (words, value) in enumerate(lines):
        y = -(number + 0.85) * _LINE / _SIDE
        axes.text(0, y, words, transform=axes.transAxes, va="center")
        axes.text(0.35, y, value, transform=axes.transAxes, va="center")


def _value(found: Figure2, embedding: Embedding, measure: Measure) -> str:
    compared = found.comparison(embedding.network, measure)
    spread = compared.tra if embedding.task == "tra" else compared.interval
    if measure != "effective_dimension":
        text = format_rate(spread.mean)
        return text if spread.sd is None else f"{text} ± {format_rate(spread.sd)}"
    text = f"{spread.mean:.2f}" if spread.sd is None else f"{spread.mean:.2f} ± {spread.sd:.2f}"
    score = found.score(embedding.network, embedding.task, embedding.seed)
    return f"{text} effective, of {score.dimension}"
