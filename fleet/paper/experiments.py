"""The paper's experiments: which profiles, how many images, how thorough an attack."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Self

STAND_IN = "the ten classes of Imagenette at 64 pixels: a stand-in, NOT the paper's ten classes"
"""What the committed runs on photos were made on."""


QUICK = " (quick, on a few images of MNIST: its figures mean nothing)"
"""Ends the title of whatever was made with ``--quick``."""


@dataclass(frozen=True)
class Scale:
    """How thorough an experiment is.

    Attributes:
        images: Test images attacked.
        steps: Steps of each iterative attack.
        restarts: Runs of each iterative attack.
        batch_size: Images attacked at once.
    """

    images: int
    steps: int = 20
    restarts: int = 1
    batch_size: int = 125

    def quick(self) -> Self:
        """The same, small."""
        return dataclasses.replace(self, images=12, steps=2, restarts=1, batch_size=12)


@dataclass(frozen=True, kw_only=True)
class TableExperiment(Scale):
    """Table 1 or 2.

    Attributes:
        name: Of its result.
        number: Of the table.
        title: With the data that are really used.
        profiles: Backbone and profile of each family.
        measured: Of how many families the distances are measured; the attacks for that take many
            hundred steps, however few the images.
        own_data: Whether the images are not part of the project.
        same_data: Whether these are the paper's images.
    """

    name: str
    number: int
    title: str
    profiles: tuple[tuple[str, str], ...]
    measured: int = 3
    own_data: bool = False
    same_data: bool = True

    def quick(self) -> Self:
        """The same, small; its caller keeps the largest eps alone.

        Of photos the first backbone alone: the others take as long as all else together, and
        Table 1 goes through several.
        """
        return dataclasses.replace(
            super().quick(),
            title=self.title + QUICK,
            profiles=self.profiles if self.number == 1 else self.profiles[:1],
            measured=1 if self.number == 1 else 0,
        )


@dataclass(frozen=True, kw_only=True)
class ChoiceExperiment(Scale):
    """What the paper leaves open, on the networks of Table 1.

    Attributes:
        title: With the data that are really used.
        profiles: Backbone and profile of each family.
    """

    title: str
    profiles: tuple[tuple[str, str], ...]

    def quick(self) -> Self:
        """The same, small, on the first backbone; its caller keeps the largest eps alone."""
        return dataclasses.replace(
            super().quick(), title=self.title + QUICK, profiles=self.profiles[:1]
        )


@dataclass(frozen=True, kw_only=True)
class MatrixExperiment(Scale):
    """Figure 3 on one data set.

    Attributes:
        name: Of its result.
        title: With the data that are really used.
        profile: Of the family.
        eps: Linf radii in pixel units.
        own_data: Whether the images are not part of the project.
        same_data: Whether these are images of the paper, though its Figure 3 shows ImageNet alone.
    """

    name: str
    title: str
    profile: str
    eps: tuple[float, ...]
    own_data: bool = False
    same_data: bool = True

    def quick(self) -> Self:
        """The same, small, at the largest eps alone."""
        return dataclasses.replace(super().quick(), title=self.title + QUICK, eps=self.eps[-1:])


_PHOTO_BACKBONES = ("alexnet", "densenet121", "resnet18")

TABLE1 = TableExperiment(
    name="table1",
    number=1,
    title="Table 1: MNIST",
    profiles=tuple((name, f"table1-{name}") for name in ("nn", "alexnet", "resnet18")),
    images=1000,
)

CHOICES = ChoiceExperiment(
    title="The paper's attacks on INT, MNIST",
    profiles=TABLE1.profiles,
    images=300,
    batch_size=100,
)

TABLE2 = TableExperiment(
    name="table2",
    number=2,
    title="Table 2: the first ten classes of ImageNet",
    profiles=tuple((name, f"table2-{name}") for name in _PHOTO_BACKBONES),
    images=500,
    batch_size=50,
    own_data=True,
)

TABLE2_STAND_IN = TableExperiment(
    name="table2-standin",
    number=2,
    title=f"Table 2 on {STAND_IN}",
    profiles=tuple((name, f"table2-standin-{name}") for name in _PHOTO_BACKBONES),
    images=60,
    measured=0,
    batch_size=60,
    own_data=True,
    same_data=False,
)

FIGURE3_MNIST = MatrixExperiment(
    name="figure3-mnist",
    title="Figure 3 on MNIST",
    profile="figure3-mnist",
    eps=(0.05, 0.1),
    images=300,
    batch_size=100,
)

FIGURE3 = MatrixExperiment(
    name="figure3",
    title="Figure 3: the first ten classes of ImageNet",
    profile="figure3",
    eps=(0.01,),
    images=500,
    batch_size=50,
    own_data=True,
)

FIGURE3_STAND_IN = MatrixExperiment(
    name="figure3-standin",
    title=f"Figure 3, ordinal head, on {STAND_IN}",
    profile="figure3-standin",
    eps=(0.01,),
    images=40,
    batch_size=40,
    own_data=True,
    same_data=False,
)
