"""``fleet audit transfer``."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from fleet.cli import options
from fleet.cli.audit.conduct import Subject, Work, announce, conduct, find, planned, prepare
from fleet.cli.audit.request import Request, audit_command
from fleet.files import write_bytes
from fleet.rundir import find_run
from fleet.vocabulary import counted


@audit_command("transfer")
def transfer(
    asked: Request,
    norm: options.Norm = options.NormChoice.linf,
    steps: options.Steps = 15,
    restarts: options.Restarts = 3,
    brief: options.Brief = False,
    sets_from: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="An audited run with some of the same devices: its adversarial images and their "
            "outcomes are used again where they fit, so a new device costs one row and one column.",
        ),
    ] = None,
    surrogates: Annotated[
        int | None,
        typer.Option(min=2, help="Attack a stratified sample of so many devices; see --victims."),
    ] = None,
    victims: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Try the images on a sample of so many: estimates for the whole of a large fleet, "
            "with intervals for devices and images.",
        ),
    ] = None,
) -> None:
    """Attack each device, and try the images on all others (the paper's Figure 3).

    Two protocols stand side by side: the paper's, which ascends its own loss, and an adaptive one,
    which ascends the output itself. Reliability checks say which of the figures mean anything.

    Example: fleet audit transfer --eps 0.1 --eps 8/255
    """
    subject = find(replace(asked, norm=norm))
    source = None if sets_from is None else find_run(sets_from, asked.runs)
    work = prepare(subject, steps=steps, restarts=restarts, norm=norm.value, brief=brief)
    if surrogates is not None or victims is not None:
        whole = len(subject.family.devices)
        _sample(work, subject, surrogates or whole, victims or whole)
        return
    work = replace(work, arguments={"sets_from": source})
    conduct(work, subject, then="package {run}")


def _sample(work: Work, subject: Subject, surrogates: int, victims: int) -> None:
    """Audit a sample of pairs, and say what it tells about the fleet."""
    from fleet.audit.transfer.pairs import audit_run_pairs, draw_pairs
    from fleet.audit.transfer.result import SAMPLE_FILE
    from fleet.reports.html import render_sample
    from fleet.reports.sample import estimates

    asked, settings = subject.asked, work.settings
    if asked.limits or asked.fail_on is not None:
        raise typer.BadParameter("gates need the whole audit, without --surrogates and --victims")
    rows, columns = draw_pairs(subject.family, surrogates, victims, settings.seed)
    attacked = counted(len(columns.names), "victim")
    words = f"{counted(len(rows.names), 'surrogate')} on {attacked}"
    announce(replace(work, words=(words,)), subject)
    if asked.dry_run:
        drawn = {"surrogates": rows.names, "victims": columns.names}
        subject.output.data(
            "nothing is attacked and nothing is written", planned(work, subject) | drawn
        )
        return
    with asked.where.opened(subject.output.stderr, subject.family.per_job) as executor:
        found = audit_run_pairs(
            subject.run,
            settings,
            images=work.images,
            surrogates=surrogates,
            victims=victims,
            executor=executor,
            split=asked.split.value,
        )
    title = f"Transfer between two of {len(subject.family.devices)} devices, from {words}"
    caution = "Adaptive evade rate. A worse pair may be outside the sample."
    subject.output.data(
        estimates(found).terminal(Text(f"{title}. {caution}")),
        {"at": [asdict(at) for at in found.at]},
    )
    page = subject.run.audit(work.kind.name) / "sample.html"
    write_bytes(page, render_sample(found).encode("utf-8"))
    for path in (page.with_name(SAMPLE_FILE), page):
        subject.output.note(f"wrote {path}")
