"""Options that the audits share, declared once, and what they mean for a run."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fleet.profiles.spec import FamilySpec


class SplitChoice(StrEnum):
    """Which images are attacked."""

    test = "test"
    validation = "validation"


class FailOn(StrEnum):
    """What makes an audit end with exit code 1."""

    masked = "masked"


EpsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--eps",
        help="Linf radius like 0.1 or 8/255; repeat it. By default 0.1 and 0.2 for grey "
        "images, 4/255 and 8/255 for colour.",
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


def default_eps(family: FamilySpec) -> tuple[float, ...]:
    """Linf radii for a family's images, when none are asked for."""
    return (0.1, 0.2) if family.data.channels == 1 else (4 / 255, 8 / 255)
