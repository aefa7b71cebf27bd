"""``fleet audit trace``."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from fleet.cli import options
from fleet.cli.audit.conduct import Subject, conduct, find, prepare
from fleet.cli.audit.request import Request, audit_command


@audit_command("trace")
def trace(
    asked: Request,
    calibration: Annotated[
        int, typer.Option(min=2, help="Validation images to calibrate on.")
    ] = 60,
    false_positives: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of innocent evidence that may accuse a device."),
    ] = 0.05,
    steps: options.Steps = 15,
    restarts: options.Restarts = 3,
    adversarial: Annotated[
        Path | None,
        typer.Option(
            help="Images of unknown origin to trace: .npy, .safetensors (uint8), or a directory of "
            "PNG files. Uses the calibration of the last `fleet audit trace`."
        ),
    ] = None,
    originals: Annotated[
        Path | None, typer.Option(help="Their originals, in the same order and form.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Their classes, .npy or .safetensors; by default what most devices say."),
    ] = None,
) -> None:
    """Name the device on which adversarial images were made.

    Without --adversarial: make images on each device, on the controls and on an attacker's own
    networks, and say how often the source is named. With it: name the device of the given images.
    Exit code 1 says that none of ours made them.

    Example: fleet audit trace --adversarial found.npy --originals clean.npy
    """
    if (adversarial is None) != (originals is None) or (labels and adversarial is None):
        raise typer.BadParameter("--adversarial and --originals go together")
    validated = asked.split is options.SplitChoice.validation
    subject = find(replace(asked, images=asked.images + calibration) if validated else asked)
    if adversarial is not None and originals is not None:
        _name(subject, adversarial, originals, labels)
        return
    work = prepare(subject, steps=steps, restarts=restarts, false_positives=false_positives)
    calibration = subject.count(options.SplitChoice.validation, calibration)
    if validated:  # both are parts of it
        work = replace(work, images=max(0, work.images - calibration))
    work = replace(
        work,
        arguments={"calibration_images": calibration},
        words=(f"calibrated on {calibration}",),
    )
    conduct(work, subject, then="audit trace {run} --adversarial FILE --originals FILE")


def _name(subject: Subject, adversarial: Path, originals: Path, labels: Path | None) -> None:
    """Trace images of unknown origin."""
    from fleet.audit.trace.unknown import trace_files
    from fleet.reports.trace import tracing_view

    found = trace_files(subject.run, adversarial, originals, labels)
    subject.output.data(tracing_view(found), {**asdict(found), "named": found.named})
    if found.named is None:
        raise typer.Exit(1)
