"""Certificates: which decisions no perturbation within eps can change, on which images.

By intervals, or by CROWN-IBP. Interval bounds forget that the values of a layer come from the same
pixels. A linear bound of a difference of outputs, carried back through every layer (Zhang et al.
2020), keeps that. Each activation is replaced by two lines around it between its interval bounds.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from fleet.bounds.box import FLOAT32, Box, Normalisation, image_box, normalised, propagate, rounding
from fleet.bounds.heads import lower_margins, rounding_of, value_bounds
from fleet.errors import AuditError
from fleet.models import Classifier
from fleet.models.convolutional import ConvNet
from fleet.models.heads import Head, LinearHead, LogitsHead, OrdinalHead, SoftmaxHead

SLACK = 1e-9
"""For float64's own rounding on the way back; a margin is about 1."""


def lower_margins_backward(network: Classifier, pixels: Box, labels: Tensor) -> Tensor:
    """Bound from below what keeps the true class, as :func:`fleet.bounds.heads.lower_margins`.

    Args:
        network: In eval mode and float64, of the architecture ``cnn``.
        pixels: The normalised images' box.
        labels: Classes, int64 (B,).

    Returns:
        (B, K), the true class's own column infinite; ordinal: (B, K-1).

    Raises:
        AuditError: A layer, or the head, has no linear bounds.
    """
    steps: list[tuple[nn.Module, Box, Box]] = []
    box = pixels
    for layer in _flat(network.backbone):
        after = propagate(layer, box)
        steps.append((layer, box, after))
        box = after
    slopes, constant, own = _last(network.head, box, labels)
    for layer, before, after in reversed(steps):
        slopes, more = _back(layer, slopes, before, after)
        constant = constant + more
    centre, radius = pixels.centre.unsqueeze(1), pixels.radius.unsqueeze(1)
    found = constant + (slopes * centre - slopes.abs() * radius).flatten(2).sum(2) - SLACK
    return found if own is None else found.masked_fill(own, torch.inf)


def _flat(layer: nn.Module) -> Iterator[nn.Module]:
    if isinstance(layer, ConvNet | nn.Sequential):
        for inner in layer.layers if isinstance(layer, ConvNet) else layer:
            yield from _flat(inner)
    else:
        yield layer


