"""Command of the toy: ``fleet/cli/audit/x.py`` of a real audit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleet.audit.core.kind import KINDS
from fleet.cli import options
from fleet.cli.audit.conduct import Request, conduct, find, prepare
from fleet.cli.output import Format


def toy(
    run: options.Run = None,
    runs: options.Runs = Path("runs"),
    eps: options.Eps = None,
    images: options.Images = 10,
    split: options.Split = options.SplitChoice.test,
    depth: Annotated[int, typer.Option(help="How deep to play.")] = 3,
    seed: options.Seed = 0,
    data_root: options.DataRoot = None,
    jobs: options.Jobs = None,
    max_asr: options.MaxAsr = None,
    fail_on: options.Fail = None,
    dry_run: options.DryRun = False,
    form: options.Form = Format.auto,
) -> None:
    """Play with a device."""
    shared = (run, runs, eps, images, split, seed, data_root, jobs, form, dry_run, fail_on)
    subject = find(Request(*shared, max_asr))
    conduct(prepare(KINDS["toy"], subject, depth=depth), subject, then="audit toy {run}")
