"""``fleet report`` and ``fleet compare``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType

from fleet.cli import options
from fleet.cli.output import Format, Output
from fleet.files import write_bytes
from fleet.rundir import find_run

if TYPE_CHECKING:
    from fleet.reports import AuditReport


def report(
    target: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN",
            help="A run, its name, or an audit.json of any kind; by default the newest run.",
        ),
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="The run whose audits to render.", hidden=True)
    ] = None,
    runs: options.Runs = Path("runs"),
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            help="A run or an audit.json: the page says what changed since. By default the "
            "audits that were there before, if there were.",
        ),
    ] = None,
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
    log: options.Log = None,
    form: options.Form = Format.auto,
) -> None:
    """Render audits again (tables, HTML, CSV, PNG, SVG) without computing anything.

    The verdict comes first: what an attacker gets with one captured device, with none, from noise.
    Of a run, one report.html holds everything: the threat ladder, every kind of audit made, the
    cross-check, and what changed.

    Example: fleet report runs/20261122-213100-demo --out report/
    """
    from fleet.reports.report import is_crosscheck, is_sample

    output = Output(form)
    if target is not None and run is not None:
        raise typer.BadParameter("name an audit or a run, not both", param_hint="--run")
    if target is not None and is_crosscheck(target):
        _crosscheck(target, out, output)
    elif target is not None and is_sample(target):
        _sample(target, out, output)
    else:
        _audits(target or run, runs, against, out, full=full, brief=brief, output=output)
    if log is not None:
        _log(target or run, runs, output)


def _log(run: Path | None, runs: Path, output: Output) -> None:
    """Write a run's epochs and heat map for TensorBoard."""
    from fleet.training.telemetry import TensorBoard

    found = find_run(run, runs)
    with TensorBoard(found) as board:
        board.follow()
        board.heat_map()
    output.note(f"wrote {board.place}: `tensorboard --logdir {found.root}` shows it")


def _audits(
    target: Path | None,
    runs: Path,
    against: Path | None,
    out: Path | None,
    *,
    full: bool,
    brief: bool,
    output: Output,
) -> None:
    from fleet.reports import write_reports
    from fleet.reports.answers import answers
    from fleet.reports.flags import verdict
    from fleet.reports.views import report_view, summary_lines

    source, found = _read(target, runs)
    if brief:
        told = answers(found)
        output.data(told.brief, {"source": str(source), "brief": told.brief})
        return
    if against is not None:
        found = replace(found, earlier=_read(against, runs)[1])
    whole = source.is_dir()
    shown = found if whole or found.earlier else next(iter(found.audits.values()))
    written = write_reports(shown, out or (source if whole else source.parent))
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
    _tell(output, source, written, found.unreadable)


def _read(target: Path | None, runs: Path) -> tuple[Path, AuditReport]:
    """An audit, or all of a run; where they are."""
    from fleet.reports import AuditReport, read_audit, read_audits

    if target is not None and target.suffix == ".json":
        return target, AuditReport.of(read_audit(target))
    audits = find_run(target, runs).audits
    return audits, read_audits(audits)


def _crosscheck(path: Path, out: Path | None, output: Output) -> None:
    from fleet.audit.crosscheck.result import Crosscheck
    from fleet.reports.crosscheck import crosscheck_view
    from fleet.reports.html import render_crosscheck

    check, page = Crosscheck.load(path), (out or path.parent) / "report.html"
    _single(path, page, render_crosscheck(check), crosscheck_view(check), output)


def _sample(path: Path, out: Path | None, output: Output) -> None:
    from fleet.audit.transfer.result import PairSample
    from fleet.reports.html import render_sample
    from fleet.reports.sample import untried

    sample, page = PairSample.load(path), (out or path.parent) / "sample.html"
    _single(path, page, render_sample(sample), "\n".join(untried(sample)), output)


def _single(source: Path, page: Path, html: str, view: RenderableType, output: Output) -> None:
    write_bytes(page, html.encode("utf-8"))
    output.data(view, {"source": str(source), "written": [str(page)]})
    _tell(output, source, [page], ())


def _tell(output: Output, source: Path, written: list[Path], unreadable: Iterable[str]) -> None:
    output.note(f"read {source}")
    for words in unreadable:
        output.note(f"warning: left out {words}")
    for file in written:
        output.note(f"wrote {file}")


def compare(
    before: Annotated[
        Path, typer.Argument(metavar="BEFORE", help="A run, its name, or an audit.json.")
    ],
    after: Annotated[
        Path, typer.Argument(metavar="AFTER", help="What is compared with it, likewise.")
    ],
    runs: options.Runs = Path("runs"),
    html: Annotated[
        Path | None, typer.Option("--html", help="Write the comparison as a page, too.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Show devices and pairs without a clear change too.")
    ] = False,
    form: options.Form = Format.auto,
) -> None:
    """Say what changed between two runs: accuracy, certificates, transfer, with intervals.

    Only a difference whose 95 % interval leaves out 0 is called better or worse.

    Example: fleet compare runs/20261122-213100-demo runs/20261123-090000-demo
    """
    from fleet.reports import compare as compare_runs
    from fleet.reports import render_comparison
    from fleet.reports.comparison_view import comparison_view

    output = Output(form)
    found = compare_runs(before, after, runs)
    output.data(comparison_view(found, full=full), found.to_dict())
    if html is not None:
        write_bytes(html, render_comparison(found).encode("utf-8"))
        output.note(f"wrote {html}")
