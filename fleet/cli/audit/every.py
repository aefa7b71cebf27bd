"""``fleet audit all``."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from fleet.cli.audit.coalition import coalition
from fleet.cli.audit.options import (
    EpsOption,
    FailOnOption,
    ImagesOption,
    SeedOption,
    SplitChoice,
    SplitOption,
)
from fleet.cli.audit.query import query
from fleet.cli.audit.trace import trace
from fleet.cli.audit.transfer import transfer
from fleet.cli.audit.whitebox import whitebox
from fleet.cli.options import (
    DataRootOption,
    FormatOption,
    JobsOption,
    RunArgument,
    RunsOption,
    place_images,
)
from fleet.cli.output import Format, Output

COALITION_IMAGES, QUERY_IMAGES, TRACE_IMAGES = 200, 50, 100
"""At most so many images for the audits that cost more for each; their own defaults."""


def every(
    run: RunArgument = None,
    runs: RunsOption = Path("runs"),
    eps: EpsOption = None,
    images: ImagesOption = 500,
    split: SplitOption = SplitChoice.test,
    seed: SeedOption = 0,
    data_root: DataRootOption = None,
    jobs: JobsOption = None,
    fail_on: FailOnOption = None,
    form: FormatOption = Format.auto,
) -> None:
    """Make every audit of a run, from an attacker without a device to one who has the victim.

    White-box, transfer, coalition, query and trace, one after the other; the report then holds the
    whole ladder. Each audit is made to its end, also if a gate of an earlier one is not passed.

    Example: fleet audit all --images 200
    """
    from fleet.profiles.resolved import read_family
    from fleet.rundir import find_run

    output = Output(form)
    found = find_run(run, runs)  # once, so that a training that ends meanwhile changes nothing
    place_images(found, data_root)
    shared = {"run": found.root, "eps": eps, "split": split, "seed": seed, "jobs": jobs}
    gated = {**shared, "fail_on": fail_on}
    audits: list[tuple[Callable[..., None], dict[str, Any]]] = [
        (whitebox, {**gated, "images": images}),
        (transfer, {**gated, "images": images}),
        (query, {**gated, "images": min(images, QUERY_IMAGES)}),
    ]
    if len(read_family(found).devices) > 1:
        audits[2:2] = [
            (coalition, {**gated, "images": min(images, COALITION_IMAGES)}),
            (trace, {**shared, "images": min(images, TRACE_IMAGES)}),
        ]
    else:
        output.note("one device: there are no coalitions, and nothing to trace")
    written = [_one(audit, arguments, form) for audit, arguments in audits]
    if form is Format.json:
        names = [audit.__name__ for audit, _ in audits]
        output.data("", dict(zip(names, (made for made, _ in written), strict=True)))
    if not all(passed for _, passed in written):
        raise typer.Exit(1)


def _one(audit: Callable[..., None], arguments: dict[str, Any], form: Format) -> tuple[Any, bool]:
    """Run one command: the JSON document that it wrote, and whether it passed its gates."""
    caught = io.StringIO()
    passed = True
    with contextlib.redirect_stdout(caught) if form is Format.json else contextlib.nullcontext():
        try:
            audit(**arguments, form=form)
        except typer.Exit as stopped:
            passed = stopped.exit_code == 0
    return json.loads(caught.getvalue() or "null"), passed
