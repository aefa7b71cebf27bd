"""``fleet reproduce``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleet.cli import options
from fleet.cli.output import Format, Output
from fleet.cli.progress import FamilyProgress
from fleet.errors import DataError
from fleet.execution import Executor, Processes

if TYPE_CHECKING:
    from fleet.paper.parts import Part as Step
    from fleet.paper.workspace import Workspace


class Part(StrEnum):
    """What to reproduce."""

    table1 = "table1"
    table2 = "table2"
    figure2 = "figure2"
    figure3 = "figure3"
    convergence = "convergence"
    choices = "choices"
    stems = "stems"
    claims = "claims"
    all = "all"


def reproduce(
    part: Annotated[
        Part,
        typer.Argument(
            help="A table or figure of the paper, choices it leaves open, its claims, or all."
        ),
    ],
    profiles: Annotated[
        Path | None,
        typer.Option("--profiles", "-p", help="Directory of profiles in place of the package's."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Photos for table2 and figure3: an ImageNet tree with train/WNID and val/WNID, "
            "or with --stand-in any ten classes."
        ),
    ] = None,
    stand_in: Annotated[
        bool,
        typer.Option(
            "--stand-in", help="Use the profiles for ten other classes at 64 pixels, and say so."
        ),
    ] = False,
    runs: Annotated[
        Path | None,
        typer.Option(help="Where trainings and audits are kept. By default runs/reproduce."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Where results and figures go. By default results/reproduce."),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Everything small, in minutes, to see that it works; by default into "
            "runs/reproduce-quick.",
        ),
    ] = False,
    jobs: options.Jobs = None,
    dry_run: options.DryRun = False,
    form: options.Form = Format.auto,
) -> None:
    """Reproduce the paper: train, attack, and put its figures beside ours.

    Everything is kept: an interrupted reproduction goes on where it was. The full run takes hours;
    see docs/reproduction.md for what it found.

    Example: fleet reproduce table1 --quick
    """
    from fleet.paper.parts import parts_of
    from fleet.paper.workspace import PROFILES, Workspace

    output = Output(form)
    home = Path("runs/reproduce-quick") if quick else Path("runs/reproduce")
    place = runs or home
    results = out or (home / "results" if quick else Path("results/reproduce"))
    workspace = Workspace(
        profiles=profiles or PROFILES,
        runs=place,
        results=results,
        data=data,
        quick=quick,
        # workers take longer to start than quick jobs
        stage=partial(_stage, output, jobs or (0 if quick else None)),
    )
    steps = parts_of(part, stand_in=stand_in)
    if dry_run:
        output.data(f"would make {', '.join(steps)} in {results}", {"parts": list(steps)})
        return
    missing = _perform(steps, workspace, output)
    if missing is not None:
        raise missing
    if part not in {Part.claims, Part.choices, Part.stems, Part.all}:
        output.next_command("fleet", "reproduce", "claims")


@contextmanager
def _stage(output: Output, workers: int | None, text: str, count: int) -> Iterator[Executor]:
    """Name a stage on stderr, and show the progress of its jobs."""
    output.note(f"{text}: {count} jobs")
    with FamilyProgress(output.stderr) as progress:
        yield Processes(workers, on_event=progress.update)


def _perform(steps: dict[str, Step], workspace: Workspace, output: Output) -> DataError | None:
    """Make each result; of several, one whose images are absent leaves the others running."""
    missing = None
    documents: dict[str, Any] = {}
    for name, step in steps.items():
        try:
            found, written = step.run(name, workspace)
        except DataError as error:
            if len(steps) == 1:
                raise
            output.note(f"left out {name}: {error.message}")
            missing = error
            continue
        documents[name] = found.to_dict()
        if output.form is not Format.json:
            output.data(step.view(found), documents[name])
        for path in written:
            output.note(f"wrote {path}")
    if output.form is Format.json:
        output.data("", documents)
    return missing
