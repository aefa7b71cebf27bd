"""The Square attack (Andriushchenko et al. 2020): random search with outputs, no gradient."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, cast

import torch
from torch import Tensor

from fleet.attacks.ball import quantise
from fleet.attacks.exits import Outside
from fleet.attacks.gradient import attackable, checked
from fleet.attacks.keys import SampleKeys
from fleet.attacks.objectives import Objective, Value
from fleet.attacks.outcomes import Criterion, Queried, evades, outcomes_of
from fleet.attacks.pixels import LEVELS, radius, squared_radius, to_bytes
from fleet.data import to_unit
from fleet.errors import AuditError
from fleet.models import Classifier
from fleet.vocabulary import Norm

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries of 10,000 after which the authors halve the squares' area."""

_OUTPUTS = Outside()

_BLOCK = 50
"""Queries between two looks at who is done."""


@dataclass(frozen=True)
class Square:
    """Change one random square at a time and keep what does not lower the objective.

    Ties are kept: where a clipped head's output is flat, the search then drifts instead of
    standing still. Measured on 59 validation images of an undefended `ordinal` device, 400 queries,
    eps 0.1 and 0.2: evades 7 and 39 with ties, 4 and 30 without; no difference on `linear` heads
    and logits. One value for both edges, not up and down with half the queries each: on a `linear`
    device 58 images, evades 21 and 49 (17 and 48). A first share of 0.8 was the best of 0.05, 0.3
    and 0.8 for ``linf``.

    Every image sent is an 8-bit image inside the ball, as a device in the field gets it. The
    random numbers of an image depend on its key alone, not on its batch.

    Attributes:
        eps: Radius in pixel units.
        queries: Images sent for each image at most, shared among the variants of the objective.
        objective: What to raise. The default sees outputs only, as a remote attacker does;
            :class:`fleet.attacks.Directions` sees inside the head, for a check by the owner.
        norm: How the radius is measured.
        share: Share of the area that the first squares have; it falls as the authors let it fall,
            in proportion to the budget.
    """

    eps: float
    queries: int = 1000
    objective: Objective = _OUTPUTS
    norm: Norm = "linf"
    share: float = 0.8

    def __post_init__(self) -> None:
        _ = radius(self.eps) if self.norm == "linf" else squared_radius(self.eps)
        if self.queries < self.variants or not 0 < self.share <= 1:
            raise AuditError(
                f"{self.queries} queries for {self.variants} variants, share {self.share}",
                hint="give one query or more for each variant, and a share in (0, 1]",
            )

    @property
    def variants(self) -> int:
        """Adversarial images made for each image."""
        return self.objective.variants

    def __call__(
        self, classifier: Classifier, images: Tensor, labels: Tensor, keys: SampleKeys
    ) -> Tensor:
        """See :class:`fleet.attacks.Attack`: the best of each variant, on the 8-bit grid."""
        search = _Search(self, classifier, images, labels, keys, criterion=evades)
        with attackable(classifier):
            search.ask(search.everyone(), range(self.steps))
        return search.best.float() / LEVELS

    def run(
        self,
        classifier: Classifier,
        images: Tensor,
        labels: Tensor,
        keys: SampleKeys,
        criterion: Criterion = evades,
    ) -> Queried:
        """Attack until the criterion is met, and count.

        Variants take turns. Images that are done are left out from the next block of 50 queries
        on, which saves time and changes no result.

        Args:
            classifier: Left exactly as it was.
            images: float32 (B, C, H, W) in [0, 1]; rounded to 8 bits first.
            labels: True classes, int64 (B,).
            keys: Names the random numbers.
            criterion: Which outcomes count.

        Raises:
            AuditError: The images leave [0, 1].
        """
        search = _Search(self, classifier, images, labels, keys, criterion=criterion)
        with attackable(classifier):
            for first in range(0, self.steps, _BLOCK):
                rows = (~search.success).nonzero().squeeze(1)
                if len(rows) == 0:
                    break
                search.ask(rows, range(first, min(first + _BLOCK, self.steps)))
        return search.result()

    @property
    def steps(self) -> int:
        """Queries of each variant."""
        return self.queries // self.variants

    def side_share(self, step: int) -> float:
        """Share of the area that a square has at a step."""
        position = step * 10_000 // self.steps
        return self.share * 0.5 ** sum(position > start for start in _HALVINGS)


