"""Certificates: which decisions no perturbation within eps can change, on which images."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from fleet.bounds.box import FLOAT32, Box, image_box, normalised, propagate
from fleet.bounds.heads import lower_margins, unit_bounds
from fleet.models import Classifier
from fleet.models.heads import Head, OrdinalHead, SoftmaxHead

BATCH = 250
"""Images bounded at once; changes the time, not the result."""


@dataclass(frozen=True, eq=False)
class Certificates:
    """What is proven of each image. A proof; where there is none, nothing is known.

    Attributes:
        stays: The device answers the label, whatever the perturbation, bool (N,).
        never_wrong: It answers the label or None, whatever the perturbation, bool (N,).
    """

    stays: Tensor
    never_wrong: Tensor


def certificates(
    classifier: Classifier,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    dtype: torch.dtype = torch.float64,
) -> Certificates:
    """Certify images by interval bound propagation.

    In float64 the certificate holds for the network as it is computed in float32, in whatever order
    it adds up (not in bfloat16, TF32 or by Winograd's convolutions): every layer's bound is widened
    by the largest error of that arithmetic. In float32 it is an estimate, quick and unproven.

    Args:
        classifier: With a ``softmax``, ``ordinal`` or ``logits`` head; not changed.
        images: float32 (N, C, H, W) in [0, 1].
        labels: Classes, int64 (N,).
        eps: Largest change of a pixel, on the [0, 1] scale.
        dtype: ``torch.float64``, or ``torch.float32``.

    Raises:
        AuditError: A layer or the head has no bounds.
    """
    network = copy.deepcopy(classifier).to(dtype).eval()
    unit = FLOAT32 if dtype == torch.float64 else 0.0
    found = []
    with torch.inference_mode():
        for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True):
            found.append(decisions(network.head, feature_box(network, x.to(dtype), eps, unit), y))
    return Certificates(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def feature_box(network: Classifier, x: Tensor, eps: float, unit: float) -> Box:
    """Bound a network's features over the ball of ``eps`` around ``x``.

    An attack that computes in float32 may step over the ball's edge by a rounding: it is held in.
    """
    images = image_box(x, eps + 2 * unit, clean=False)
    box = Box(images.values, images.radius, unit)
    return propagate(network.backbone, normalised(box, network.mean, network.std))


def decisions(head: Head, box: Box, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Whether the decision stays, and whether it is never wrong, bool (B,) each."""
    if isinstance(head, OrdinalHead):
        return _of_scalar(head, *unit_bounds(head, box), labels)
    margins = lower_margins(head, box, labels)
    if isinstance(head, SoftmaxHead):
        gates = head.gates.to(margins)
        return (margins >= gates[labels].unsqueeze(1)).all(1), (margins > -gates).all(1)
    stays = (margins > 0).all(1)
    return stays, stays


def _of_scalar(
    head: OrdinalHead, centre: Tensor, spread: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """The scalar rises with every unit, so units at their bounds bound it."""
    low, high = (
        head.start + (head.steps * (centre + sign * spread + 0.5).clamp(0, 1)).sum(1)
        for sign in (-1, 1)
    )
    slack = 1e-6 * head.steps.mean()  # the sum's own rounding, a thousand times over
    below, lower, upper, above = (edge.to(low)[labels] for edge in head.walls)
    stays = (low - slack >= lower) & (high + slack <= upper)
    return stays, (low - slack > below) & (high + slack < above)
