"""Options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.output import Format

if TYPE_CHECKING:
    from fleet.rundir import RunDirectory

BUILD = "Build"
EVALUATE = "Evaluate"
ROLL_OUT = "Roll out"
ON_DEVICE = "On the device"
INSPECT = "Inspect"

FormatOption = Annotated[
    Format, typer.Option("--format", help="How to write the result to stdout.")
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs", "-j", min=1, help="Worker processes, one thread each. By default one a core."
    ),
]
RunArgument = Annotated[
    Path | None,
    typer.Argument(metavar="RUN", help="A run directory; by default the newest under runs/."),
]
RunsOption = Annotated[Path, typer.Option("--runs", help="Where runs are kept.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", "-n", help="Say what would be done, and write nothing.")
]
DataRootOption = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        metavar="DIR",
        help="Where the images lie now, if they moved; the run remembers it.",
    ),
]
DeviceOption = Annotated[
    list[str] | None,
    typer.Option("--device", "-d", help="Only this device; repeat for several. By default all."),
]
SecretOption = Annotated[
    Path | None,
    typer.Option(
        "--secret",
        envvar="FLEET_SECRET",
        help="File that `auto` encodings are drawn from; by default PROFILE.secret beside it.",
    ),
]


def parse_eps(text: str) -> float:
    """Read an eps such as ``0.031`` or ``8/255``.

    Raises:
        typer.BadParameter: It is no number in (0, 1].
    """
    head, slash, tail = text.partition("/")
    try:
        value = float(head) / float(tail) if slash else float(head)
    except (ValueError, ZeroDivisionError) as error:
        raise typer.BadParameter(f"{text!r} is neither like 0.031 nor like 8/255") from error
    if not 0 < value <= 1:
        raise typer.BadParameter(f"{text} is not in (0, 1]; pixels run from 0 to 1")
    return value


def place_images(run: RunDirectory, data_root: Path | None, dry_run: bool = False) -> None:
    """Obey ``--data-root``; a dry run writes nothing.

    Raises:
        FleetError: The images there are not those of the run.
    """
    if data_root is not None and not dry_run:
        from fleet.rundata import move_images

        move_images(run, data_root)
