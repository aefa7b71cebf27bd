"""``fleet audit query``."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fleet.audit.core.kind import KINDS
from fleet.cli import options
from fleet.cli.audit.conduct import Request, conduct, find, prepare
from fleet.cli.output import Format

KIND = KINDS["query"]


class MethodChoice(StrEnum):
    """How the attacker asks."""

    noise = "noise"
    square = "square"
    decision = "decision"
    extraction = "extraction"
    owned = "transfer+queries"


def query(
    run: options.Run = None,
    runs: options.Runs = Path("runs"),
    eps: options.Eps = None,
    images: options.Images = KIND.images,
    split: options.Split = options.SplitChoice.test,
    queries: Annotated[int, typer.Option(min=1, help="Queries on each image.")] = 300,
    extraction: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            help="Queries in total to train a surrogate on; repeat it. By default 100 and 300.",
        ),
    ] = None,
    victim: Annotated[
        list[str] | None,
        typer.Option(help="Ask this device only; repeat for several. By default all."),
    ] = None,
    method: Annotated[
        list[MethodChoice] | None,
        typer.Option(help="How to ask; repeat it. By default every way."),
    ] = None,
    steps: options.Steps = 15,
    seed: options.Seed = 0,
    data_root: options.DataRoot = None,
    jobs: options.Jobs = None,
    max_asr: options.MaxAsr = None,
    fail_on: options.Fail = None,
    dry_run: options.DryRun = False,
    form: options.Form = Format.auto,
) -> None:
    """Ask devices without owning them: what do a few hundred queries give?

    Attackers who see scores, who see the class only, who train a surrogate on the answers, and who
    own all the other devices; every query is counted.

    Example: fleet audit query --victim cam-01 --queries 1000
    """
    shared = (run, runs, eps, images, split, seed, data_root, jobs, form, dry_run, fail_on)
    subject = find(Request(*shared, max_asr))
    more: dict[str, tuple[object, ...]] = {}
    if method:
        more["methods"] = tuple(choice.value for choice in method)
    if extraction:
        more["extraction"] = tuple(extraction)
    work = prepare(KIND, subject, queries=queries, steps=steps, **more)
    asked = f"{len(victim or subject.family.trained)} victims with up to {queries} queries each"
    work = replace(work, arguments={"victims": tuple(victim or ())}, words=(asked,))
    conduct(work, subject, then="audit trace {run}")
