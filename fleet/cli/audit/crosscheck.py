"""``fleet audit crosscheck``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.audit.core.kind import Kind
from fleet.cli import options
from fleet.cli.audit import conduct as audits
from fleet.cli.audit.request import Request, audit_command
from fleet.cli.gates import close
from fleet.errors import BackendError

if TYPE_CHECKING:
    from fleet.audit.crosscheck.result import Crosscheck
    from fleet.audit.crosscheck.tools import Tool

KIND = Kind(
    name="crosscheck",
    title="Cross-check",
    result="fleet.audit.crosscheck.result:Crosscheck",
    settings="fleet.audit.core.members:TransferSettings",
    run="fleet.audit.crosscheck.audit:crosscheck_run",
    report="",
    command="",
    images=200,
)
"""Not registered: it judges our own audit, and no report is drawn of it."""


@audit_command(KIND)
def crosscheck(
    asked: Request,
    steps: options.Steps = 15,
    restarts: options.Restarts = 3,
    tool: Annotated[
        list[str] | None,
        typer.Option(help="torchattacks, foolbox, art or autoattack; repeat it. By default all."),
    ] = None,
    tool_steps: Annotated[
        int, typer.Option(min=1, help="Steps of each attack of a library.")
    ] = 100,
    queries: Annotated[
        int, typer.Option(min=1, help="Forward passes of a gradient-free attack for each image.")
    ] = 1000,
    tolerance: Annotated[
        float,
        typer.Option(min=0, max=1, help="Evade rate that a library may find beyond our own."),
    ] = 0.005,
) -> None:
    """Let other libraries attack the same images: exit code 1 if any finds more than we do.

    torchattacks, foolbox, ART and AutoAttack run through an adapter that gives an interval
    classifier pseudo-logits; their images are scored as our own. `make crosscheck` installs them
    into an environment of their own and checks there.

    Example: fleet audit crosscheck --eps 0.1 --images 200
    """
    if asked.form is options.AuditFormat.junit:
        raise typer.BadParameter("a cross-check has no JUnit report", param_hint="--format")
    subject = audits.find(asked)
    work = audits.prepare(subject, steps=steps, restarts=restarts)

    from fleet.audit.crosscheck.audit import ToolEffort, installed

    chosen = _choose(tool)
    effort = ToolEffort(steps=tool_steps, queries=queries, tolerance=tolerance)
    work = replace(
        work,
        arguments={"effort": effort, "tools": chosen},
        words=(f"with {', '.join(part.name for part in installed(chosen))}",),
    )
    audits.announce(work, subject)
    if asked.dry_run:
        subject.output.data("nothing is attacked", audits.planned(work, subject))
        return
    check = audits.perform(work, subject)
    audits.keep(check, KIND, subject)
    _judge(check, tool or [], subject)


def _choose(names: list[str] | None) -> tuple[Tool, ...]:
    from fleet.audit.crosscheck.tools import TOOLS

    known = {tool.name: tool for tool in TOOLS}
    for name in names or ():
        if name not in known:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(known)}")
    return tuple(tool for tool in TOOLS if not names or tool.name in names)


def _judge(check: Crosscheck, asked: list[str], subject: audits.Subject) -> None:
    from fleet.reports.crosscheck import crosscheck_view

    subject.output.data(crosscheck_view(check), check.to_dict())
    if len(check.failed) == len(check.figures):
        raise BackendError(
            "every attack of every library failed, so nothing was compared",
            hint="`make crosscheck` installs the versions that this was tested with",
        )
    more = ["a library finds more than the native audit"] if check.exceeding else []
    close([*more, *check.gaps(asked)], subject.output)
