"""``fleet audit crosscheck``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.audit.gates import close
from fleet.cli.audit.options import (
    EpsOption,
    ImagesOption,
    RestartsOption,
    SeedOption,
    SplitChoice,
    SplitOption,
    StepsOption,
    default_eps,
    present,
)
from fleet.cli.options import (
    DataRootOption,
    DryRunOption,
    FormatOption,
    JobsOption,
    RunArgument,
    RunsOption,
    parse_eps,
    place_images,
)
from fleet.cli.output import Format, Output
from fleet.cli.progress import FamilyProgress
from fleet.execution import Processes

if TYPE_CHECKING:
    from fleet.audit.crosscheck.result import Crosscheck
    from fleet.audit.crosscheck.tools import Tool


def crosscheck(
    run: RunArgument = None,
    runs: RunsOption = Path("runs"),
    eps: EpsOption = None,
    images: ImagesOption = 200,
    split: SplitOption = SplitChoice.test,
    steps: StepsOption = 15,
    restarts: RestartsOption = 3,
    seed: SeedOption = 0,
    tool: Annotated[
        list[str] | None,
        typer.Option(
            "--tool", help="torchattacks, foolbox, art or autoattack; repeat it. By default all."
        ),
    ] = None,
    tool_steps: Annotated[
        int, typer.Option(min=1, help="Steps of each attack of a library.")
    ] = 100,
    queries: Annotated[
        int, typer.Option(min=1, help="Forward passes of a gradient-free attack for each image.")
    ] = 1000,
    tolerance: Annotated[
        float,
        typer.Option(min=0, max=1, help="Evade rate that a library may find beyond our own."),
    ] = 0.005,
    data_root: DataRootOption = None,
    jobs: JobsOption = None,
    dry_run: DryRunOption = False,
    form: FormatOption = Format.auto,
) -> None:
    """Let other libraries attack the same images: exit code 1 if any finds more than we do.

    torchattacks, foolbox, ART and AutoAttack run through an adapter that gives an interval
    classifier pseudo-logits; their images are scored as our own. `make crosscheck` installs them
    into an environment of their own and checks there.

    Example: fleet audit crosscheck --eps 0.1 --images 200
    """
    from fleet.profiles.resolved import read_family
    from fleet.rundir import find_run

    output = Output(form)
    radii = tuple(map(parse_eps, eps or ()))
    found = find_run(run, runs)
    place_images(found, data_root, dry_run)
    family = read_family(found)
    images = present(found, split, images)

    from fleet.audit.core.members import TransferSettings
    from fleet.audit.crosscheck.audit import ToolEffort, installed
    from fleet.audit.crosscheck.run import crosscheck_run

    settings = TransferSettings(
        eps=radii or default_eps(family),
        steps=steps,
        restarts=restarts,
        seed=seed,
    )
    effort = ToolEffort(steps=tool_steps, queries=queries, tolerance=tolerance)
    chosen = _choose(tool)
    names = ", ".join(part.name for part in installed(chosen))
    output.note(
        f"cross-checking {found.root} with {names}: {len(family.devices)} devices, {images} "
        f"{split.value} images, eps {', '.join(f'{value:.4g}' for value in settings.eps)}"
    )
    if dry_run:
        value = {"run": str(found.root), "images": images, "settings": settings.to_dict()}
        output.data("nothing is attacked and nothing is written", value)
        return
    with FamilyProgress(len(family.devices), output.stderr) as progress:
        check = crosscheck_run(
            found,
            settings,
            effort,
            images=images,
            tools=chosen,
            executor=Processes(jobs, on_event=progress.update),
            split=split.value,
        )
    path = found.audit("crosscheck") / "audit.json"
    check.save(path)
    _report(check, path, tool or [], output)


def _choose(names: list[str] | None) -> tuple[Tool, ...]:
    from fleet.audit.crosscheck.tools import TOOLS

    known = {tool.name: tool for tool in TOOLS}
    for name in names or ():
        if name not in known:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(known)}")
    return tuple(tool for tool in TOOLS if not names or tool.name in names)


def _report(check: Crosscheck, path: Path, asked: list[str], output: Output) -> None:
    from fleet.errors import BackendError
    from fleet.reports.crosscheck import crosscheck_view

    output.data(crosscheck_view(check), check.to_dict())
    output.note(f"wrote {path}")
    if len(check.failed) == len(check.figures):
        raise BackendError(
            "every attack of every library failed, so nothing was compared",
            hint="`make crosscheck` installs the versions that this was tested with",
        )
    more = ["a library finds more than the native audit"] if check.exceeding else []
    close([*more, *check.gaps(asked)], output)
