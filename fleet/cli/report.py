"""``fleet report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleet.cli.options import FormatOption, RunsOption
from fleet.cli.output import Format, Output


def report(
    audit: Annotated[
        Path | None,
        typer.Argument(metavar="AUDIT", help="An audit.json; by default the newest run's."),
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="The run whose transfer audit to render.")
    ] = None,
    runs: RunsOption = Path("runs"),
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Directory to write to; by default beside the audit."),
    ] = None,
    form: FormatOption = Format.auto,
) -> None:
    """Render an audit again (table, HTML, CSV, PNG, SVG) without computing anything.

    Example: fleet report runs/20261122-213100-demo/audits/transfer/audit.json --out report/
    """
    from fleet.audit.result import TransferAudit
    from fleet.reports import write_reports
    from fleet.reports.findings import summary_lines, verdict
    from fleet.reports.terminal import audit_view
    from fleet.rundir import find_run

    output = Output(form)
    if audit is not None and run is not None:
        raise typer.BadParameter("name an audit or a run, not both", param_hint="--run")
    path = audit or find_run(run, runs).audit("transfer") / "audit.json"
    found = TransferAudit.load(path)
    written = write_reports(found, out or path.parent)
    value = {
        "audit": str(path),
        "verdict": verdict(found)[0],
        "summary": summary_lines(found),
        "written": [str(file) for file in written],
    }
    output.data(audit_view(found), value)
    output.note(f"read {path}")
    for file in written:
        output.note(f"wrote {file}")
