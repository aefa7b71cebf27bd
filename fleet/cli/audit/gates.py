"""Gates: when an audit that was made ends with exit code 1."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

from fleet.cli.audit.options import FailOn
from fleet.cli.output import Output

if TYPE_CHECKING:
    from fleet.audit.core.gates import Gated


def judge(audit: Gated, limit: float | None, fail_on: FailOn | None, output: Output) -> None:
    """Name every gate that is not passed, and leave with exit code 1 if there is one."""
    from fleet.audit.core.gates import refusals

    close(refusals(audit, limit, masked=fail_on is FailOn.masked), output)


def close(reasons: Iterable[str], output: Output) -> None:
    """Name the gates that are not passed, and leave with exit code 1 if there is one."""
    named = list(reasons)
    for reason in named:
        output.note(f"gate: {reason}")
    if named:
        raise typer.Exit(1)
