"""``fleet audit whitebox``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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
    curve_eps,
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
    from fleet.audit.whitebox.result import WhiteboxAudit
    from fleet.rundir import RunDirectory


def whitebox(
    run: RunArgument = None,
    runs: RunsOption = Path("runs"),
    eps: EpsOption = None,
    norm: NormOption = NormChoice.linf,
    images: ImagesOption = 500,
    split: SplitOption = SplitChoice.test,
    steps: StepsOption = 15,
    restarts: RestartsOption = 3,
    seed: SeedOption = 0,
    data_root: DataRootOption = None,
    jobs: JobsOption = None,
    max_asr: MaxAsrOption = None,
    fail_on: FailOnOption = None,
    dry_run: DryRunOption = False,
    form: FormatOption = Format.auto,
) -> None:
    """Attack each device with its own weights known (the paper's Tables 1 and 2).

    Both protocols at several eps, with the noise floor, the distances that minimum-norm attacks
    need, and the reliability checks that say which of the figures mean anything.

    Example: fleet audit whitebox --eps 0.1 --eps 0.2 --eps 0.3
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
    from fleet.audit.whitebox.run import audit_run_whitebox

    settings = TransferSettings(
        eps=radii or curve_eps(family, norm),
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
    with FamilyProgress(len(family.trained), output.stderr) as progress:
        audit = audit_run_whitebox(
            found,
            settings,
            images=images,
            executor=Processes(jobs, on_event=progress.update),
            split=split.value,
        )
    _report(found, audit, output)
    judge(audit, max_asr, fail_on, output)


def _report(run: RunDirectory, audit: WhiteboxAudit, output: Output) -> None:
    from fleet.cli.audit.publish import publish
    from fleet.reports.views import audit_view

    publish(
        audit,
        run,
        "whitebox",
        audit_view(audit),
        output,
        then=("audit", "transfer", run.root),
    )
