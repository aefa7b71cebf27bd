"""Leave a network exactly as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from fleet.attacks.thin import thin_convolutions


@contextmanager
def attackable(module: nn.Module) -> Iterator[None]:
    """Prepare a network for attacks and scoring, and restore it exactly, error or not.

    Inside, every module is in eval mode (so BatchNorm statistics stay and dropout is off), no
    parameter asks for a gradient, and convolution weights are stored channels-last.
    """
    with ExitStack() as stack:
        stack.enter_context(evaluating(module))
        stack.enter_context(frozen(module))
        stack.enter_context(channels_last(module))
        stack.enter_context(thin_convolutions(module))
        yield


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put every module in eval mode; restore each one's own flag, not the root's for all."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Take parameters out of autograd: gradients of weights cost a third of an attack's time."""
    flags = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    module.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


@contextmanager
def channels_last(module: nn.Module) -> Iterator[None]:
    """Store convolution weights channels-last, twice as fast on CPU; then the old storage.

    Grey images have one channel, so their own layout says nothing, and the weights' decides. With
    ``contiguous`` instead of ``to`` nothing would happen to a weight of one input channel.
    """
    stored = [(p, p.data) for p in module.parameters() if p.dim() == 4]
    for parameter, data in stored:
        parameter.data = data.to(memory_format=torch.channels_last)
    try:
        yield
    finally:
        for parameter, data in stored:
            parameter.data = data
