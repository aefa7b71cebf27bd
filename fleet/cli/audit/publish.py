"""What every audit does with its result: keep it, draw it, print it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from rich.console import RenderableType

from fleet.cli.output import Output
from fleet.rundir import RunDirectory


class Result(Protocol):
    """Any audit's result."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""


def publish(
    result: Result,
    run: RunDirectory,
    kind: str,
    view: RenderableType,
    output: Output,
    *,
    then: Sequence[str | Path],
) -> None:
    """Write ``audit.json``, render the run's report anew, and print the result.

    Args:
        result: What the audit found.
        run: Where it belongs.
        kind: Which audit it is.
        view: The result for people.
        output: Of the command.
        then: The words of the next command that follow ``fleet``.
    """
    from fleet.files import write_json
    from fleet.reports.write import render_run_reports

    path = run.audit(kind) / "audit.json"
    write_json(path, result.to_dict())
    report, *others = render_run_reports(run.audits)
    output.data(view, result.to_dict())
    output.note(f"wrote {path}")
    output.note(f"wrote {report}, and {len(others)} tables and figures beside it")
    output.next_command("fleet", *then)
