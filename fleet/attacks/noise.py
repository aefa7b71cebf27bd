"""The noise floor: random changes of full strength, no gradient, no model."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fleet.attacks.ball import ball
from fleet.attacks.keys import SampleKeys
from fleet.attacks.pixels import check_eps
from fleet.errors import AuditError
from fleet.models import Classifier
from fleet.vocabulary import Norm


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
        _check_draws(self.draws)

    @property
    def variants(self) -> int:
        """One for each draw."""
        return self.draws

    def __call__(
        self, classifier: Classifier | None, images: Tensor, labels: Tensor, keys: SampleKeys
    ) -> Tensor:
        """See :class:`fleet.attacks.Attack`; needs neither ``classifier`` nor ``labels``."""
        del classifier, labels
        shape = images.shape[1:]
        draws = (keys.signs(shape, "noise", draw) for draw in range(self.draws))
        return torch.stack([images.add(sign, alpha=self.eps).clamp_(0.0, 1.0) for sign in draws])


@dataclass(frozen=True)
class UniformNoise:
    """Move to a uniform point of the ball, cut to [0, 1].

    Attributes:
        eps: Radius in pixel units.
        draws: Independent images made for each image.
        norm: How the radius is measured.
    """

    eps: float
    draws: int = 1
    norm: Norm = "linf"

    def __post_init__(self) -> None:
        check_eps(self.eps, self.norm)
        _check_draws(self.draws)

    @property
    def variants(self) -> int:
        """One for each draw."""
        return self.draws

    def __call__(
        self, classifier: Classifier | None, images: Tensor, labels: Tensor, keys: SampleKeys
    ) -> Tensor:
        """See :class:`fleet.attacks.Attack`; needs neither ``classifier`` nor ``labels``."""
        del classifier, labels
        around = ball(images, self.eps, self.norm)
        return torch.stack([around.random(keys, "uniform", draw) for draw in range(self.draws)])


def _check_draws(draws: int) -> None:
    if draws < 1:
        raise AuditError(f"{draws} draws of noise", hint="a noise floor takes one draw or more")
