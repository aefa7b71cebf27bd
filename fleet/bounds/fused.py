"""BatchNorm and the activation after it, for a box in training, as one differentiable step.

Written out because it is where certified training spends its time: as single operations it is
three times slower, and twice as slow as the convolutions themselves.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Four = tuple[Tensor, Tensor, Tensor, Tensor]


def normalise_and_activate(
    values: Tensor, radius: Tensor, weight: Tensor, bias: Tensor, *, eps: float, ceiling: float
) -> Four:
    """``min(max(gain * v + shift, 0), ceiling)`` of a box, with the first rows' statistics.

    Args:
        values: Clean rows, if any, then the rows of the centre: (B or 2B, C, ...). The first B
            rows give mean and variance of each channel; gradients go through both.
        radius: (B, C, ...), >= 0.
        weight: BatchNorm's gain, (C,).
        bias: BatchNorm's shift, (C,).
        eps: Added to the variance.
        ceiling: 1.0 for a clip, infinity for a ReLU.

    Returns:
        Values and radius after both, then the batch's mean and biased variance, without gradient.
    """
    out: Four = _Fused.apply(values, radius, weight, bias, eps, ceiling)
    return out


def _columns(v: Tensor) -> Tensor:
    """(B, C, H, W) in channels-last memory as (B*H*W, C), without a copy; (B, C) as it is."""
    return v if v.dim() == 2 else v.permute(0, 2, 3, 1).reshape(-1, v.shape[1])


def _packed(v: Tensor) -> Tensor:
    return v.contiguous(memory_format=torch.channels_last) if v.dim() == 4 else v.contiguous()


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917
        ctx: Any,
        values: Tensor,
        radius: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        ceiling: float,
    ) -> Four:
        values, radius = _packed(values), _packed(radius)
        rows = len(radius)
        first, centre = values[:rows], values[-rows:]
        apart = len(values) > rows
        normal, mean, inverse = torch.native_batch_norm(
            first, weight, bias, None, None, True, 0.0, eps
        )
        shape = (1, -1) + (1,) * (values.dim() - 2)
        gain = weight * inverse
        moved = (
            torch.addcmul((bias - mean * gain).view(shape), centre, gain.view(shape))
            if apart
            else normal
        )
        spread = radius * gain.abs().view(shape)
        low, high = moved - spread, spread.add_(moved)
        low_out = low.clamp(0.0, ceiling)
        out = torch.empty_like(values)
        torch.lerp(low_out, high.clamp(0.0, ceiling), 0.5, out=out[-rows:])
        if apart:
            torch.clamp(normal, 0.0, ceiling, out=out[:rows])
        ctx.save_for_backward(
            values, radius, weight, normal if apart else values[:0], mean, inverse, low, high
        )
        ctx.eps, ctx.ceiling, ctx.apart = eps, ceiling, apart
        var = inverse.pow(-2) - eps
        ctx.mark_non_differentiable(mean, var)
        return out, out[-rows:] - low_out, mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        values, radius, weight, normal, mean, inverse, low, high = ctx.saved_tensors
        grad, grad_radius = _packed(grads[0]), _packed(grads[1])
        rows, ceiling = len(radius), ctx.ceiling
        first, centre = values[:rows], values[-rows:]
        inside = torch.ops.aten.hardtanh_backward
        shape = (1, -1) + (1,) * (values.dim() - 2)
        gain = weight * inverse
        # Half of the sum and of the difference: centre and radius are halves of the corners.
        at_low = inside(grad[-rows:] - grad_radius, low, 0.0, ceiling)
        at_high = inside(grad[-rows:] + grad_radius, high, 0.0, ceiling)
        both, apart = at_low + at_high, at_high.sub_(at_low)
        halved = (gain / 2).view(shape)
        out = torch.empty_like(values)
        torch.mul(both, halved, out=out[-rows:])
        to_radius = apart * halved.abs()
        shift = _columns(both).sum(0) / 2
        slope = _columns(both.mul_(centre)).sum(0) / 2
        slope += gain.sign() * _columns(apart.mul_(radius)).sum(0) / 2
        # What reaches the statistics through the box: gain = weight * inverse, mean, inverse.
        count = first.numel() // len(mean)
        scale = slope - mean * shift
        to_weight, to_bias = scale * inverse, shift
        to_square = -scale * weight * inverse.pow(3) / count  # d/dv of the variance, over v - mean
        to_mean = -gain * shift / count - to_square * mean
        if ctx.apart:
            passed = inside(grad[:rows], normal, 0.0, ceiling)
            back, more_weight, more_bias = torch.ops.aten.native_batch_norm_backward(
                passed, first, weight, None, None, mean, inverse, True, ctx.eps, [True] * 3
            )
            to_weight, to_bias = to_weight + more_weight, to_bias + more_bias
            back.add_(to_mean.view(shape))
            torch.addcmul(back, first, to_square.view(shape), out=out[:rows])
        else:
            out.add_(to_mean.view(shape)).addcmul_(first, to_square.view(shape))
        return out, to_radius, to_weight, to_bias, None, None
