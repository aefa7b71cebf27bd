"""The images that an attack may make: an eps ball cut by [0, 1], and its 8-bit images.

Two norms: ``linf``, the largest difference of a pixel, and ``l2``, the length of all differences
of an image. Both are in pixel units, black 0 and white 1.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fleet.attacks.keys import SampleKeys
from fleet.attacks.pixels import LEVELS, check_eps, radius, reproject, squared_radius, to_bytes
from fleet.errors import AuditError
from fleet.vocabulary import Norm

_PIXELS = (1, 2, 3)
_TINY = torch.finfo(torch.float32).tiny


class Ball(Protocol):
    """The images within ``eps`` of ``center``, cut by [0, 1]; rows are independent."""

    @property
    def center(self) -> Tensor:
        """The clean images, float32 (R, C, H, W) in [0, 1]."""

    @property
    def eps(self) -> float:
        """Radius in pixel units."""

    @property
    def norm(self) -> Norm:
        """How the radius is measured."""

    def project(self, images: Tensor) -> Tensor:
        """Move images, float32 (R, C, H, W), into the ball; in place."""

    def steepest(self, gradient: Tensor) -> Tensor:
        """Turn a gradient into the steepest ascent of length 1 in this norm; in place.

        A row without a gradient gives zeros, and NaN counts as zero, so that no row can be lost.
        """

    def random(self, keys: SampleKeys, *purpose: int | str) -> Tensor:
        """Draw a point of each row's ball.

        Args:
            keys: Names the random numbers, B images; the R rows are R / B variants of them, one
                variant after the other, each with draws of its own.
            purpose: What the draws are for.

        Returns:
            float32 (R, C, H, W) in the ball.
        """


@dataclass(frozen=True, eq=False)
class LinfBall:
    """A box: see :class:`Ball`.

    Attributes:
        center: The clean images, float32 (R, C, H, W) in [0, 1].
        eps: Largest difference of a pixel, (0, 1].
        low: Lowest pixel values, same shape.
        high: Highest pixel values, same shape.
    """

    center: Tensor
    eps: float
    low: Tensor
    high: Tensor

    @property
    def norm(self) -> Norm:
        """``linf``."""
        return "linf"

    def project(self, images: Tensor) -> Tensor:
        """See :class:`Ball`."""
        return images.clamp_(self.low, self.high)

    def steepest(self, gradient: Tensor) -> Tensor:
        """See :class:`Ball`: the signs (the sign of NaN is 0 in torch)."""
        return gradient.sign_()

    def random(self, keys: SampleKeys, *purpose: int | str) -> Tensor:
        """See :class:`Ball`: uniform in the box."""
        shape = self.low.shape[1:]
        draws = [keys.uniform(shape, *purpose, v) for v in _variants(self.low, keys)]
        return torch.addcmul(self.low, torch.cat(draws), self.high - self.low)


@dataclass(frozen=True, eq=False)
class L2Ball:
    """A Euclidean ball cut by [0, 1]: see :class:`Ball`.

    Attributes:
        center: The clean images, float32 (R, C, H, W) in [0, 1].
        eps: Largest length of the difference, above 0.
    """

    center: Tensor
    eps: float

    @property
    def norm(self) -> Norm:
        """``l2``."""
        return "l2"

    def project(self, images: Tensor) -> Tensor:
        """See :class:`Ball`: shrink the difference, then cut, which only shortens it further."""
        difference = images.sub_(self.center)
        length = torch.linalg.vector_norm(difference, dim=_PIXELS, keepdim=True)
        share = length.clamp_(min=_TINY).reciprocal_().mul_(self.eps).clamp_(max=1.0)
        return difference.mul_(share).add_(self.center).clamp_(0.0, 1.0)

    def steepest(self, gradient: Tensor) -> Tensor:
        """See :class:`Ball`: the gradient divided by its length.

        By its largest value first: squares of a saturated network's gradients, 1e-23 and smaller,
        are zero in float32.
        """
        finite = gradient.nan_to_num_(nan=0.0)
        finite.div_(finite.abs().amax(dim=_PIXELS, keepdim=True).clamp_(min=_TINY))
        length = torch.linalg.vector_norm(finite, dim=_PIXELS, keepdim=True)
        return finite.div_(length.clamp_(min=_TINY))

    def random(self, keys: SampleKeys, *purpose: int | str) -> Tensor:
        """See :class:`Ball`: uniform in the Euclidean ball, then cut to [0, 1]."""
        shape = self.center.shape[1:]
        share = 1 / math.prod(shape)
        draws = []
        for variant in _variants(self.center, keys):
            direction = self.steepest(keys.normal(shape, *purpose, variant))
            reach = keys.uniform(torch.Size((1, 1, 1)), *purpose, variant, "radius")
            draws.append(direction.mul_(self.eps * reach**share))
        return torch.cat(draws).add_(self.center).clamp_(0.0, 1.0)


def ball(images: Tensor, eps: float, norm: Norm = "linf") -> Ball:
    """Make the ball around images.

    Args:
        images: float32 (R, C, H, W) in [0, 1]; kept, not copied.
        eps: Radius in pixel units: ``linf`` in (0, 1], ``l2`` in (0, sqrt(C * H * W)].
        norm: How it is measured.

    Raises:
        AuditError: ``eps`` is not a radius.
    """
    check_eps(eps, norm)
    if norm == "linf":
        low, high = (images - eps).clamp_(min=0.0), (images + eps).clamp_(max=1.0)
        return LinfBall(images, eps, low, high)
    widest = math.sqrt(math.prod(images.shape[1:]))
    if eps > widest:
        raise AuditError(
            f"the l2 radius {eps:g} is larger than the distance from black to white, {widest:g}",
            hint="give the length of the whole difference in pixel units, for example 1.5",
        )
    return L2Ball(images, eps)


def quantise(adversarial: Tensor, clean: Tensor, eps: float, norm: Norm = "linf") -> Tensor:
    """Round adversarial images to the 8-bit images that an attacker can send.

    Each pixel goes to its nearest level. ``linf``: pixels beyond the whole levels inside eps go
    back to them. ``l2``: in images that are then too far, pixels that were rounded away from the
    original are rounded towards it instead, those nearest to a half first, until the exact
    distance is not above eps.

    Args:
        adversarial: float32 (..., B, C, H, W) in [0, 1].
        clean: uint8 (B, C, H, W).
        eps: Radius in pixel units.
        norm: How it is measured.

    Returns:
        uint8, in the shape of ``adversarial``; :func:`distance` of it is not above ``eps``.

    Raises:
        AuditError: ``eps`` is not a radius, or no 8-bit image but the original is that near.
    """
    if norm == "linf":
        return reproject(to_bytes(adversarial), clean, radius(eps))
    limit = squared_radius(eps)
    original = clean.double()
    wanted = (adversarial.double() * LEVELS).clamp_(0, LEVELS) - original
    rows = wanted.flatten(0, -4).flatten(1)
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    rows *= (length.clamp(min=1.0).reciprocal() * math.sqrt(limit)).clamp(max=1.0)
    rounded = rows.round()
    far = (rounded.square().sum(1) > limit).nonzero().squeeze(1)
    rounded[far] = _nearer(rows[far], rounded[far], limit)
    return (rounded.reshape(wanted.shape) + original).to(torch.uint8)


def distance(images: Tensor, clean: Tensor, norm: Norm = "linf") -> Tensor:
    """Distance of 8-bit images from their originals, from whole numbers.

    Args:
        images: uint8 (..., B, C, H, W).
        clean: uint8 (B, C, H, W).
        norm: How it is measured.

    Returns:
        float64 (..., B), in pixel units.
    """
    levels = (images.to(torch.int64) - clean.to(torch.int64)).flatten(-3)
    if norm == "linf":
        return levels.abs().amax(-1).double() / LEVELS
    return levels.square().sum(-1).double().sqrt() / LEVELS


def _nearer(wanted: Tensor, rounded: Tensor, limit: int) -> Tensor:
    """Take levels back from rows, float64 (R, D), until their squared length is in the limit.

    ``wanted`` is inside, so taking back all that was rounded outwards is always enough.
    """
    outwards = rounded.abs() - wanted.abs()
    order = outwards.argsort(dim=1, descending=True, stable=True)
    saved = torch.where(outwards > 0, 2 * rounded.abs() - 1, 0.0).gather(1, order)
    surplus = rounded.square().sum(1, keepdim=True) - limit
    taken = (saved.cumsum(1) - saved < surplus) & (saved > 0)
    step = torch.zeros_like(rounded).scatter(1, order, taken.double())
    return rounded - rounded.sign() * step


def _variants(center: Tensor, keys: SampleKeys) -> range:
    """Numbers of the variants; a batch without images has one, of no rows."""
    return range(len(center) // len(keys.indices) if len(center) > 0 else 1)
