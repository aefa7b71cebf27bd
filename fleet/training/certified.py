"""Certified training: the loss of the worst values that any perturbation within eps can reach.

Interval bound propagation (Gowal et al. 2018) with the recipe of Shi et al. 2021: weights that keep
the bounds' width from layer to layer, BatchNorm through clean statistics, and short ramps of eps
and of the worst case's weight.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fleet.bounds.box import image_box, normalised, propagate
from fleet.bounds.heads import lower_margins
from fleet.errors import TrainingError
from fleet.models import Classifier
from fleet.models.heads import OrdinalHead, SoftmaxHead


@dataclass(frozen=True)
class Certified:
    """The recipe.

    Attributes:
        eps: What the device is to be certified for, on the [0, 1] scale.
        factor: Training ends at ``factor * eps``: the bounds of unseen images are looser.
        kappa: Weight of the clean loss at the end of the ramp; 1 before it.
        warm_up: Share of the steps at eps 0.
        ramp: Share of the steps in which eps and kappa move.
        l1: Weight of the sum of the weights' absolute values.
        separate: Whether the clean images travel beside their box: a third more work for exact
            clean statistics; otherwise the box's centre stands for them.
    """

    eps: float
    factor: float = 1.15
    kappa: float = 0.4
    warm_up: float = 0.07
    ramp: float = 0.5
    l1: float = 0.0
    separate: bool = True

    def at(self, progress: float) -> tuple[float, float]:
        """Eps and kappa at a share of the steps, [0, 1]."""
        done = min(1.0, max(0.0, (progress - self.warm_up) / self.ramp))
        return done * self.eps * self.factor, 1 - done * (1 - self.kappa)


def interval_weights(classifier: Classifier, generator: torch.Generator) -> None:
    """Draw weights N(0, sqrt(2 pi) / inputs): bounds then keep their width from layer to layer."""
    for layer in classifier.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            inputs = layer.weight[0].numel()
            nn.init.normal_(layer.weight, 0, math.sqrt(2 * math.pi) / inputs, generator=generator)


@torch.no_grad()
def settle_statistics(classifier: Classifier, batches: Iterable[Tensor]) -> None:
    """Take BatchNorm's statistics anew, from clean images and the final weights.

    Args:
        classifier: Left in eval mode.
        batches: Images, float32 (B, C, H, W) in [0, 1]; the more, the better.
    """
    norms = [m for m in classifier.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
    classifier.train()
    for x in batches:
        classifier(x)
    classifier.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def certified_loss(
    classifier: Classifier, x: Tensor, y: Tensor, recipe: Certified, progress: float
) -> Tensor:
    """Mix the clean loss and the worst case's: ``kappa * clean + (1 - kappa) * worst``.

    Args:
        classifier: In training mode, with a ``softmax`` or ``ordinal`` head.
        x: Images, float32 (B, C, H, W) in [0, 1], channels last.
        y: Classes, int64 (B,).
        recipe: What the mixture is made of.
        progress: Share of the training's steps that are done.

    Returns:
        A float32 scalar.
    """
    eps, kappa = recipe.at(progress)
    if eps == 0:
        loss = values_loss(classifier, classifier.raw(x), y)
    else:
        images = image_box(x, eps, clean=recipe.separate)
        box = propagate(classifier.backbone, normalised(images, classifier.mean, classifier.std))
        raw = classifier.head(box.clean)
        worst = margin_loss(classifier, lower_margins(classifier.head, box, y))
        loss = kappa * values_loss(classifier, raw, y) + (1 - kappa) * worst
    if recipe.l1:
        loss = loss + recipe.l1 * sum(p.abs().sum() for p in classifier.parameters() if p.dim() > 1)
    return loss


def values_loss(classifier: Classifier, raw: Tensor, y: Tensor) -> Tensor:
    """Loss of the clean values: that of their margins, as if nothing moved them."""
    head = classifier.head
    if isinstance(head, OrdinalHead):
        return margin_loss(classifier, head.answers(y) * raw)
    own = functional.one_hot(y, raw.shape[1]).bool()
    margins = raw.gather(1, y.unsqueeze(1)) - raw
    return margin_loss(classifier, margins.masked_fill(own, torch.inf))


def margin_loss(classifier: Classifier, margins: Tensor) -> Tensor:
    """Cross-entropy of margins.

    ``softmax``: ``log(1 + sum_k exp(gate - m_k))``: what decides is the lead beyond the gate.
    ``ordinal``: ``sum_j softplus(-m_j)``.
    """
    if isinstance(classifier.head, OrdinalHead):
        return functional.softplus(-margins).sum(1).mean()
    zero = margins.new_zeros(len(margins), 1)
    return torch.cat([zero, -margins], 1).logsumexp(1).mean()