def _last(head: Head, box: Box, labels: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Slopes (B, R, D) and constants (B, R) of what decides, and the true class's own column."""
    if isinstance(head, OrdinalHead):
        signs = head.answers(labels).to(box.radius)
        slopes = signs.unsqueeze(2) * head.linear.weight
        return slopes, signs * head.linear.bias - rounding_of(head.linear, box), None
    if not isinstance(head, SoftmaxHead | LogitsHead):
        raise AuditError("no linear bounds for this head", hint="use interval bounds alone")
    weight, bias = head.linear.weight, head.linear.bias
    off = rounding_of(head.linear, box)
    true = labels.unsqueeze(1)
    constant = bias[true] - bias - off - off.gather(1, true)
    own = nn.functional.one_hot(labels, len(weight)).bool()
    return weight[labels].unsqueeze(1) - weight, constant, own


def _back(layer: nn.Module, slopes: Tensor, before: Box, after: Box) -> tuple[Tensor, Tensor]:
    """Carry slopes (B, R, ...) from a layer's values to its inputs; and what is added, (B, R)."""
    if isinstance(layer, nn.Flatten):
        return slopes.unflatten(2, before.radius.shape[1:]), slopes.new_zeros(())
    if isinstance(layer, nn.ReLU | nn.Hardtanh):
        return _through_activation(slopes, before, getattr(layer, "max_val", torch.inf))
    if not isinstance(layer, nn.Linear | nn.Conv2d | Normalisation):
        raise AuditError(
            f"no linear bounds for a layer of type {type(layer).__name__}",
            hint="use interval bounds alone",
        )
    # What float32 may be off is what the widened box has beyond the exact one.
    exact = propagate(layer, Box(before.values, before.radius))
    off = (after.radius - exact.radius).unsqueeze(1)
    back = _transposed(layer, slopes, before)
    at_centre = (slopes * after.centre.unsqueeze(1)).flatten(2).sum(2)
    moved = (back * before.centre.unsqueeze(1)).flatten(2).sum(2)
    return back, at_centre - moved - (slopes.abs() * off).flatten(2).sum(2)


def _transposed(layer: nn.Module, slopes: Tensor, before: Box) -> Tensor:
    if isinstance(layer, nn.Linear):
        return slopes @ layer.weight
    if isinstance(layer, nn.Conv2d):
        shape = (slopes.shape[0] * slopes.shape[1], *before.radius.shape[1:])
        how = (layer.stride, layer.padding, layer.dilation, layer.groups)
        back = conv2d_input(shape, layer.weight, slopes.flatten(0, 1), *how)
        unfolded: Tensor = back.unflatten(0, slopes.shape[:2])
        return unfolded
    norm = cast(nn.BatchNorm2d, layer)
    gain = norm.weight * torch.rsqrt(cast(Tensor, norm.running_var) + norm.eps)
    return slopes * gain.view(1, 1, -1, *[1] * (slopes.dim() - 3))


def _through_activation(slopes: Tensor, before: Box, top: float) -> tuple[Tensor, Tensor]:
    low, high = before.centre - before.radius, before.centre + before.radius
    under, under_at = _line_below(low, high, top)
    over, over_at = _line_above(low, high, top)
    up, down = slopes.clamp(min=0), slopes.clamp(max=0)
    added = up * under_at.unsqueeze(1) + down * over_at.unsqueeze(1)
    return up * under.unsqueeze(1) + down * over.unsqueeze(1), added.flatten(2).sum(2)


def _line_below(low: Tensor, high: Tensor, top: float) -> tuple[Tensor, Tensor]:
    """Slope and value at 0 of a line that is nowhere above ``min(max(v, 0), top)``.

    The chord where the function is concave; where it also bends at 0, a line through 0: to the
    value at ``high``, or flat, whichever is higher in the middle.
    """
    value = high.clamp(0, top)
    through = torch.where(low + high > 0, value / high.clamp(min=1e-12), 0.0)
    slope = torch.where(low >= 0, _chord(low, high, top), through)
    at = torch.where(low >= 0, low.clamp(max=top) - slope * low, 0.0)
    dead, full = high <= 0, low >= top
    slope = torch.where(dead | full, 0.0, slope)
    return slope, torch.where(full, top, torch.where(dead, 0.0, at))


def _line_above(low: Tensor, high: Tensor, top: float) -> tuple[Tensor, Tensor]:
    """Slope and value at 0 of a line that is nowhere below ``min(max(v, 0), top)``.

    The chord where the function is convex; where it also bends at ``top``, a line from the value
    at ``low`` through the bend, or flat, whichever is lower in the middle.
    """
    if top == torch.inf:
        slope = torch.where(low >= 0, 1.0, _chord(low, high, top))
        slope = torch.where(high <= 0, 0.0, slope)
        return slope, low.clamp(min=0) - slope * low
    bend = (top - low.clamp(min=0)) / (top - low).clamp(min=1e-12)
    middle = (low + high) / 2
    steep = low.clamp(min=0) + bend * (middle - low) < top
    beyond = torch.where(steep, bend, 0.0)
    slope = torch.where(high > top, beyond, _chord(low, high, top))
    at = torch.where((high > top) & ~steep, top, low.clamp(0, top) - slope * low)
    dead, full = high <= 0, low >= top
    slope = torch.where(dead | full, 0.0, slope)
    return slope, torch.where(full, top, torch.where(dead, 0.0, at))


def _chord(low: Tensor, high: Tensor, top: float) -> Tensor:
    rise = high.clamp(0, top) - low.clamp(0, top)
    return rise / (high - low).clamp(min=1e-12)


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
        classifier: Of an architecture with bounds (:func:`fleet.bounds.box.propagate`), with any
            head; not changed.
        images: float32 (N, C, H, W) in [0, 1].
        labels: Classes, int64 (N,).
        eps: Largest change of a pixel, on the [0, 1] scale; one, or one for each image, (N,).
        tight: Try CROWN-IBP (:mod:`fleet.bounds.certify`) where intervals prove nothing; for
            ``cnn`` alone. It takes as long for one such image as intervals for a dozen.
        dtype: ``torch.float64``, or ``torch.float32``.

    Raises:
        AuditError: A layer or the head has no bounds.
    """
    network, place = copy.deepcopy(classifier).to(dtype).eval(), classifier.mean.device
    images, labels = images.to(place), labels.to(place)
    unit = FLOAT32 if dtype == torch.float64 else 0.0
    radii = torch.as_tensor(eps, dtype=dtype, device=place).expand(len(images)).split(BATCH)
    found = []
    with torch.inference_mode():
        for x, y, radius in zip(images.split(BATCH), labels.split(BATCH), radii, strict=True):
            pixels = pixel_box(network, x.to(dtype), radius.view(-1, 1, 1, 1), unit)
            box = propagate(network.backbone, pixels)
            stays, never_wrong = decisions(network.head, box, y)
            # A tensor of no rows is split into one part of none, which asks layers for bounds too.
            still_open = (~stays).nonzero().flatten()
            for rows in still_open.split(TIGHT_BATCH) if tight and len(still_open) else ():
                margins = lower_margins_backward(network, pixels.part(rows), y[rows])
                held = decisions(network.head, box.part(rows), y[rows], margins)
                stays[rows], never_wrong[rows] = held
            found.append((stays, never_wrong))
    return Certificates(*(torch.cat(parts).cpu() for parts in zip(*found, strict=True)))


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
