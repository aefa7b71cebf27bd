"""What each part of ``fleet reproduce`` makes: a result, its view for people, its files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import RenderableType

from fleet.paper import experiments
from fleet.paper.workspace import Workspace

if TYPE_CHECKING:
    from fleet.audit.core.stored import Stored
    from fleet.paper.experiments import MatrixExperiment, TableExperiment

PICTURE = "resnet18"
"""Backbone whose features Figure 2 draws; the paper does not say which."""

IMAGES, QUICK_IMAGES = 2000, 128
"""Test images of Figure 2."""


@dataclass(frozen=True)
class Made:
    """One finished part.

    Attributes:
        view: For people.
        document: The result as plain JSON values.
        files: What was written.
    """

    view: RenderableType
    document: dict[str, Any]
    files: tuple[Path, ...]


Step = Callable[[Workspace], Made]
Kept = TypeVar("Kept", bound="Stored")


def parts_of(part: str, *, stand_in: bool) -> dict[str, Step]:
    """Name and work of each result that a part consists of, in the order of their making.

    Args:
        part: As on the command line.
        stand_in: Whether photos are those of the stand-in.
    """
    photos = experiments.TABLE2_STAND_IN if stand_in else experiments.TABLE2
    matrices = experiments.FIGURE3_STAND_IN if stand_in else experiments.FIGURE3
    digits = experiments.FIGURE3_MNIST
    parts: dict[str, dict[str, Step]] = {
        "table1": {"table1": partial(_table, experiments.TABLE1)},
        "convergence": {"convergence": _convergence},
        "choices": {"choices": _choices},
        "stems": {"stems": _stems},
        "figure2": {"figure2": _figure2},
        "figure3": {
            digits.name: partial(_figure3, digits),
            matrices.name: partial(_figure3, matrices),
        },
        "table2": {photos.name: partial(_table, photos)},
        "claims": {"claims": _claims},
    }
    if part != "all":
        return parts[part]
    return {name: step for steps in parts.values() for name, step in steps.items()}


def _table(experiment: TableExperiment, workspace: Workspace) -> Made:
    from fleet.paper.table import reproduce_table
    from fleet.paper.table_terminal import table_view

    table = reproduce_table(experiment, workspace)
    return _made(table, workspace.result(experiment.name), table_view)


def _convergence(workspace: Workspace) -> Made:
    from fleet.paper.convergence import reproduce_convergence
    from fleet.paper.figures import write_convergence
    from fleet.paper.terminal import convergence_view

    found = reproduce_convergence(workspace)
    path = workspace.result("convergence")
    return _made(found, path, convergence_view, lambda: write_convergence(found, workspace.results))


def _choices(workspace: Workspace) -> Made:
    from fleet.paper.choices import reproduce_choices
    from fleet.paper.terminal import choices_view

    return _made(reproduce_choices(workspace), workspace.result("choices"), choices_view)


def _stems(workspace: Workspace) -> Made:
    from fleet.paper.stems import reproduce_stems
    from fleet.paper.terminal import stems_view

    return _made(reproduce_stems(workspace), workspace.result("stems"), stems_view)


def _figure2(workspace: Workspace) -> Made:
    from fleet.paper.figure2 import reproduce_figure2
    from fleet.paper.figures import write_features
    from fleet.paper.terminal import features_view

    profiles = experiments.TABLE1.profiles
    runs = {backbone: workspace.trained(profile)[1] for backbone, profile in profiles}
    found = reproduce_figure2(
        runs,
        picture=PICTURE,
        images=QUICK_IMAGES if workspace.quick else IMAGES,
        stage=workspace.stage,
    )
    path = workspace.result("figure2")
    return _made(found, path, features_view, lambda: write_features(found, workspace.results))


def _figure3(experiment: MatrixExperiment, workspace: Workspace) -> Made:
    from fleet.paper.figures import write_matrices
    from fleet.paper.matrices import reproduce_figure3
    from fleet.paper.terminal import matrices_view

    found = reproduce_figure3(experiment, workspace)
    name, path = experiment.name, workspace.result(experiment.name)
    draw = partial(write_matrices, found, name, workspace.results)
    return _made(found, path, matrices_view, draw)


def _claims(workspace: Workspace) -> Made:
    from fleet.paper.claims import judge_claims
    from fleet.paper.terminal import claims_view

    return _made(judge_claims(workspace), workspace.result("claims"), claims_view)


def _made(
    found: Kept,
    path: Path,
    view: Callable[[Kept], RenderableType],
    draw: Callable[[], Sequence[Path]] = tuple,
) -> Made:
    """Store a result, then draw its figures."""
    found.save(path)
    return Made(view(found), found.to_dict(), (path, *draw()))
