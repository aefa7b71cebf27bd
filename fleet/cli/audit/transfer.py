"""``fleet audit transfer``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fleet.audit.core.kind import KINDS
from fleet.cli import options
from fleet.cli.audit.conduct import conduct, find, prepare
from fleet.cli.audit.request import Request, audit_command

KIND = KINDS["transfer"]


@audit_command(KIND)
def transfer(
    asked: Request,
    norm: options.Norm = options.NormChoice.linf,
    steps: options.Steps = 15,
    restarts: options.Restarts = 3,
    sets_from: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="An audited run with some of the same devices: its adversarial images and their "
            "outcomes are used again where they fit, so a new device costs one row and one column.",
        ),
    ] = None,
) -> None:
    """Attack each device, and try the images on all others (the paper's Figure 3).

    Two protocols stand side by side: the paper's, which ascends its own loss, and an adaptive one,
    which ascends the output itself. Reliability checks say which of the figures mean anything.

    Example: fleet audit transfer --eps 0.1 --eps 8/255
    """
    from fleet.rundir import find_run

    subject = find(replace(asked, norm=norm))
    source = None if sets_from is None else find_run(sets_from, asked.runs)
    work = prepare(KIND, subject, steps=steps, restarts=restarts, norm=norm.value)
    work = replace(work, arguments={"sets_from": source})
    conduct(work, subject, then="package {run}")
