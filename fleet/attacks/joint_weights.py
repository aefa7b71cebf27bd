"""How much each network counts in an attack on several: weights on the simplex, image by image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from fleet.attacks.joint_members import Standing

Weighting = Literal["uniform", "reweighed", "min-max"]
WEIGHTINGS: tuple[Weighting, ...] = get_args(Weighting)

Reweigh = Callable[[Tensor, Standing], Tensor]
"""Old weights, (M, B), and where the images stand to new weights, (M, B)."""

NEARNESS = 0.25
"""Slots over which the weight of a network that still holds falls to 1/e (``reweighed``)."""

RATE = 0.1
"""Step of the weights for each slot of reach (``min-max``)."""

REGULAR = 0.1
"""Pull of the weights back to equal ones (``min-max``)."""


def uniform(weights: Tensor, standing: Standing) -> Tensor:
    """Every network counts alike."""
    del standing
    return weights


def reweighed(weights: Tensor, standing: Standing) -> Tensor:
    """Networks near their edge count most, so that the next one falls soon.

    After the idea of MORA (Yu et al. 2022), which moves the weight of an ensemble attack to the
    members that decide next; here ``softmax(-distance to the edge / NEARNESS)``.
    """
    del weights
    return functional.softmax(standing.reach.clamp(max=0.0) / NEARNESS, dim=0)


def min_max(weights: Tensor, standing: Standing) -> Tensor:
    """The networks that hold best count most: a step of ``min_w sum_i w_i reach_i`` (Wang 2021).

    Projected gradient descent on the simplex with a pull towards equal weights, as in *Adversarial
    Attack Generation Empowered by Min-Max Optimization*, section 3.
    """
    equal = 1 / len(weights)
    slope = standing.reach.clamp(-1.0, 1.0) + REGULAR * (weights - equal)
    return project_to_simplex(weights - RATE * slope)


def project_to_simplex(points: Tensor) -> Tensor:
    """Nearest points with entries of 0 or more that sum to 1, column by column (Duchi et al. 2008).

    Args:
        points: float32 (M, B).
    """
    ordered = points.sort(dim=0, descending=True).values
    count = torch.arange(1, len(points) + 1, device=points.device).unsqueeze(1)
    shift = (ordered.cumsum(0) - 1) / count
    # The largest number of entries that stay above 0 after the shift.
    kept = (ordered > shift).long().mul_(count).argmax(0, keepdim=True)
    return (points - shift.gather(0, kept)).clamp_(min=0.0)


REWEIGH: dict[Weighting, Reweigh] = {
    "uniform": uniform,
    "reweighed": reweighed,
    "min-max": min_max,
}
