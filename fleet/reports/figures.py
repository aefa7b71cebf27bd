"""Every figure of a report, drawn once; matplotlib is loaded here and only when asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from fleet.errors import BackendError
from fleet.reports.kinds import AuditKind, AuditReport
from fleet.reports.ladder import ladder


@dataclass(frozen=True)
class DrawnFigure:
    """One figure.

    Attributes:
        name: Of its files, without suffix.
        kind: The audit that it shows; None for the whole report.
        alt: What it shows, in words.
        png: The file.
        svg: The file; its texts stay text.
    """

    name: str
    kind: AuditKind | None
    alt: str
    png: bytes
    svg: bytes


@dataclass(frozen=True)
class _Recipe:
    module: str
    name: str
    alt: str


_OF_KIND: dict[AuditKind, tuple[_Recipe, ...]] = {
    "whitebox": (
        _Recipe(
            "curves_figure",
            "whitebox-curves",
            "Line charts, one for each device: white-box evade and flip rate of the adaptive "
            "protocol, evade rate of the paper's protocol and the noise floor against eps. "
            "The same figures stand in the white-box table.",
        ),
        _Recipe(
            "split_figure",
            "whitebox-split",
            "Stacked bars: share of flips and of rejects for every device, eps and protocol, with "
            "the noise floor as a line. The same figures stand in the white-box table.",
        ),
        _Recipe(
            "margins_figure",
            "whitebox-margins",
            "Histograms, one for each device: first-order distance of each correct image from the "
            "decision boundary, on a log scale, with every eps and the share of images below it.",
        ),
    ),
    "transfer": (
        _Recipe(
            "heatmap_figure",
            "transfer",
            "Heatmaps of the evade rate, surrogates as rows and victims as columns, with each "
            "device's order of classes on the axes. The same figures stand in the tables below.",
        ),
    ),
    "coalition": (
        _Recipe(
            "coalition_figure",
            "coalition",
            "Line charts, one for each eps: mean evade rate of the devices that the attacker does "
            "not own against the number that he owns, for random and for greedy coalitions. "
            "The same figures stand in the coalition table.",
        ),
    ),
    "query": (
        _Recipe(
            "query_figure",
            "query",
            "Line charts, one for each victim and eps: evade rate against the number of queries, "
            "one line for each method. The figures at the largest budget stand in the query table.",
        ),
    ),
    "trace": (
        _Recipe(
            "trace_figure",
            "trace",
            "Confusion matrix of the device on which images were made and the device named, and "
            "the share named correctly by each score, against chance. The same shares stand in "
            "the trace table.",
        ),
    ),
}
_LADDER = _Recipe(
    "ladder_figure",
    "ladder",
    "Dot charts, one for each eps: mean and worst adaptive evade rate for attackers from nobody's "
    "device up to the victim itself. The same figures stand in the threat ladder table.",
)


def draw_figures(report: AuditReport) -> list[DrawnFigure]:
    """Draw every figure of a report.

    The same report gives the same bytes on the same matplotlib.

    Raises:
        BackendError: matplotlib is not installed.
    """
    found = [
        _drawn(recipe, kind, (audit,))
        for kind, audit in report.audits.items()
        for recipe in _OF_KIND[kind]
    ]
    rungs = ladder(report)
    return [_drawn(_LADDER, None, (rungs,)), *found] if rungs else found


def figure_module(name: str) -> Any:
    """Import a module of figures: one of this package, or any by its dotted name.

    Raises:
        BackendError: matplotlib is not installed.
    """
    try:
        return import_module(name if "." in name else f"fleet.reports.{name}")
    except ImportError as error:
        raise BackendError(
            f"figures need matplotlib, which cannot be imported ({error})",
            hint='install it with `pip install "interval-fleet[train]"`',
        ) from error


def encoded(module: str, arguments: tuple[Any, ...], *forms: str) -> list[bytes]:
    """Draw one figure and encode it in each form, ``png`` or ``svg``.

    Raises:
        BackendError: matplotlib is not installed.
    """
    drawing = figure_module("drawing")
    draw: Callable[..., Any] = figure_module(module).draw
    with drawing.drawing():
        figure = draw(*arguments)
        return [bytes(drawing.encode(figure, form)) for form in forms]


def _drawn(recipe: _Recipe, kind: AuditKind | None, arguments: tuple[Any, ...]) -> DrawnFigure:
    png, svg = encoded(recipe.module, arguments, "png", "svg")
    return DrawnFigure(recipe.name, kind, recipe.alt, png, svg)
