"""The eps ball, and the grid of 8-bit images inside it.

A camera delivers 8-bit images, so an adversarial image counts only after rounding to that grid.
A ball of radius eps around an 8-bit image holds whole levels only: eps 0.01 is 2 levels of 255.
"""

import math

import torch
from torch import Tensor

from fleet.errors import AuditError
from fleet.vocabulary import Norm

LEVELS = 255
"""Steps between black and white in an 8-bit image."""

_ROUNDING = 1e-6
"""Slack in levels, so that 8/255 written as a float is 8 levels and not 7."""


BATCH_VALUES = 128 * 3 * 64 * 64
"""Pixel values that are attacked at once: 128 images of 3 x 64 x 64, 10 of 3 x 224 x 224."""


def at_once(batch_size: int, images: Tensor) -> int:
    """Images in one batch: ``batch_size``, fewer where images are large, but not under 4 for that.

    So memory follows from the network and not from the size of the images. Kernels for fewer than
    four images round otherwise.

    Args:
        batch_size: Images asked for.
        images: (N, C, H, W).
    """
    return min(batch_size, max(4, BATCH_VALUES // max(1, images[0:1].numel())))


def check_eps(eps: float, norm: Norm = "linf") -> float:
    """Return ``eps`` if it is a radius that an attack can have.

    Raises:
        AuditError: It is not in (0, 1], or for ``l2`` not finite and above 0.
    """
    if norm == "l2":
        if not 0 < eps < math.inf:
            raise AuditError(
                f"the l2 radius is {eps!r}, not above 0",
                hint="give the length of the whole difference in pixel units, for example 1.5",
            )
    elif not 0 < eps <= 1:
        raise AuditError(
            f"eps is {eps!r}, not in (0, 1]",
            hint="pixels are in [0, 1]: give eps as 0.03 or as 8/255, not as 8",
        )
    return eps


def radius(eps: float) -> int:
    """Whole 8-bit levels inside an Linf ``eps``, 1 to 255.

    Raises:
        AuditError: ``eps`` is not in (0, 1], or is smaller than one level.
    """
    return _at_least_one(math.floor(check_eps(eps) * LEVELS + _ROUNDING), eps)


def squared_radius(eps: float) -> int:
    """Largest sum of squared 8-bit levels inside an L2 ``eps``, at least 1.

    Raises:
        AuditError: ``eps`` is not finite and above 0, or is smaller than one level.
    """
    return _at_least_one(math.floor((check_eps(eps, "l2") * LEVELS) ** 2 + _ROUNDING), eps)


def exact_eps(eps: float, norm: Norm = "linf") -> float:
    """The largest radius on the 8-bit grid that is not above ``eps``.

    Raises:
        AuditError: As for :func:`radius` and :func:`squared_radius`.
    """
    if norm == "l2":
        return math.sqrt(squared_radius(eps)) / LEVELS
    return radius(eps) / LEVELS


def _at_least_one(levels: int, eps: float) -> int:
    if levels == 0:
        raise AuditError(
            f"eps is {eps!r}, less than one level of an 8-bit image (1/255 = 0.0039)",
            hint="no 8-bit image but the original is that near; choose 1/255 or more",
        )
    return levels


def to_bytes(images: Tensor) -> Tensor:
    """Round images in [0, 1] to 8 bits, half to even; any shape, uint8 out."""
    return (images * LEVELS).round_().clamp_(0, LEVELS).to(torch.uint8)


def reproject(adversarial: Tensor, clean: Tensor, levels: int) -> Tensor:
    """Move 8-bit images into the ball of ``levels`` around the clean ones.

    Args:
        adversarial: uint8, broadcastable with ``clean``.
        clean: uint8.
        levels: Radius, :func:`radius` of eps.

    Returns:
        uint8, in the shape of ``adversarial``.
    """
    original = clean.to(torch.int16)
    moved = adversarial.to(torch.int16)
    inside = torch.minimum(torch.maximum(moved, original - levels), original + levels)
    return inside.to(torch.uint8)
