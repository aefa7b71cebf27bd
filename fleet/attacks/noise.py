"""The noise floor: random signs of full strength, no gradient, no model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fleet.attacks.keys import SampleKeys
from fleet.attacks.pixels import Box, check_eps
from fleet.errors import AuditError
from fleet.models import Classifier


@dataclass(frozen=True)
class SignNoise:
    """Add +eps or -eps to every pixel by a coin's throw, cut to [0, 1].

    Attributes:
        eps: Linf radius in pixel units, (0, 1].
        draws: Independent images made for each image.
    """

    eps: float
    draws: int = 1

    def __post_init__(self) -> None:
        check_eps(self.eps)
        if self.draws < 1:
            raise AuditError(
                f"{self.draws} draws of noise", hint="a noise floor takes one draw or more"
            )

    @property
    def variants(self) -> int:
        """One for each draw."""
        return self.draws

    def __call__(
        self, classifier: Classifier | None, images: Tensor, labels: Tensor, keys: SampleKeys
    ) -> Tensor:
        """See :class:`fleet.attacks.Attack`; needs neither ``classifier`` nor ``labels``."""
        del classifier, labels
        box = Box.around(images, self.eps)
        shape = images.shape[1:]
        draws = (keys.signs(shape, "noise", draw) for draw in range(self.draws))
        return torch.stack([torch.where(sign > 0, box.high, box.low) for sign in draws])
