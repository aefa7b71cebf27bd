"""Optimisers and learning-rate schedules, as the profile names them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from fleet.vocabulary import TrainingSpec

MOMENTUM = 0.9
"""Momentum of ``sgd``."""

WARM_UP = 0.3
"""Share of the steps in which ``one-cycle`` rises."""


def build_optimizer(
    spec: TrainingSpec, parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]]
) -> torch.optim.Optimizer:
    """Build the optimiser that ``spec`` names.

    Fused: one pass over the weights instead of a dozen. Adam's step of ResNet-18 takes 16 instead
    of 43 ms on one core, that of AlexNet 43 instead of 334, beside 200 to 400 for the gradient.
    """
    rate, decay = spec.learning_rate, spec.weight_decay
    if spec.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=rate, weight_decay=decay, fused=True)
    if spec.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=True)
    return torch.optim.SGD(parameters, lr=rate, weight_decay=decay, momentum=MOMENTUM, fused=True)


def learning_rate(spec: TrainingSpec, step: int, total: int) -> float:
    """Learning rate of one step: a pure function, so that a resumed training needs no state.

    ``one-cycle`` (Smith and Topin 2018): half a cosine from peak/25 up to the peak over the first
    30 % of the steps, then half a cosine down to peak/250,000. ``cosine``: from the peak to 0.

    Args:
        spec: Names the schedule and the peak.
        step: From 0.
        total: Steps of the whole training.
    """
    peak = spec.learning_rate
    if spec.schedule == "constant":
        return peak
    position = step / max(1, total - 1)
    if spec.schedule == "cosine":
        return _anneal(peak, 0.0, position)
    if position < WARM_UP:
        return _anneal(peak / 25, peak, position / WARM_UP)
    return _anneal(peak, peak / 250_000, (position - WARM_UP) / (1 - WARM_UP))


def _anneal(start: float, end: float, position: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * position))
