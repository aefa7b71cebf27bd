"""``fleet audit certify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleet.audit.core.kind import KINDS
from fleet.cli import options
from fleet.cli.audit.conduct import Request, conduct, find, prepare
from fleet.cli.output import Format

KIND = KINDS["certify"]


def certify(
    run: options.Run = None,
    runs: options.Runs = Path("runs"),
    eps: options.Eps = None,
    images: options.Images = KIND.images,
    split: options.Split = options.SplitChoice.test,
    radii: Annotated[
        int, typer.Option(min=0, help="Images whose largest certified eps is searched for.")
    ] = 500,
    tight: Annotated[
        bool, typer.Option("--tight", help="Try CROWN-IBP where intervals prove nothing; minutes.")
    ] = False,
    seed: options.Seed = 0,
    data_root: options.DataRoot = None,
    jobs: options.Jobs = None,
    max_asr: options.MaxAsr = None,
    fail_on: options.Fail = None,
    dry_run: options.DryRun = False,
    form: options.Form = Format.auto,
) -> None:
    """Prove what no attacker can do: certified shares and the guaranteed blast radius.

    For devices of the architectures cnn and nn. --max-asr demands that the guarantee itself is so
    low.

    Example: fleet audit certify --eps 0.1 --eps 0.2
    """
    shared = (run, runs, eps, images, split, seed, data_root, jobs, form, dry_run, fail_on)
    subject = find(Request(*shared, max_asr))
    work = prepare(KIND, subject, radii=radii, tight=tight)
    conduct(work, subject, then="audit transfer {run}")
