"""Minimum-norm attacks: the nearest images that evade, and the attack in closed form (DeepFool).

DeepFool is exact on the linear model of an exit; for a scalar output it is one Newton step to the
nearest edge of the interval.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from fleet.attacks.exits import Exits, exits
from fleet.attacks.gradient import attackable, checked, fold, input_gradient
from fleet.attacks.outcomes import decide, evades
from fleet.attacks.pixels import LEVELS, to_bytes
from fleet.errors import AuditError
from fleet.models import Classifier
from fleet.vocabulary import Length, Norm

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


_NUDGE = 1e-4
"""Least overshoot, in slots or logits: an image exactly on an edge has to move, too."""


def first_order_margins(
    classifier: Classifier, images: Tensor, labels: Tensor, norm: Norm = "linf"
) -> Tensor:
    """Distance to the nearest exit if the network were linear (Moosavi-Dezfooli et al. 2016).

    ``min over exits of -value / ||gradient of value||_*``, with the dual norm (l1 for ``linf``, l2
    for ``l2``). Scalar: ``min(o - M_L, M_U - o) / ||grad o||_*``. Logits:
    ``min over k of (z_y - z_k) / ||grad (z_y - z_k)||_*``. Ordinal heads: through the opened clip
    of :func:`fleet.attacks.exits.exits`. The limits of pixels, [0, 1], play no part.

    Args:
        classifier: Left exactly as it was.
        images: float32 (B, C, H, W) in [0, 1].
        labels: True classes, int64 (B,).
        norm: How distance is measured.

    Returns:
        float32 (B,), in pixel units, >= 0: 0 where the image is not decoded as its label, infinity
        where no exit has a gradient, NaN where a gradient is not finite.
    """
    clean = checked(images)
    with attackable(classifier):
        ways = exits(classifier, labels)
        folded = fold(clean, ways.count)
        gradient, value = input_gradient(classifier, folded, ways.value, "fp32")
        with torch.no_grad():
            wrong = ways.evades(classifier.raw(folded)).unflatten(0, (ways.count, -1))[0]
    # float64, because squares of a saturated network's gradients vanish in float32.
    length = torch.linalg.vector_norm(
        gradient.flatten(1).double(), ord=1 if norm == "linf" else 2, dim=1
    )
    distance = torch.where(length == 0, torch.inf, -value.double() / length)
    nearest = distance.unflatten(0, (ways.count, -1)).amin(0).clamp(min=0.0)
    return torch.where(wrong, 0.0, nearest).float()


@dataclass(frozen=True)
class DeepFool:
    """Newton steps to an exit, each the shortest on the linear model and inside [0, 1].

    Every exit is tried from the image itself, each to its own end, and the nearest is taken
    (Moosavi-Dezfooli et al. 2016 choose the exit anew before each step). A step of theirs may leave
    [0, 1] and is cut, which falls short; here the step takes the limits of pixels into account
    (Croce & Hein 2020), so that on a linear model the first step is the exact answer.

    Attributes:
        norm: Whose distance is minimised.
        steps: Newton steps at most; a row stops where it evades.
        overshoot: Share by which a step goes past the edge; what it adds is trimmed afterwards.
    """

    norm: Norm = "l2"
    steps: int = 20
    overshoot: float = 0.02

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.overshoot > 0:
            raise AuditError(
                f"steps is {self.steps} and overshoot is {self.overshoot}",
                hint="an attack takes at least one step, and ends past the edge, not on it",
            )

    def __call__(self, classifier: Classifier, images: Tensor, labels: Tensor) -> Minimum:
        """Attack a batch; it takes no random numbers.

        Args:
            classifier: Left exactly as it was.
            images: float32 (B, C, H, W) in [0, 1].
            labels: True classes, int64 (B,).

        Raises:
            AuditError: The images leave [0, 1].
        """
        clean = checked(images)
        with attackable(classifier):
            ways = exits(classifier, labels)
            rows = self._walk(classifier, fold(clean, ways.count), ways)
            rows = trim(classifier, clean, rows, ways)
            return choose(classifier, clean, rows, labels, lambda d: lengths(d, self.norm))

    def _walk(self, classifier: Classifier, rows: Tensor, ways: Exits) -> Tensor:
        for _ in range(self.steps):
            gradient, value = input_gradient(classifier, rows, ways.value, "fp32")
            need = torch.where(value > 0, 0.0, _NUDGE - value * (1 + self.overshoot))
            rows = (rows + shortest_step(rows, gradient, need, self.norm)).clamp_(0.0, 1.0)
        return rows


def shortest_step(images: Tensor, gradient: Tensor, need: Tensor, norm: Norm) -> Tensor:
    """Find the shortest d with ``gradient . d = need`` and ``images + d`` in [0, 1].

    With a = |gradient| and each pixel's room towards its sign, d is ``min(t, room)`` for ``linf``
    and ``min(t * a, room)`` for ``l2``; the one unknown t follows from the sorted pixels.

    Args:
        images: float32 (R, C, H, W) in [0, 1].
        gradient: Same shape.
        need: Rise of the linear model, >= 0, (R,).
        norm: Whose length is minimised.

    Returns:
        float32 (R, C, H, W): as far as it goes where ``need`` is out of reach; 0 where a pixel's
        gradient is 0 or not finite.
    """
    g = gradient.flatten(1).double().nan_to_num(0.0, 0.0, 0.0)
    x, slope = images.flatten(1).double(), g.abs()
    pace = torch.ones_like(slope) if norm == "linf" else slope
    room = torch.where(slope > 0, torch.where(g > 0, 1 - x, x), 0.0)
    full, order = torch.where(slope > 0, room / pace, 0.0).sort(dim=1)
    filled = (slope * room).gather(1, order)
    speed = (slope * pace).gather(1, order)
    ahead = speed.flip(1).cumsum(1).flip(1)
    before = filled.cumsum(1) - filled
    # Rise when the k-th pixel becomes full; the first k that is enough holds the answer.
    enough = before + full * ahead >= need.double().unsqueeze(1)
    k = enough.int().argmax(1, keepdim=True)
    t = (need.double().unsqueeze(1) - before.gather(1, k)) / ahead.gather(1, k)
    # No earlier than the pixel before it: where hardly any slope is ahead, t is what rounding left.
    t = torch.where(k > 0, torch.maximum(t, full.gather(1, (k - 1).clamp(min=0))), t)
    t = torch.where(enough.any(1, keepdim=True), t, torch.inf)
    size = torch.where((slope > 0) & (need.unsqueeze(1) > 0), torch.minimum(t * pace, room), 0.0)
    return (g.sign() * size).reshape(images.shape).float()
