"""What the classifier sees of an image while its gradient is taken, for attacks that transfer."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from fleet.attacks.keys import SampleKeys
from fleet.errors import AuditError


class Look(Protocol):
    """One run's view."""

    def __call__(self, images: Tensor, step: int) -> Tensor:
        """Show images, float32 (R, C, H, W), as at a step; same shape, differentiable."""


class View(Protocol):
    """Shows images otherwise than they are."""

    def begin(self, keys: SampleKeys, restart: int) -> Look:
        """Start a run; all that is random in it is named by ``keys`` and ``restart``."""


@dataclass(frozen=True)
class InputDiversity:
    """Shrink each image at random and put it somewhere on black (DI, Xie et al. 2019).

    Each image has a size and a place of its own at each step. It is resampled bilinearly, because
    whole pixels would leave an image of 28 pixels nine sizes. The paper's chance is 0.5; measured
    on the demo's devices as in :func:`fleet.attacks.portfolio`, sizes from 0.7 at every step carry
    18.0 % to another device, from 0.8 at every second one 14.7 %, from 0.5 15.4 %.

    Attributes:
        smallest: Smallest side as a share of the image's, in (0, 1]; the largest is 1.
        chance: Chance that an image is shrunk at a step, in [0, 1].
    """

    smallest: float = 0.7
    chance: float = 1.0

    def __post_init__(self) -> None:
        if not (0 < self.smallest <= 1 and 0 <= self.chance <= 1):
            raise AuditError(
                f"smallest is {self.smallest} and chance is {self.chance}",
                hint="the smallest side is a share in (0, 1], the chance a share in [0, 1]",
            )

    def begin(self, keys: SampleKeys, restart: int) -> Look:
        """See :class:`View`."""

        def look(images: Tensor, step: int) -> Tensor:
            variants = range(len(images) // len(keys.indices))
            draws = [
                keys.uniform(torch.Size((4,)), "view", restart, step, variant)
                for variant in variants
            ]
            return _place(images, *self._frame(torch.cat(draws)))

        return look

    def _frame(self, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Side, (R,), and place, (R, 2) in [-1, 1], from four uniform draws for each image."""
        shrunk = 1 - (1 - self.smallest) * draws[:, 0]
        side = torch.where(draws[:, 1] < self.chance, shrunk, 1.0)
        return side, 2 * draws[:, 2:] - 1


def _place(images: Tensor, side: Tensor, place: Tensor) -> Tensor:
    """Resample each image to ``side`` of its size; at place -1 and 1 it touches an edge."""
    shift = -place * (1 / side - 1).unsqueeze(1)
    matrix = torch.diag_embed((1 / side).unsqueeze(1).expand(-1, 2))
    grid = functional.affine_grid(
        torch.cat([matrix, shift.unsqueeze(2)], dim=2), list(images.shape), align_corners=False
    )
    return functional.grid_sample(images, grid, align_corners=False)
