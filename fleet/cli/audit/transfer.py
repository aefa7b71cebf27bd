"""``fleet audit transfer``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fleet.cli.audit.options import (
    EpsOption,
    FailOn,
    FailOnOption,
    ImagesOption,
    MaxAsrOption,
    RestartsOption,
    SeedOption,
    SplitChoice,
    SplitOption,
    StepsOption,
    default_eps,
)
from fleet.cli.options import (
    DryRunOption,
    FormatOption,
    JobsOption,
    RunArgument,
    RunsOption,
    parse_eps,
)
from fleet.cli.output import Format, Output
from fleet.cli.progress import FamilyProgress

if TYPE_CHECKING:
    from fleet.audit.members import TransferSettings
    from fleet.audit.result import TransferAudit
    from fleet.profiles.spec import FamilySpec
    from fleet.rundir import RunDirectory


def transfer(
    run: RunArgument = None,
    runs: RunsOption = Path("runs"),
    eps: EpsOption = None,
    images: ImagesOption = 500,
    split: SplitOption = SplitChoice.test,
    steps: StepsOption = 20,
    restarts: RestartsOption = 2,
    seed: SeedOption = 0,
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
    radii = tuple(map(parse_eps, eps or ()))
    found = find_run(run, runs)
    family = read_family(found)

    from fleet.audit.members import TransferSettings  # torch, once the small things are right

    settings = TransferSettings(
        eps=radii or default_eps(family),
        steps=steps,
        restarts=restarts,
        seed=seed,
    )
    output.note(
        f"auditing {found.root}: {len(family.devices)} devices, {images} {split.value} images, "
        f"eps {', '.join(f'{value:.4g}' for value in settings.eps)}"
    )
    if dry_run:
        value = {"run": str(found.root), "images": images, "settings": settings.to_dict()}
        output.data("nothing is attacked and nothing is written", value)
        return
    audit = _run(found, family, settings, images, split, jobs, output)
    _report(found, audit, output)
    _judge(audit, max_asr, fail_on, output)


def _run(
    run: RunDirectory,
    family: FamilySpec,
    settings: TransferSettings,
    images: int,
    split: SplitChoice,
    jobs: int | None,
    output: Output,
) -> TransferAudit:
    from fleet.audit.run import audit_run_transfer

    with FamilyProgress(len(family.devices), output.stderr) as progress:
        return audit_run_transfer(
            run,
            settings,
            images=images,
            workers=jobs,
            split=split.value,
            on_event=progress.update,
        )


def _report(run: RunDirectory, audit: TransferAudit, output: Output) -> None:
    from fleet.reports import write_reports
    from fleet.reports.terminal import audit_view

    directory = run.audit("transfer")
    audit.save(directory / "audit.json")
    written = write_reports(audit, directory)
    output.data(audit_view(audit), audit.to_dict())
    for path in (directory / "audit.json", *written):
        output.note(f"wrote {path}")
    output.next_command("fleet package")


def _judge(
    audit: TransferAudit, max_asr: float | None, fail_on: FailOn | None, output: Output
) -> None:
    from fleet.audit.checks import masked

    reasons = []
    if fail_on is FailOn.masked and masked(audit):
        reasons.append("the adaptive figures fail a reliability check")
    if max_asr is not None:
        reasons += _above(audit, max_asr)
    for reason in reasons:
        output.note(f"gate: {reason}")
    if reasons:
        raise typer.Exit(1)


def _above(audit: TransferAudit, limit: float) -> list[str]:
    """Name the worst transfer of each eps that is above ``limit``."""
    found = []
    for eps in audit.eps:
        cells = audit.matrix("adaptive", eps).cells
        between = [(c.outcome.rate("evade") or 0.0, c) for c in cells if c.surrogate != c.victim]
        rate, cell = max(between, key=lambda pair: pair[0], default=(0.0, None))
        if cell is not None and rate > limit:
            found.append(
                f"evade {rate:.3f} from {cell.surrogate} to {cell.victim} at eps {eps:.4g} "
                f"is above {limit:g}"
            )
    return found
