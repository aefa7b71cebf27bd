"""Where the Square attack puts its squares: random proposals in the ball, image by image."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol, cast

import torch
from torch import Tensor

from fleet.attacks.ball import quantise
from fleet.attacks.pixels import LEVELS, Norm, radius

_PIXELS = (1, 2, 3)
_TINY = 1e-12
_TILES = 5

Draw = Tensor
"""Uniform numbers of one step, float32 (R, :attr:`Moves.numbers`)."""


class Moves(Protocol):
    """Makes the 8-bit images that are tried."""

    @property
    def numbers(self) -> int:
        """Random numbers that one step takes for each image."""

    def start(self, draw: Draw) -> Tensor:
        """Make the first images, uint8 (R, C, H, W)."""

    def propose(self, best: Tensor, share: float, draw: Draw) -> Tensor:
        """Change a square of ``share`` of each image's area, uint8 (R, C, H, W)."""


def moves(clean: Tensor, eps: float, norm: Norm) -> Moves:
    """Make the moves around originals, uint8 (R, C, H, W)."""
    return _Corners(clean, eps) if norm == "linf" else _Bumps(clean, eps)


class _Corners:
    """Linf: every pixel of a square goes to its lowest or highest level, by channel."""

    def __init__(self, clean: Tensor, eps: float) -> None:
        levels, wide = radius(eps), clean.to(torch.int16)
        self._low = (wide - levels).clamp_(0, LEVELS).to(torch.uint8)
        self._high = (wide + levels).clamp_(0, LEVELS).to(torch.uint8)
        _, self._channels, self._height, self._width = clean.shape

    @property
    def numbers(self) -> int:
        """Two for the place and one for each channel; at the start one for each column."""
        return max(2 + self._channels, self._channels * self._width)

    def start(self, draw: Draw) -> Tensor:
        """Vertical stripes one pixel wide."""
        signs = draw[:, : self._channels * self._width] < 0.5
        stripes = signs.reshape(-1, self._channels, 1, self._width)
        return torch.where(stripes, self._high, self._low)

    def propose(self, best: Tensor, share: float, draw: Draw) -> Tensor:
        """One square; where it would change nothing, the opposite square."""
        side = round((share * self._height * self._width) ** 0.5)
        side = min(max(side, 1), self._height, self._width)
        inside = _window(draw, self._height, self._width, side)
        up = (draw[:, 2 : 2 + self._channels] < 0.5).reshape(-1, self._channels, 1, 1)
        changed = torch.where(inside, torch.where(up, self._high, self._low), best)
        idle = (changed == best).flatten(1).all(1).view(-1, 1, 1, 1)
        return torch.where(inside, torch.where(up ^ idle, self._high, self._low), best)


