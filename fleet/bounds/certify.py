"""Certificates: which decisions no perturbation within eps can change, on which images."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from fleet.bounds.backward import lower_margins_backward
from fleet.bounds.box import FLOAT32, Box, image_box, normalised, propagate, rounding
from fleet.bounds.heads import lower_margins, value_bounds
from fleet.models import Classifier
from fleet.models.heads import Head, LinearHead, OrdinalHead, SoftmaxHead

BATCH, TIGHT_BATCH = 250, 25
"""Images bounded at once, by intervals and backward; they change the time, not the result."""


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
    eps: float | Tensor,
    *,
    tight: bool = False,
    dtype: torch.dtype = torch.float64,
) -> Certificates:
    """Certify images by interval bound propagation, and by CROWN-IBP what that leaves open.

    In float64 the certificate holds for the network as it is computed in float32, in whatever order
    it adds up (not in bfloat16, TF32 or by Winograd's convolutions): every layer's bound is widened
    by the largest error of that arithmetic. In float32 it is an estimate, quick and unproven.

    Args:
        classifier: Of the architecture ``cnn`` or ``nn``, with any head; not changed.
        images: float32 (N, C, H, W) in [0, 1].
        labels: Classes, int64 (N,).
        eps: Largest change of a pixel, on the [0, 1] scale; one, or one for each image, (N,).
        tight: Try CROWN-IBP (:mod:`fleet.bounds.backward`) where intervals prove nothing; for
            ``cnn`` alone. It takes as long for one such image as intervals for a dozen.
        dtype: ``torch.float64``, or ``torch.float32``.

    Raises:
        AuditError: A layer or the head has no bounds.
    """
    network = copy.deepcopy(classifier).to(dtype).eval()
    unit = FLOAT32 if dtype == torch.float64 else 0.0
    radii = torch.as_tensor(eps, dtype=dtype).expand(len(images)).split(BATCH)
    found = []
    with torch.inference_mode():
        for x, y, radius in zip(images.split(BATCH), labels.split(BATCH), radii, strict=True):
            pixels = pixel_box(network, x.to(dtype), radius.view(-1, 1, 1, 1), unit)
            box = propagate(network.backbone, pixels)
            stays, never_wrong = decisions(network.head, box, y)
            still_open = (~stays).nonzero().flatten() if tight else y[:0]
            for rows in still_open.split(TIGHT_BATCH):
                margins = lower_margins_backward(network, pixels.part(rows), y[rows])
                held = decisions(network.head, box.part(rows), y[rows], margins)
                stays[rows], never_wrong[rows] = held
            found.append((stays, never_wrong))
    return Certificates(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def pixel_box(network: Classifier, x: Tensor, eps: float | Tensor, unit: float) -> Box:
    """The ball of ``eps`` around images, normalised as the network does it.

    An attack that computes in float32 may step over the ball's edge by a rounding: it is held in.
    """
    images = image_box(x, eps + 2 * unit, clean=False)
    box = Box(images.values, images.radius, unit)
    return normalised(box, network.mean, network.std)


def decisions(
    head: Head, box: Box, labels: Tensor, margins: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Whether the decision stays, and whether it is never wrong, bool (B,) each.

    Args:
        head: Of the network.
        box: Its features.
        labels: Classes, int64 (B,).
        margins: Lower margins that are known by other means, (B, K) or (B, K-1).
    """
    if isinstance(head, OrdinalHead):
        # The scalar rises with every unit, so units at their bounds bound it.
        centre, spread = value_bounds(head.linear, box)
        least, most = centre - spread, centre + spread
        if margins is not None:
            on = head.answers(labels) > 0
            least = torch.where(on, torch.maximum(least, margins), least)
            most = torch.where(on, most, torch.minimum(most, -margins))
        low, high = (
            head.start + (head.steps * (units + 0.5).clamp(0, 1)).sum(1) for units in (least, most)
        )
        return _of_scalar(low, high, head.walls, labels, 1e-9 * head.steps.sum())
    if isinstance(head, LinearHead):
        centre, spread = (value[:, 0] for value in value_bounds(head.linear, box))
        sizes = head.middle.abs() + head.pitch * (centre.abs() + spread)
        slack = rounding(2, max(box.unit, 2.0**-53)) * sizes
        middle = head.middle + head.pitch * centre
        low, high = middle - head.pitch * spread, middle + head.pitch * spread
        return _of_scalar(low, high, head.walls, labels, slack)
    straight = lower_margins(head, box, labels)
    margins = straight if margins is None else torch.maximum(straight, margins)
    if isinstance(head, SoftmaxHead):
        return gated(head.gates, margins, labels)
    stays = (margins > 0).all(1)
    return stays, stays


def gated(gates: Tensor, margins: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """What a ``softmax`` head decides for sure: stays, and never wrong, bool (B,) each.

    Args:
        gates: Lead that each class needs, (K,).
        margins: Least lead of the label over each class, infinite over itself, (B, K).
        labels: Classes, int64 (B,).
    """
    gates = gates.to(margins)
    return (margins >= gates[labels].unsqueeze(1)).all(1), (margins > -gates).all(1)


def _of_scalar(
    low: Tensor, high: Tensor, walls: tuple[Tensor, ...], labels: Tensor, slack: Tensor
) -> tuple[Tensor, Tensor]:
    """Compare bounds of the scalar with the interval, and with the neighbours' nearer edges."""
    below, lower, upper, above = (edge.to(low)[labels] for edge in walls)
    stays = (low - slack >= lower) & (high + slack <= upper)
    return stays, (low - slack > below) & (high + slack < above)


def largest_radii(classifier: Classifier, images: Tensor, labels: Tensor, top: float) -> Tensor:
    """Largest eps at which each image's decision is proven to stay, by bisection.

    Args:
        classifier: As for :func:`certificates`.
        images: float32 (N, C, H, W) in [0, 1].
        labels: Classes, int64 (N,).
        top: Where the search ends.

    Returns:
        float64 (N,), at most ``top / 64`` below the largest; 0 where nothing is proven.
    """
    low = torch.zeros(len(images), dtype=torch.float64)
    high = torch.full_like(low, top)
    for _ in range(6):
        middle = (low + high) / 2
        stays = certificates(classifier, images, labels, middle).stays
        low, high = torch.where(stays, middle, low), torch.where(stays, high, middle)
    return low
