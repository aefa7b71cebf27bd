"""``fleet audit coalition``."""

from dataclasses import replace
from enum import StrEnum
from typing import Annotated

import typer

from fleet.cli import options
from fleet.cli.audit.conduct import conduct, find, prepare
from fleet.cli.audit.request import Request, audit_command
from fleet.vocabulary import counted


class JointChoice(StrEnum):
    """How an attacker weighs the devices that they own."""

    uniform = "uniform"
    reweighed = "reweighed"
    min_max = "min-max"
    arc = "arc"


@audit_command("coalition")
def coalition(
    asked: Request,
    steps: options.Steps = 10,
    restarts: options.Restarts = 2,
    attack: Annotated[
        list[JointChoice] | None,
        typer.Option(
            help="How owned devices are weighed against each other; repeat it. By default uniform "
            "and min-max, and for each image the better of the two."
        ),
    ] = None,
    coalitions: Annotated[
        int,
        typer.Option(
            min=1, help="Random coalitions of each size; all of a size if there are no more."
        ),
    ] = 6,
) -> None:
    """Let an attacker own 1 to N-1 devices: how much of the remaining fleet falls?

    One image is made on all owned devices together and tried on the others. Coalitions are drawn
    at random, and built greedily by who gains most on held-out validation images.

    Example: fleet audit coalition --eps 0.1 --coalitions 10
    """
    subject = find(asked)
    more = {"attacks": tuple(choice.value for choice in attack)} if attack else {}
    work = prepare(subject, steps=steps, restarts=restarts, coalitions=coalitions, **more)

    from fleet.audit.coalition.trials import choose_coalitions

    names = [device.name for device in subject.family.devices]
    listed = choose_coalitions(
        names, (), work.settings, controls=any(c.encoding is None for c in subject.family.controls)
    )
    work = replace(
        work,
        words=(f"{counted(len(listed), 'coalition')} and up to {len(names) - 1} greedy ones",),
        value={"coalitions": [list(coalition.owned) for coalition in listed]},
    )
    conduct(work, subject, then="audit query {run}")
