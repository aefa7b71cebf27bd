"""CROWN-IBP: one linear bound carried back to the pixels, over activations bounded by intervals.

Interval bounds forget that the values of a layer come from the same pixels. A linear bound of a
difference of outputs, carried back through every layer (Zhang et al. 2020), keeps that. Each
activation is replaced by two lines around it between its interval bounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from fleet.bounds.box import Box, Normalisation, propagate
from fleet.bounds.heads import rounding_of
from fleet.errors import AuditError
from fleet.models import Classifier
from fleet.models.convolutional import ConvNet
from fleet.models.heads import Head, LogitsHead, OrdinalHead, SoftmaxHead

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
