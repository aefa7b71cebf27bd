"""``fleet audit certify``."""

from typing import Annotated

import typer

from fleet.cli.audit.conduct import conduct, find, prepare
from fleet.cli.audit.request import Request, audit_command


@audit_command("certify")
def certify(
    asked: Request,
    radii: Annotated[
        int, typer.Option(min=0, help="Images whose largest certified eps is searched for.")
    ] = 500,
    tight: Annotated[
        bool, typer.Option("--tight", help="Try CROWN-IBP where intervals prove nothing; minutes.")
    ] = False,
    smooth: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Standard deviation of noise on the [0, 1] scale: certify the median under it in "
            "L2 (median smoothing), on the images of --radii.",
        ),
    ] = 0.0,
    draws: Annotated[
        int, typer.Option(min=1, help="Noisy copies of an image for --smooth.")
    ] = 1000,
) -> None:
    """Prove what no attacker can do: certified shares and the guaranteed blast radius.

    For devices of the architectures nn, cnn, alexnet and resnet18. --max-blast-radius is a gate on
    the guarantee itself.

    Example: fleet audit certify --eps 0.1 --eps 0.2
    """
    subject = find(asked)
    work = prepare(subject, radii=radii, tight=tight, smooth=smooth, draws=draws)
    conduct(work, subject)
