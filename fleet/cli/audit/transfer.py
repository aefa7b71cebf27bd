"""``fleet audit transfer``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.audit.gates import judge
from fleet.cli.audit.options import (
    EpsOption,
    FailOnOption,
    ImagesOption,
    MaxAsrOption,
    NormChoice,
    NormOption,
    RestartsOption,
    SeedOption,
    SplitChoice,
    SplitOption,
    StepsOption,
    default_eps,
    parse_radii,
    present,
)
from fleet.cli.options import (
    DataRootOption,
    DryRunOption,
    FormatOption,
    JobsOption,
    RunArgument,
    RunsOption,
    place_images,
)
from fleet.cli.output import Format, Output
from fleet.cli.progress import FamilyProgress
from fleet.execution import Processes

if TYPE_CHECKING:
    from fleet.audit.core.members import TransferSettings
    from fleet.audit.core.result import TransferAudit
    from fleet.profiles.spec import FamilySpec
    from fleet.rundir import RunDirectory

SetsFromOption = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN",
        help="An audited run with some of the same devices: its adversarial images and their "
        "outcomes are used again where they fit, so a new device costs one row and one column.",
    ),
]


def transfer(
    run: RunArgument = None,
    runs: RunsOption = Path("runs"),
    eps: EpsOption = None,
    norm: NormOption = NormChoice.linf,
    images: ImagesOption = 500,
    split: SplitOption = SplitChoice.test,
    steps: StepsOption = 15,
    restarts: RestartsOption = 3,
    seed: SeedOption = 0,
    sets_from: SetsFromOption = None,
    data_root: DataRootOption = None,
    jobs: JobsOption = None,
    max_asr: MaxAsrOption = None,
    fail_on: FailOnOption = None,
    dry_run: DryRunOption = False,
    form: FormatOption = Format.auto,
) -> None:
    """Attack each device, and try the images on all others (the paper's Figure 3).

    Two protocols stand side by side: the paper's, which ascends its own loss, and an adaptive one,
    which ascends the output itself. Reliability checks say which of the figures mean anything.

    Example: fleet audit transfer --eps 0.1 --eps 8/255
    """
    from fleet.profiles.resolved import read_family
    from fleet.rundir import find_run

    output = Output(form)
    radii = parse_radii(eps, norm)
    found = find_run(run, runs)
    place_images(found, data_root, dry_run)
    family = read_family(found)
    images = present(found, split, images)

    from fleet.audit.core.members import TransferSettings  # torch, once the small things are right

    settings = TransferSettings(
        eps=radii or default_eps(family, norm),
        steps=steps,
        restarts=restarts,
        seed=seed,
        norm=norm.value,
    )
    output.note(
        f"auditing {found.root}: {len(family.trained)} devices, {images} {split.value} images, "
        f"{norm.value} eps {', '.join(f'{value:.4g}' for value in settings.eps)}"
    )
    if dry_run:
        value = {"run": str(found.root), "images": images, "settings": settings.to_dict()}
        output.data("nothing is attacked and nothing is written", value)
        return
    source = None if sets_from is None else find_run(sets_from, runs)
    audit = _run(found, family, settings, images, split, source, jobs, output)
    _report(found, audit, output)
    judge(audit, max_asr, fail_on, output)


def _run(
    run: RunDirectory,
    family: FamilySpec,
    settings: TransferSettings,
    images: int,
    split: SplitChoice,
    source: RunDirectory | None,
    jobs: int | None,
    output: Output,
) -> TransferAudit:
    from fleet.audit.core.jobs import audit_run_transfer

    with FamilyProgress(2 * len(family.trained), output.stderr) as progress:
        return audit_run_transfer(
            run,
            settings,
            images=images,
            executor=Processes(jobs, on_event=progress.update),
            split=split.value,
            sets_from=source,
        )


def _report(run: RunDirectory, audit: TransferAudit, output: Output) -> None:
    from fleet.cli.audit.publish import publish
    from fleet.reports.views import audit_view

    publish(
        audit,
        run,
        "transfer",
        audit_view(audit),
        output,
        then=("package", run.root),
    )