class _Search:
    """The state of a batch: the best image of each variant, and what met the criterion."""

    def __init__(
        self,
        attack: Square,
        classifier: Classifier,
        images: Tensor,
        labels: Tensor,
        keys: SampleKeys,
        *,
        criterion: Criterion,
    ) -> None:
        self._attack, self._classifier, self._criterion = attack, classifier, criterion
        self._clean, self._labels, self._keys = to_bytes(checked(images)), labels, keys
        variants, count = attack.variants, len(images)
        self.best = self._clean.repeat(variants, 1, 1, 1, 1)
        self._values = torch.full((variants, count), -torch.inf, device=images.device)
        self._first = self._clean.clone()
        self.success = torch.zeros_like(labels, dtype=torch.bool)
        self._queries = torch.full_like(labels, attack.steps * variants)

    def everyone(self) -> Tensor:
        """Rows of all images, int64 (B,)."""
        return torch.arange(len(self._labels), device=self._labels.device)

    def result(self) -> Queried:
        """The image that met the criterion, else the best over the variants."""
        best = self.best[self._values.argmax(0), self.everyone()]
        images = torch.where(self.success.view(-1, 1, 1, 1), self._first, best)
        return Queried(images, self.success, self._queries)

    def ask(self, rows: Tensor, steps: range) -> None:
        """Take these steps with these images, int64 (A,)."""
        attack, labels = self._attack, self._labels[rows]
        keys = SampleKeys(self._keys.seed, self._keys.device, self._keys.indices[rows])
        value = attack.objective.bind(self._classifier, labels)
        around = moves(self._clean[rows].repeat(attack.variants, 1, 1, 1), attack.eps, attack.norm)
        best, values = self.best[:, rows].flatten(0, 1), self._values[:, rows].flatten()
        for step in steps:
            draw = _draw(keys, around, attack.variants, step)
            tried = (
                around.propose(best, attack.side_share(step), draw)
                if step > 0
                else around.start(draw)
            )
            reached, outcomes = self._look(tried, value, labels)
            self._note(rows, tried, outcomes, step)
            better = reached >= values
            values = torch.where(better, reached, values)
            best = torch.where(better.view(-1, 1, 1, 1), tried, best)
        self.best[:, rows] = best.unflatten(0, (attack.variants, -1))
        self._values[:, rows] = values.unflatten(0, (attack.variants, -1))

    def _look(self, tried: Tensor, value: Value, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Objective and outcome of 8-bit images, in fp32."""
        unit = to_unit(tried).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(unit.device.type, enabled=False):
            raw = self._classifier.raw(unit)
            decoded = self._classifier.decode(self._classifier.outputs(raw))
            reached = value(raw)
        return reached.clone(), outcomes_of(decoded, labels.repeat(self._attack.variants))

    def _note(self, rows: Tensor, tried: Tensor, outcomes: Tensor, step: int) -> None:
        """Count the first image of each row that meets the criterion; variants take turns."""
        met = self._criterion(outcomes).unflatten(0, (self._attack.variants, -1))
        which = met.int().argmax(0)
        fresh = met.any(0) & ~self.success[rows]
        number = step * self._attack.variants + which + 1
        shown = tried.unflatten(0, (self._attack.variants, -1))[
            which, torch.arange(len(which), device=which.device)
        ]
        self._queries[rows] = torch.where(fresh, number, self._queries[rows])
        self._first[rows] = torch.where(fresh.view(-1, 1, 1, 1), shown, self._first[rows])
        self.success[rows] |= fresh


def _draw(keys: SampleKeys, around: Moves, variants: int, step: int) -> Tensor:
    shape = torch.Size((around.numbers,))
    return torch.cat([keys.uniform(shape, "square", step, v) for v in range(variants)])


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
