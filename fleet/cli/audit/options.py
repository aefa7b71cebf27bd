"""Options that the audits share, declared once, and what they mean for a run."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.options import parse_eps

if TYPE_CHECKING:
    from fleet.profiles.spec import FamilySpec
    from fleet.rundir import RunDirectory


class SplitChoice(StrEnum):
    """Which images are attacked."""

    test = "test"
    validation = "validation"


class NormChoice(StrEnum):
    """How eps is measured."""

    linf = "linf"
    l2 = "l2"


class FailOn(StrEnum):
    """What makes an audit end with exit code 1."""

    masked = "masked"


EpsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--eps",
        help="Radius like 0.1 or 8/255; repeat it. By default several that fit the images.",
    ),
]
NormOption = Annotated[
    NormChoice,
    typer.Option(
        help="linf: largest difference of a pixel; l2: length of the whole difference. Pixels run "
        "from 0 to 1."
    ),
]
ImagesOption = Annotated[int, typer.Option(min=1, help="Images to attack.")]
SplitOption = Annotated[
    SplitChoice, typer.Option(help="Choose on validation; the test set is for final figures.")
]
StepsOption = Annotated[int, typer.Option(min=1, help="Steps of each iterative attack.")]
RestartsOption = Annotated[int, typer.Option(min=1, help="Runs of each iterative attack.")]
SeedOption = Annotated[int, typer.Option(help="Seed of images, starts and noise.")]
MaxAsrOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Exit code 1 if an adaptive evade rate is above this.",
    ),
]
FailOnOption = Annotated[
    FailOn | None,
    typer.Option(help="masked: exit code 1 if the adaptive figures fail a reliability check."),
]


def default_eps(family: FamilySpec, norm: NormChoice = NormChoice.linf) -> tuple[float, ...]:
    """Radii for a family's images, when none are asked for: the second and third of the curve."""
    return curve_eps(family, norm)[1:3]


def curve_eps(family: FamilySpec, norm: NormChoice) -> tuple[float, ...]:
    """Radii of an asr curve, when none are asked for: from hardly anything to all.

    At the last one every network should fall, whatever its training, or the attack is at fault
    (check M5). ``l2``: as long as the differences that fall to the Linf radii on 28x28 pixels, and
    longer in proportion to the image's side.
    """
    grey, side = family.data.channels == 1, family.data.image_size
    if norm is NormChoice.linf:
        return (0.05, 0.1, 0.2, 0.3, 0.5) if grey else (2 / 255, 4 / 255, 8 / 255, 16 / 255, 0.5)
    lengths = (0.5, 1.0, 2.0, 3.0, 8.0) if grey else (0.25, 0.5, 1.0, 2.0, 16.0)
    return tuple(length * side / (28 if grey else 32) for length in lengths)


def present(run: RunDirectory, split: SplitChoice, images: int) -> int:
    """How many images an audit that asks for ``images`` takes: the split may have fewer."""
    from fleet.files import read_json

    there = read_json(run.dataset).get(split.value)
    return min(images, there) if isinstance(there, int) else images


def parse_radii(texts: list[str] | None, norm: NormChoice) -> tuple[float, ...]:
    """Read the radii of ``--eps``.

    Raises:
        typer.BadParameter: One is no number in (0, 1], or for ``l2`` no number above 0.
    """
    if norm is NormChoice.linf:
        return tuple(parse_eps(text) for text in texts or ())
    return tuple(_length(text) for text in texts or ())


def _length(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no l2 radius like 1.5") from error
    if not 0 < value < math.inf:
        raise typer.BadParameter(f"{text} is not above 0; an l2 radius is a length like 1.5")
    return value
