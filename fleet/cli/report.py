"""``fleet report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleet.cli import options
from fleet.cli.output import Format, Output


def report(
    audit: Annotated[
        Path | None,
        typer.Argument(
            metavar="AUDIT", help="An audit.json of any kind; by default all of the newest run."
        ),
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="The run whose audits to render.")
    ] = None,
    runs: options.Runs = Path("runs"),
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Directory to write to; by default beside the audits."),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Both protocols and every check, not only the summary.")
    ] = False,
    brief: Annotated[
        bool, typer.Option("--brief", help="One paragraph, and write nothing.")
    ] = False,
    form: options.Form = Format.auto,
) -> None:
    """Render audits again (tables, HTML, CSV, PNG, SVG) without computing anything.

    The verdict comes first: what an attacker gets with one captured device, with none, from noise.
    Of a run, one report.html holds everything: the threat ladder and every kind of audit made.

    Example: fleet report --run runs/20261122-213100-demo --out report/
    """
    from fleet.reports import AuditReport, read_audit, read_audits, write_reports
    from fleet.reports.answers import answers
    from fleet.reports.flags import verdict
    from fleet.reports.views import report_view, summary_lines
    from fleet.rundir import find_run

    output = Output(form)
    if audit is not None and run is not None:
        raise typer.BadParameter("name an audit or a run, not both", param_hint="--run")
    if audit is not None:
        single = read_audit(audit)
        found = AuditReport.of(single)
        source, target = audit, out or audit.parent
    else:
        source = find_run(run, runs).root / "audits"
        found = read_audits(source)
        target, single = out or source, None
    if brief:
        told = answers(found)
        output.data(told.brief, {"source": str(source), "brief": told.brief})
        return
    written = write_reports(single or found, target)
    value = {
        "source": str(source),
        "verdict": answers(found).to_dict(),
        "audits": {
            kind: {"verdict": verdict(each)[0], "summary": summary_lines(each)}
            for kind, each in found.audits.items()
        },
        "unreadable": list(found.unreadable),
        "written": [str(file) for file in written],
    }
    output.data(report_view(found, full=full), value)
    output.note(f"read {source}")
    for words in found.unreadable:
        output.note(f"warning: left out {words}")
    for file in written:
        output.note(f"wrote {file}")
