"""Results of minimum-norm attacks: the nearest images that evade, and how near they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from fleet.attacks.exits import Exits
from fleet.attacks.gradient import fold
from fleet.attacks.outcomes import decide, evades
from fleet.attacks.pixels import LEVELS, to_bytes
from fleet.attacks.state import attackable
from fleet.models import Classifier
from fleet.vocabulary import Length

Size = Callable[[Tensor], Tensor]
"""Differences from the clean images, (R, C, H, W), to their sizes, (R,)."""

_ORDERS: dict[Length, float] = {"l1": 1.0, "l2": 2.0, "linf": torch.inf}

_TRIMS = 12
"""Halvings of the segment from the image: what is cut too little is 1/4096 of the distance."""


@dataclass(frozen=True, eq=False)
class Minimum:
    """Nearest images that evade.

    Success is decided in fp32. An image that is decoded wrongly as it is succeeds at distance 0.

    Attributes:
        images: float32 (B, C, H, W) in [0, 1]; the image itself where none was found.
        success: Whether the image evades, bool (B,).
        l1: Sum of all pixels' differences, float32 (B,), in pixel units; infinity where none was
            found.
        l2: Length of the difference, likewise.
        linf: Largest difference of a pixel, likewise.
    """

    images: Tensor
    success: Tensor
    l1: Tensor
    l2: Tensor
    linf: Tensor


@dataclass(frozen=True, eq=False)
class Rounded:
    """What becomes of minimum-norm images when they are sent as 8-bit images.

    Attributes:
        kept: Whether the image rounded to 8 bits still evades, bool (B,).
        minimum: The same for images pushed a little further where rounding undid them: 8-bit
            images (levels / 255) with their own distances.
    """

    kept: Tensor
    minimum: Minimum


def round_to_bytes(
    classifier: Classifier, images: Tensor, labels: Tensor, found: Minimum, *, reach: float = 8.0
) -> Rounded:
    """Round minimum-norm images to 8 bits, and push on those that rounding undid.

    A push lengthens the difference before it is rounded: the least of 24 factors, equally spaced in
    their logarithm from 1 to ``reach``, with which the rounded image evades.

    Args:
        classifier: Left exactly as it was.
        images: Originals, float32 (B, C, H, W), on the 8-bit grid.
        labels: True classes, int64 (B,).
        found: What an attack made of them.
        reach: Largest factor, above 1.
    """
    clean = to_bytes(images)
    best = to_bytes(found.images)
    with attackable(classifier):
        kept = evades(decide(classifier, best, labels).outcomes)
        done = kept.clone()
        for share in torch.linspace(0, 1, 24).tolist()[1:]:
            longer = images + (found.images - images) * reach**share
            pushed = to_bytes(longer.clamp_(0.0, 1.0))
            met = evades(decide(classifier, pushed, labels).outcomes) & ~done & found.success
            best = torch.where(met.view(-1, 1, 1, 1), pushed, best)
            done |= met
    unit = torch.where(done.view(-1, 1, 1, 1), best, clean).float() / LEVELS
    return Rounded(kept, measure(images, unit, done))


def measure(clean: Tensor, images: Tensor, success: Tensor) -> Minimum:
    """Put the distances beside images, float32 (B, C, H, W), and their success, bool (B,)."""
    l1, l2, linf = (
        torch.where(success, lengths(images - clean, name), torch.inf)
        for name in ("l1", "l2", "linf")
    )
    return Minimum(images, success, l1, l2, linf)


def lengths(difference: Tensor, name: Length) -> Tensor:
    """Length of each row's difference, (R, C, H, W) to float32 (R,), in pixel units."""
    rows = difference.flatten(1)
    return cast(Tensor, torch.linalg.vector_norm(rows, ord=_ORDERS[name], dim=1))


def trim(
    classifier: Classifier, clean: Tensor, rows: Tensor, ways: Exits, confidence: float = 0.0
) -> Tensor:
    """Bring each row that evades back along the segment from its image, while it still evades.

    Args:
        classifier: Inside ``attackable``.
        clean: float32 (B, C, H, W).
        rows: float32 (count * B, C, H, W).
        ways: The exits of the batch.
        confidence: How far beyond the exit they have to stay.

    Returns:
        Same shape as ``rows``.
    """
    origin = fold(clean, ways.count)
    inside = torch.zeros(len(rows), 1, 1, 1, device=rows.device)
    outside = torch.ones_like(inside)
    with torch.no_grad():
        for _ in range(_TRIMS):
            middle = (inside + outside) / 2
            raw = classifier.raw(torch.lerp(origin, rows, middle))
            met = ways.meets(raw, confidence).view(-1, 1, 1, 1)
            inside, outside = torch.where(met, inside, middle), torch.where(met, middle, outside)
    return torch.lerp(origin, rows, outside)


def choose(
    classifier: Classifier, clean: Tensor, rows: Tensor, labels: Tensor, size: Size
) -> Minimum:
    """Take the nearest of each image's rows that evades; decided anew, in fp32.

    Args:
        classifier: Inside ``attackable``.
        clean: float32 (B, C, H, W).
        rows: Candidates, float32 (count * B, C, H, W).
        labels: True classes, int64 (B,).
        size: Measures "nearest".
    """
    count = len(rows) // len(clean)
    # The image itself is a candidate: at distance 0 if it is wrong already.
    candidates = torch.cat([clean, rows])
    true = labels.repeat(count + 1)
    with torch.no_grad():
        met = classifier.decode(classifier(candidates)) != true
    away = size(candidates - fold(clean, count + 1))
    away = torch.where(met, away, torch.inf).unflatten(0, (count + 1, -1))
    distance, best = away.min(0)
    images = candidates.unflatten(0, (count + 1, -1))[
        best, torch.arange(len(clean), device=clean.device)
    ]
    success = distance.isfinite()
    return measure(clean, torch.where(success.view(-1, 1, 1, 1), images, clean), success)
