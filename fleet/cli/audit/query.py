"""``fleet audit query``."""

from dataclasses import replace
from enum import StrEnum
from typing import Annotated

import typer

from fleet.cli import options
from fleet.cli.audit.conduct import conduct, find, prepare
from fleet.cli.audit.request import Request, audit_command
from fleet.vocabulary import counted


class MethodChoice(StrEnum):
    """How the attacker asks."""

    noise = "noise"
    square = "square"
    decision = "decision"
    extraction = "extraction"
    owned = "transfer+queries"


@audit_command("query")
def query(
    asked: Request,
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
    restarts: options.Restarts = 3,
) -> None:
    """Ask devices without owning them: what do a few hundred queries give?

    Attackers who see scores, who see the class only, who train a surrogate on the answers, and who
    own all the other devices; every query is counted.

    Example: fleet audit query --victim cam-01 --queries 1000
    """
    subject = find(asked)
    more: dict[str, tuple[object, ...]] = {}
    if method:
        more["methods"] = tuple(choice.value for choice in method)
    if extraction:
        more["extraction"] = tuple(extraction)
    work = prepare(subject, queries=queries, steps=steps, restarts=restarts, **more)
    victims = counted(len(victim or subject.family.trained), "victim")
    words = f"{victims} with up to {counted(queries, 'query', 'queries')} each"
    work = replace(work, arguments={"victims": tuple(victim or ())}, words=(words,))
    conduct(work, subject, then="audit trace {run}")
