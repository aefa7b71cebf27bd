"""``fleet audit coalition``."""

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
    from fleet.audit.coalition.result import CoalitionAudit
    from fleet.audit.coalition.settings import Coalition, CoalitionSettings
    from fleet.profiles.spec import FamilySpec
    from fleet.rundir import RunDirectory


class JointChoice(StrEnum):
    """How an attacker weighs the devices that they own."""

    uniform = "uniform"
    reweighed = "reweighed"
    min_max = "min-max"
    arc = "arc"


AttackOption = Annotated[
    list[JointChoice] | None,
    typer.Option(
        "--attack",
        help="How owned devices are weighed against each other; repeat it. By default uniform and "
        "min-max, and of both the image that does better on them.",
    ),
]
CoalitionsOption = Annotated[
    int,
    typer.Option(min=1, help="Random coalitions of each size; all of a size if there are no more."),
]
MaxShareOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Exit code 1 if coalitions of some size bring down more of the remaining fleet.",
    ),
]


def coalition(
    run: RunArgument = None,
    runs: RunsOption = Path("runs"),
    eps: EpsOption = None,
    images: ImagesOption = 200,
    split: SplitOption = SplitChoice.test,
    steps: StepsOption = 10,
    restarts: RestartsOption = 2,
    attack: AttackOption = None,
    coalitions: CoalitionsOption = 6,
    seed: SeedOption = 0,
    data_root: DataRootOption = None,
    jobs: JobsOption = None,
    max_share: MaxShareOption = None,
    fail_on: FailOnOption = None,
    dry_run: DryRunOption = False,
    form: FormatOption = Format.auto,
) -> None:
    """Let an attacker own 1 to N-1 devices: how much of the remaining fleet falls?

    One image is made on all owned devices together and tried on the others. Coalitions are drawn
    at random, and built greedily by who gains most on held-out validation images.

    Example: fleet audit coalition --eps 0.1 --coalitions 10
    """
    from fleet.profiles.resolved import read_family
    from fleet.rundir import find_run

    output = Output(form)
    radii = tuple(map(parse_eps, eps or ()))
    found = find_run(run, runs)
    place_images(found, data_root, dry_run)
    family = read_family(found)
    images = present(found, split, images)

    # These load torch: once the small things are right.
    from fleet.audit.coalition.audit import require_fleet
    from fleet.audit.coalition.run import audit_run_coalition
    from fleet.audit.coalition.settings import CoalitionSettings
    from fleet.audit.core.members import TransferSettings

    effort = TransferSettings(
        eps=radii or default_eps(family), steps=steps, restarts=restarts, seed=seed
    )
    settings = CoalitionSettings(effort, coalitions=coalitions)
    if attack:
        settings = CoalitionSettings(
            effort, tuple(choice.value for choice in attack), coalitions=coalitions
        )
    require_fleet([device.name for device in family.devices])
    listed = _listed(family, settings)
    output.note(
        f"auditing {found.root}: {len(family.devices)} devices, {len(listed)} coalitions and up to "
        f"{len(family.devices) - 1} greedy ones, {images} {split.value} images, "
        f"eps {', '.join(f'{value:.4g}' for value in settings.eps)}"
    )
    if dry_run:
        value = {
            "run": str(found.root),
            "images": images,
            "coalitions": [list(coalition.owned) for coalition in listed],
            "settings": settings.to_dict(),
        }
        output.data("nothing is attacked and nothing is written", value)
        return
    count = len(family.trained) + len(family.devices) + len(listed)
    with FamilyProgress(count, output.stderr) as progress:
        audit = audit_run_coalition(
            found,
            settings,
            images=images,
            executor=Processes(jobs, on_event=progress.update),
            split=split.value,
        )
    _report(found, audit, output)
    judge(audit, max_share, fail_on, output)


def _listed(family: FamilySpec, settings: CoalitionSettings) -> tuple[Coalition, ...]:
    """Coalitions that are known before the greedy choice."""
    from fleet.audit.coalition.settings import choose_coalitions

    names = [device.name for device in family.devices]
    return choose_coalitions(names, (), settings, controls=bool(family.controls))


def _report(run: RunDirectory, audit: CoalitionAudit, output: Output) -> None:
    from fleet.cli.audit.publish import publish
    from fleet.reports.views import audit_view

    publish(
        audit,
        run,
        "coalition",
        audit_view(audit),
        output,
        then=("audit", "query", run.root),
    )
