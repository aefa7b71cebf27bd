"""``fleet audit whitebox``."""

from __future__ import annotations

from pathlib import Path

from fleet.audit.core.kind import KINDS
from fleet.cli import options
from fleet.cli.audit.conduct import Request, conduct, find, prepare
from fleet.cli.output import Format

KIND = KINDS["whitebox"]


def whitebox(
    run: options.Run = None,
    runs: options.Runs = Path("runs"),
    eps: options.Eps = None,
    norm: options.Norm = options.NormChoice.linf,
    images: options.Images = KIND.images,
    split: options.Split = options.SplitChoice.test,
    steps: options.Steps = 15,
    restarts: options.Restarts = 3,
    seed: options.Seed = 0,
    data_root: options.DataRoot = None,
    jobs: options.Jobs = None,
    max_asr: options.MaxAsr = None,
    fail_on: options.Fail = None,
    dry_run: options.DryRun = False,
    form: options.Form = Format.auto,
) -> None:
    """Attack each device with its own weights known (the paper's Tables 1 and 2).

    Both protocols at several eps, with the noise floor, the distances that minimum-norm attacks
    need, and the reliability checks that say which of the figures mean anything.

    Example: fleet audit whitebox --eps 0.1 --eps 0.2 --eps 0.3
    """
    shared = (run, runs, eps, images, split, seed, data_root, jobs, form, dry_run, fail_on)
    subject = find(Request(*shared, max_asr, norm))
    work = prepare(KIND, subject, steps=steps, restarts=restarts, norm=norm.value)
    conduct(work, subject, then="audit transfer {run}")
