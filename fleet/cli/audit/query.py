"""``fleet audit query``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.audit.gates import judge
from fleet.cli.audit.options import (
    EpsOption,
    FailOnOption,
    ImagesOption,
    MaxAsrOption,
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
    from fleet.audit.query.result import QueryAudit
    from fleet.rundir import RunDirectory


class MethodChoice(StrEnum):
    """How the attacker asks."""

    noise = "noise"
    square = "square"
    decision = "decision"
    extraction = "extraction"
    owned = "transfer+queries"


QueriesOption = Annotated[int, typer.Option(min=1, help="Queries on each image.")]
ExtractionOption = Annotated[
    list[int] | None,
    typer.Option(
        "--extraction",
        min=1,
        help="Queries in total to train a surrogate on; repeat it. By default 100 and 300.",
    ),
]
VictimOption = Annotated[
    list[str] | None,
    typer.Option("--victim", help="Ask this device only; repeat for several. By default all."),
]
MethodOption = Annotated[
    list[MethodChoice] | None,
    typer.Option("--method", help="How to ask; repeat it. By default every way."),
]


def query(
    run: RunArgument = None,
    runs: RunsOption = Path("runs"),
    eps: EpsOption = None,
    images: ImagesOption = 50,
    split: SplitOption = SplitChoice.test,
    queries: QueriesOption = 300,
    extraction: ExtractionOption = None,
    victim: VictimOption = None,
    method: MethodOption = None,
    steps: StepsOption = 15,
    seed: SeedOption = 0,
    data_root: DataRootOption = None,
    jobs: JobsOption = None,
    max_asr: MaxAsrOption = None,
    fail_on: FailOnOption = None,
    dry_run: DryRunOption = False,
    form: FormatOption = Format.auto,
) -> None:
    """Ask devices without owning them: what do a few hundred queries give?

    Attackers who see scores, who see the class only, who train a surrogate on the answers, and who
    own all the other devices; every query is counted.

    Example: fleet audit query --victim cam-01 --queries 1000
    """
    from fleet.profiles.resolved import read_family
    from fleet.rundir import find_run

    output = Output(form)
    radii = tuple(map(parse_eps, eps or ()))
    found = find_run(run, runs)
    place_images(found, data_root, dry_run)
    family = read_family(found)
    images = present(found, split, images)

    from fleet.audit.query.run import audit_run_query  # torch, once the small things are right
    from fleet.audit.query.settings import METHODS, QuerySettings

    settings = QuerySettings(
        eps=radii or default_eps(family),
        queries=queries,
        methods=tuple(choice.value for choice in method) if method else METHODS,
        extraction=tuple(extraction) if extraction else (100, 300),
        steps=steps,
        seed=seed,
    )
    count = len(victim or family.trained)
    output.note(
        f"auditing {found.root}: {count} victims, {images} {split.value} images, up to "
        f"{queries} queries each, eps {', '.join(f'{value:.4g}' for value in settings.eps)}"
    )
    if dry_run:
        value = {"run": str(found.root), "images": images, "settings": settings.to_dict()}
        output.data("nothing is asked and nothing is written", value)
        return
    with FamilyProgress(len(family.trained) + count, output.stderr) as progress:
        audit = audit_run_query(
            found,
            settings,
            images=images,
            victims=tuple(victim or ()),
            executor=Processes(jobs, on_event=progress.update),
            split=split.value,
        )
    _report(found, audit, output)
    judge(audit, max_asr, fail_on, output)


def _report(run: RunDirectory, audit: QueryAudit, output: Output) -> None:
    from fleet.cli.audit.publish import publish
    from fleet.reports.views import audit_view

    publish(
        audit,
        run,
        "query",
        audit_view(audit),
        output,
        then=("audit", "trace", run.root),
    )
