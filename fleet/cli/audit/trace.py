"""``fleet audit trace``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.audit.options import (
    EpsOption,
    ImagesOption,
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
    from fleet.audit.trace.result import TraceAudit
    from fleet.rundir import RunDirectory

CalibrationOption = Annotated[
    int, typer.Option("--calibration", min=2, help="Validation images to calibrate on.")
]
FalsePositivesOption = Annotated[
    float,
    typer.Option(min=0, max=1, help="Share of innocent evidence that may accuse a device."),
]
AdversarialOption = Annotated[
    Path | None,
    typer.Option(
        help="Images of unknown origin to trace: .npy, .safetensors (uint8), or a directory of "
        "PNG files. Uses the calibration of the last `fleet audit trace`."
    ),
]
OriginalsOption = Annotated[
    Path | None, typer.Option(help="Their originals, in the same order and form.")
]
LabelsOption = Annotated[
    Path | None,
    typer.Option(help="Their classes, .npy or .safetensors; by default what most devices say."),
]


def trace(
    run: RunArgument = None,
    runs: RunsOption = Path("runs"),
    eps: EpsOption = None,
    images: ImagesOption = 100,
    calibration: CalibrationOption = 60,
    false_positives: FalsePositivesOption = 0.05,
    split: SplitOption = SplitChoice.test,
    steps: StepsOption = 15,
    seed: SeedOption = 0,
    adversarial: AdversarialOption = None,
    originals: OriginalsOption = None,
    labels: LabelsOption = None,
    data_root: DataRootOption = None,
    jobs: JobsOption = None,
    dry_run: DryRunOption = False,
    form: FormatOption = Format.auto,
) -> None:
    """Name the device on which adversarial images were made.

    Without --adversarial: make images on each device, on the controls and on networks of nobody's,
    and say how often the source is named. With it: name the device of the given images. Exit code
    1 says that none of ours made them.

    Example: fleet audit trace --adversarial found.npy --originals clean.npy
    """
    from fleet.profiles.resolved import read_family
    from fleet.rundir import find_run

    output = Output(form)
    radii = tuple(map(parse_eps, eps or ()))
    if (adversarial is None) != (originals is None) or (labels and adversarial is None):
        raise typer.BadParameter("--adversarial and --originals go together")
    found = find_run(run, runs)
    place_images(found, data_root, dry_run)
    if adversarial is not None and originals is not None:
        _name(found, adversarial, originals, labels, output)
        return
    family = read_family(found)
    if split is SplitChoice.validation:  # both are parts of it
        images = max(0, present(found, split, images + calibration) - calibration)
    images = present(found, split, images)
    calibration = present(found, SplitChoice.validation, calibration)

    from fleet.audit.trace.run import audit_run_trace  # torch, once the small things are right
    from fleet.audit.trace.settings import TraceSettings

    settings = TraceSettings(
        eps=radii or default_eps(family),
        false_positives=false_positives,
        steps=steps,
        seed=seed,
    )
    output.note(
        f"auditing {found.root}: {len(family.devices)} devices, {images} {split.value} images, "
        f"calibrated on {calibration}, eps {', '.join(f'{value:.4g}' for value in settings.eps)}"
    )
    if dry_run:
        value = {"run": str(found.root), "images": images, "settings": settings.to_dict()}
        output.data("nothing is attacked and nothing is written", value)
        return
    with FamilyProgress(len(family.trained), output.stderr) as progress:
        audit = audit_run_trace(
            found,
            settings,
            images=images,
            calibration_images=calibration,
            executor=Processes(jobs, on_event=progress.update),
            split=split.value,
        )
    _report(found, audit, output)


def _report(run: RunDirectory, audit: TraceAudit, output: Output) -> None:
    from fleet.cli.audit.publish import publish
    from fleet.reports.views import audit_view

    publish(
        audit,
        run,
        "trace",
        audit_view(audit),
        output,
        then=("audit", "trace", run.root, "--adversarial", "FILE", "--originals", "FILE"),
    )


def _name(
    run: RunDirectory, adversarial: Path, originals: Path, labels: Path | None, output: Output
) -> None:
    """Trace images of unknown origin."""
    from fleet.audit.trace.run import trace_files
    from fleet.reports.trace import tracing_view

    found = trace_files(run, adversarial, originals, labels)
    output.data(tracing_view(found), {**asdict(found), "named": found.named})
    if found.named is None:
        raise typer.Exit(1)