class _Bumps:
    """L2: move what one square spends to a bump in another, and fill the ball up."""

    def __init__(self, clean: Tensor, eps: float) -> None:
        self._clean, self._eps = clean, eps
        self._unit = clean.float() / LEVELS
        _, self._channels, self._height, self._width = clean.shape

    @property
    def numbers(self) -> int:
        """Two places, one number for turning the bump, and one for each channel and tile."""
        return 5 + self._channels * _TILES**2

    def start(self, draw: Draw) -> Tensor:
        """Five by five tiles, each a bump of random sign."""
        side = max(min(self._height, self._width) // _TILES, 1)
        signs = _signs(draw[:, 5:]).reshape(-1, self._channels, _TILES**2)
        canvas = torch.zeros_like(self._unit)
        rows, columns = (min(_TILES, size // side) for size in (self._height, self._width))
        top, left = (self._height - rows * side) // 2, (self._width - columns * side) // 2
        for row in range(rows):
            for column in range(columns):
                sign = signs[:, :, row * _TILES + column].view(-1, self._channels, 1, 1)
                y, x = top + row * side, left + column * side
                canvas[:, :, y : y + side, x : x + side] = sign * _bump(side).to(canvas.device)
        return self._filled(canvas)

    def propose(self, best: Tensor, share: float, draw: Draw) -> Tensor:
        """A bump added to what one square holds, paid for by all that another holds."""
        side = max(round((share * self._height * self._width) ** 0.5), 3)
        side = min(side + 1 - side % 2, self._height, self._width)
        delta = best.float() / LEVELS - self._unit
        target = _window(draw[:, :2], self._height, self._width, side)
        source = _window(draw[:, 2:4], self._height, self._width, side)
        both, held = target | source, delta * target
        signs = _signs(draw[:, 5 : 5 + self._channels]).reshape(-1, self._channels, 1, 1)
        grown = self._bumps(draw, side) * target * signs + held / (_TINY + _norm(held, (2, 3)))
        unspent = (self._eps**2 - _norm(delta, _PIXELS).square()).clamp_(min=0.0)
        length = (unspent / self._channels + _norm(delta * both, (2, 3)).square()).sqrt()
        grown *= length / (_TINY + _norm(grown, (2, 3)))
        return self._filled(delta * ~both + grown)

    def _bumps(self, draw: Draw, side: int) -> Tensor:
        """Each row's bump, upright or turned, at its target and repeated outside it."""
        top, left = _corner(draw[:, :2], self._height, self._width, side)
        y = (torch.arange(self._height, device=draw.device) - top).clamp_(0, side - 1).unsqueeze(2)
        x = (torch.arange(self._width, device=draw.device) - left).clamp_(0, side - 1).unsqueeze(1)
        turned = (draw[:, 4] < 0.5).view(-1, 1, 1)
        bump = _bump(side).to(draw.device)
        return torch.where(turned, bump[x, y], bump[y, x]).unsqueeze(1)

    def _filled(self, delta: Tensor) -> Tensor:
        """Scale to the ball's surface, cut to [0, 1], round inside the ball."""
        image = self._unit + delta * (self._eps / (_TINY + _norm(delta, _PIXELS)))
        return quantise(image.clamp_(0.0, 1.0), self._clean, self._eps, "l2")


def _corner(place: Tensor, height: int, width: int, side: int) -> tuple[Tensor, Tensor]:
    """Top and left of each row's square, int64 (R, 1), from two uniform numbers."""
    rows = (place[:, :1] * (height - side + 1)).long()
    columns = (place[:, 1:2] * (width - side + 1)).long()
    return rows, columns


def _window(place: Tensor, height: int, width: int, side: int) -> Tensor:
    """Where each row's square is, bool (R, 1, H, W)."""
    top, left = _corner(place, height, width, side)
    y, x = torch.arange(height, device=place.device), torch.arange(width, device=place.device)
    rows, columns = (y >= top) & (y < top + side), (x >= left) & (x < left + side)
    return (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)


@lru_cache(maxsize=64)
def _bump(side: int) -> Tensor:
    """The L2 pattern of Andriushchenko et al. (2020): two hills of opposite sign, length 1."""
    if side == 1:
        return torch.ones(1, 1)
    half = side // 2
    hills = torch.cat([_hill(half, side), -_hill(side - half, side)])
    return hills / _norm(hills, (0, 1))


def _hill(height: int, width: int) -> Tensor:
    """Rectangles around the middle, each with 1 / k^2 more than the next larger one; length 1."""
    hill = torch.zeros(height, width)
    top, left = height // 2, width // 2
    for k in range(max(top, left) + 1):
        rows = slice(max(top - k, 0), top + k + 1)
        hill[rows, max(left - k, 0) : left + k + 1] += 1 / (k + 1) ** 2
    return hill / _norm(hill, (0, 1))


def _signs(draw: Tensor) -> Tensor:
    return torch.where(draw < 0.5, 1.0, -1.0)


def _norm(values: Tensor, axes: tuple[int, ...]) -> Tensor:
    return cast(Tensor, torch.linalg.vector_norm(values, dim=axes, keepdim=True))
