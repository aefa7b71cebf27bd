"""Interval bound propagation: a box of inputs through a network, layer by layer.

A box is its centre and its radius. An affine layer ``Wv + b`` moves the centre like any value and
the radius by ``|W|``; a monotone activation moves the two corners. BatchNorm in training mode takes
its statistics from the *clean* values that travel beside the box (Shi et al. 2021), so that bounds
describe the network that is used and the batch's perturbation does not move its own normalisation.

A network computes in float32, and its values differ from exact arithmetic. A box with a rounding
``unit`` holds them all the same: a sum of n products in any order is off by at most
``gamma * sum |w v|`` with ``gamma = n u / (1 - n u)`` (Higham 2002, section 3.1), so the radius
grows by ``|W| gamma (|centre| + radius)`` in every layer.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import singledispatch
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from fleet.bounds.fused import normalise_and_activate
from fleet.errors import AuditError
from fleet.models.convolutional import ConvNet, PaperNN

FLOAT32 = 2.0**-24
"""Largest relative error of one float32 operation."""

Normalisation = nn.BatchNorm1d | nn.BatchNorm2d


@dataclass(frozen=True, eq=False)
class Box:
    """All values ``v`` with ``|v - centre| <= radius``, and the clean values beside them.

    Attributes:
        values: Rows of the clean images, then rows of the box's centre: (2B, ...). Or the centre
            alone, (B, ...), where it stands for the clean images too: a third less work.
        radius: (B, ...), >= 0.
        unit: Rounding unit of the network's arithmetic, :data:`FLOAT32`; 0 for exact arithmetic.
    """

    values: Tensor
    radius: Tensor
    unit: float = 0.0

    @property
    def centre(self) -> Tensor:
        """(B, ...)."""
        return self.values[-len(self.radius) :]

    @property
    def clean(self) -> Tensor:
        """The clean values, or the centre that stands for them, (B, ...)."""
        return self.values[: len(self.radius)]

    def part(self, rows: Tensor) -> Box:
        """Some rows of a box without clean values beside it."""
        return Box(self.values[rows], self.radius[rows], self.unit)

    def moved(self, values: Tensor, radius: Tensor) -> Box:
        """The box after a layer."""
        return Box(values, radius, self.unit)

    def widened(self, terms: int) -> Tensor:
        """Radius, with what the next layer's sums of ``terms`` products may be off, (B, ...)."""
        if not self.unit:
            return self.radius
        gamma = rounding(terms, self.unit)
        return (1 + gamma) * self.radius + gamma * self.centre.abs()


def rounding(terms: int, unit: float) -> float:
    """Largest error of a sum of so many products, relative to the sum of their sizes.

    Four operations more than there are cover a bias and this bound's own float64.
    """
    return (terms + 4) * unit / (1 - (terms + 4) * unit)


def image_box(x: Tensor, eps: float | Tensor, *, clean: bool) -> Box:
    """Images within ``eps`` of ``x`` in every pixel, cut to [0, 1].

    Args:
        x: Images in [0, 1], (B, ...).
        eps: Radius on the [0, 1] scale, >= 0; or one for each image, (B, 1, 1, 1).
        clean: Whether the images travel beside their box.
    """
    low, high = (x - eps).clamp_(min=0), (x + eps).clamp_(max=1)
    centre = (low + high) / 2
    return Box(torch.cat([x, centre]) if clean else centre, (high - low) / 2)


def normalised(box: Box, mean: Tensor, std: Tensor) -> Box:
    """``(v - mean) / std`` for each channel."""
    gamma = rounding(2, box.unit)
    radius = (
        (1 + gamma) * box.radius + gamma * (box.centre.abs() + mean) if box.unit else box.radius
    )
    return box.moved((box.values - mean) / std, radius / std)


def propagate(layer: nn.Module, box: Box) -> Box:
    """Carry a box through a layer, or a whole network.

    Args:
        layer: A convolution, linear layer, BatchNorm, ReLU, clip, sigmoid, pooling, flattening,
            dropout in eval mode, or a ``Sequential`` of these; or an AlexNet or ResNet of
            torchvision's (:mod:`fleet.bounds.residual`).
        box: What goes in.

    Returns:
        A box that holds the layer's value for every value in ``box``, up to rounding
        (:mod:`fleet.bounds.certify` adds the rounding).

    Raises:
        AuditError: The layer is of another kind.
    """
    return carry(layer, box)


def _standardised(layer: Normalisation, box: Box, mean: Tensor, var: Tensor) -> Box:
    """BatchNorm with given statistics."""
    shape = (1, -1) + (1,) * (box.values.dim() - 2)
    gain = (layer.weight * torch.rsqrt(var + layer.eps)).view(shape)
    bias, offset = layer.bias.view(shape), mean.view(shape) * gain
    radius = gain.abs() * box.widened(4)
    if box.unit:
        radius = radius + rounding(4, box.unit) * (bias.abs() + offset.abs())
    return box.moved(gain * box.values + (bias - offset), radius)


