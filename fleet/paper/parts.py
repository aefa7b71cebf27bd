"""What each part of ``fleet reproduce`` makes: a result, its view for people, its files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from fleet.audit.core.result import Stored
from fleet.files import write_bytes
from fleet.paper import choices, claims, experiments, figure2, figure3, table, terminal, trainings
from fleet.paper.workspace import Workspace
from fleet.reports.figures import encoded


@dataclass(frozen=True)
class Part:
    """One result.

    Attributes:
        make: Trains, attacks and counts what is not there yet.
        view: For people.
        figure: Module that draws it, or None.
        each_eps: Whether there is a figure for each eps of the result.
    """

    make: Callable[[Workspace], Stored]
    view: Callable[[Any], RenderableType]
    figure: str | None = None
    each_eps: bool = False

    def run(self, name: str, workspace: Workspace) -> tuple[Stored, list[Path]]:
        """Make the result, store it, then draw its figures.

        Returns:
            The result, and the files that were written.

        Raises:
            FleetError: Images are missing, a network fails, or matplotlib is not installed.
        """
        found = self.make(workspace)
        written = [workspace.result(name)]
        found.save(written[0])
        if self.figure is not None:
            for eps in getattr(found, "eps", ()) if self.each_eps else (None,):
                path = workspace.results / (f"{name}.png" if eps is None else f"{name}-{eps:g}.png")
                drawn = (found,) if eps is None else (found, eps)
                write_bytes(path, encoded(f"fleet.paper.{self.figure}:draw", drawn, "png")[0])
                written.append(path)
        return found, written


def parts_of(part: str, *, stand_in: bool) -> dict[str, Part]:
    """Name and work of each result that a part consists of, in the order of their making.

    Args:
        part: As on the command line.
        stand_in: Whether photos are those of the stand-in.
    """
    photos = experiments.TABLE2_STAND_IN if stand_in else experiments.TABLE2
    matrices = experiments.FIGURE3_STAND_IN if stand_in else experiments.FIGURE3
    parts = {
        "table1": {"table1": _table(experiments.TABLE1)},
        "convergence": {
            "convergence": Part(
                trainings.reproduce_convergence, terminal.convergence_view, "convergence_figure"
            )
        },
        "choices": {"choices": Part(choices.reproduce_choices, terminal.choices_view)},
        "stems": {"stems": Part(trainings.reproduce_stems, terminal.stems_view)},
        "figure2": {"figure2": Part(figure2.reproduce, terminal.features_view, "features_figure")},
        "figure3": {e.name: _figure3(e) for e in (experiments.FIGURE3_MNIST, matrices)},
        "table2": {photos.name: _table(photos)},
        "claims": {"claims": Part(claims.judge_claims, terminal.claims_view)},
    }
    if part != "all":
        return parts[part]
    return {name: step for steps in parts.values() for name, step in steps.items()}


def _table(experiment: experiments.TableExperiment) -> Part:
    return Part(lambda place: table.reproduce_table(experiment, place), terminal.table_view)


def _figure3(experiment: experiments.MatrixExperiment) -> Part:
    def make(place: Workspace) -> Stored:
        return figure3.reproduce_figure3(experiment, place)

    return Part(make, terminal.matrices_view, "figure3_figure", each_eps=True)