def _remember(layer: Normalisation, mean: Tensor, var: Tensor, count: int) -> None:
    """Move the running statistics towards one batch's, as PyTorch does."""
    if layer.running_mean is None or layer.running_var is None or layer.momentum is None:
        return
    with torch.no_grad():
        cast(Tensor, layer.num_batches_tracked).add_(1)
        layer.running_mean.lerp_(mean, layer.momentum)
        layer.running_var.lerp_(var * (count / max(1, count - 1)), layer.momentum)


@singledispatch
def carry(layer: nn.Module, box: Box) -> Box:
    """Carry a box through one kind of layer; :func:`propagate` says which there are.

    Other modules register theirs here.
    """
    if "fleet.bounds.residual" not in sys.modules and "torchvision" in sys.modules:
        import fleet.bounds.residual  # noqa: F401, PLC0415

        return carry(layer, box)
    raise AuditError(
        f"no bounds for a layer of type {type(layer).__name__}",
        hint="bounds exist for the architectures `nn`, `cnn`, `alexnet` and `resnet18`",
    )


@carry.register(ConvNet)
@carry.register(PaperNN)
def _(layer: ConvNet | PaperNN, box: Box) -> Box:
    return carry(layer.layers, box)


@carry.register
def _(layer: nn.Sequential, box: Box) -> Box:
    layers = list(layer)
    while layers:
        current = layers.pop(0)
        following = layers[0] if layers else None
        trained = isinstance(current, Normalisation) and current.training
        if trained and isinstance(following, nn.ReLU | nn.Hardtanh):
            box = _batch_normalised(cast(Normalisation, current), layers.pop(0), box)
        else:
            box = carry(current, box)
    return box


def _batch_normalised(layer: Normalisation, activation: nn.Module, box: Box) -> Box:
    """BatchNorm in training mode and the activation after it, in one step."""
    ceiling = activation.max_val if isinstance(activation, nn.Hardtanh) else torch.inf
    values, radius, mean, var = normalise_and_activate(
        box.values, box.radius, layer.weight, layer.bias, eps=layer.eps, ceiling=ceiling
    )
    _remember(layer, mean, var, box.radius.numel() // len(mean))
    return box.moved(values, radius)


@carry.register
def _(layer: nn.Conv2d, box: Box) -> Box:
    def convolve(v: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.conv2d(
            v, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups
        )

    if layer.padding_mode != "zeros":
        raise AuditError(f"no bounds for padding {layer.padding_mode!r}", hint="pad with zeros")
    terms = layer.weight[0].numel()
    radius = convolve(box.widened(terms), layer.weight.abs(), None)
    if box.unit and layer.bias is not None:
        radius = radius + rounding(terms, box.unit) * layer.bias.abs()[:, None, None]
    return box.moved(convolve(box.values, layer.weight, layer.bias), radius)


@carry.register
def _(layer: nn.Linear, box: Box) -> Box:
    radius = functional.linear(box.widened(layer.in_features), layer.weight.abs())
    if box.unit and layer.bias is not None:
        radius = radius + rounding(layer.in_features, box.unit) * layer.bias.abs()
    return box.moved(layer(box.values), radius)


@carry.register(nn.BatchNorm1d)
@carry.register(nn.BatchNorm2d)
def _(layer: Normalisation, box: Box) -> Box:
    if not layer.training:
        if layer.running_mean is None or layer.running_var is None:
            raise AuditError("no bounds for BatchNorm without running statistics", hint="keep them")
        return _standardised(layer, box, layer.running_mean, layer.running_var)
    axes = [axis for axis in range(box.values.dim()) if axis != 1]
    var, mean = torch.var_mean(box.clean, axes, correction=0)
    _remember(layer, mean.detach(), var.detach(), box.radius.numel() // len(mean))
    return _standardised(layer, box, mean, var)


@carry.register(nn.ReLU)
@carry.register(nn.Hardtanh)
@carry.register(nn.Sigmoid)
@carry.register(nn.MaxPool2d)
def _(layer: nn.Module, box: Box) -> Box:
    """Monotone: the corners bound it. Only the sigmoid rounds."""
    low, high = layer(box.centre - box.radius), layer(box.centre + box.radius)
    centre = (low + high) / 2
    with_clean = len(box.values) > len(box.radius)
    values = torch.cat([layer(box.clean), centre]) if with_clean else centre
    slack = rounding(4, box.unit) if isinstance(layer, nn.Sigmoid) else 0.0
    return box.moved(values, (high - low) / 2 + slack)


@carry.register(nn.Flatten)
@carry.register(nn.Identity)
@carry.register(nn.AvgPool2d)
@carry.register(nn.AdaptiveAvgPool2d)
def _(layer: nn.Module, box: Box) -> Box:
    """Linear with weights >= 0: the radius goes through as it is."""
    averaged = isinstance(layer, nn.AvgPool2d | nn.AdaptiveAvgPool2d)
    pixels = box.centre.shape[2] * box.centre.shape[3] if averaged else 0
    return box.moved(layer(box.values), layer(box.widened(pixels) if averaged else box.radius))


@carry.register
def _(layer: nn.Dropout, box: Box) -> Box:
    if layer.training and layer.p:
        raise AuditError("no bounds for dropout in training mode", hint="set `dropout: 0`")
    return box
