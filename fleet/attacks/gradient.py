"""Gradients by the input: what every gradient attack calls, and what an attack is.

A network is left exactly as it was found. On CPU the first convolution gets a quicker gradient: its
input has one or three channels, kernels compute 16 at once and throw the rest away (in an attack on
the paper's NN, 21 of 63 ms). The gradient of a block of r x r pixels is made as r * r channels by
one convolution of stride r, which fills them.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from fleet.accelerator import precise
from fleet.attacks.keys import SampleKeys
from fleet.attacks.objectives import Objective, Value
from fleet.errors import AuditError
from fleet.models import Classifier
from fleet.vocabulary import Precision

LANES = 16
"""Channels that the kernels compute at once, wanted or not."""


@contextmanager
def thin_convolutions(module: nn.Module) -> Iterator[None]:
    """Give convolutions with few input channels the quicker input gradient; undone at the end.

    Outputs keep their bits; gradients are the same sums in another order. Weights get no gradient,
    so call it where they are frozen. Measured on one thread, batches of 250, bf16: the gradient of
    the paper's first layer takes a quarter of the time, an attack makes 1.3 times the images/s.
    """
    chosen = [part for part in module.modules() if _replaceable(part)]
    for part in chosen:
        convolution = cast(nn.Conv2d, part)
        # In the instance's own dictionary, where it hides the method of the class.
        setattr(convolution, "forward", partial(_forward, convolution, _blocks(convolution)))  # noqa: B010
    try:
        yield
    finally:
        for part in chosen:
            del vars(part)["forward"]


def block_size(channels: int, kernel: int) -> int:
    """The side r of the blocks that costs the fewest multiplications; 1 is the layer's own way.

    Args:
        channels: Of the layer's input.
        kernel: Side of the layer's square kernel.
    """

    def cost(r: int) -> float:
        padded = -(-channels * r * r // LANES) * LANES
        return (kernel + r - 1) ** 2 * padded / r**2

    return min((1, 2, 4), key=cost)


def _replaceable(part: nn.Module) -> bool:
    return (
        type(part) is nn.Conv2d
        and "forward" not in vars(part)
        and "weight" in part._parameters
        and part.weight.device.type == "cpu"
        and part.kernel_size[0] == part.kernel_size[1]
        and part.stride == part.dilation == (1, 1)
        and part.groups == 1
        and part.padding_mode == "zeros"
        and isinstance(part.padding, tuple)
        and part.padding[0] == part.padding[1] < part.kernel_size[0]
        and block_size(part.in_channels, part.kernel_size[0]) > 1
    )


def _blocks(convolution: nn.Conv2d) -> Tensor:
    """Kernel that makes the gradient of whole blocks, (C * r * r, O, k + r - 1, k + r - 1)."""
    flipped = convolution.weight.detach().flip(2, 3).transpose(0, 1)
    channels, outputs, k, _ = flipped.shape
    r = block_size(channels, k)
    blocks = flipped.new_zeros(channels, r, r, outputs, k + r - 1, k + r - 1)
    for i in range(r):
        for j in range(r):
            blocks[:, i, j, :, i : i + k, j : j + k] = flipped
    return blocks.flatten(0, 2).contiguous(memory_format=torch.channels_last)


def _forward(convolution: nn.Conv2d, blocks: Tensor, x: Tensor) -> Tensor:
    r = block_size(convolution.in_channels, convolution.kernel_size[0])
    if not x.requires_grad or x.shape[2] % r or x.shape[3] % r:
        return type(convolution).forward(convolution, x)
    return cast(Tensor, _Thin.apply(convolution, blocks, r, x))


class _Thin(torch.autograd.Function):
    """The layer's own forward pass, and a backward pass by blocks."""

    @staticmethod
    def forward(ctx: Any, convolution: nn.Conv2d, blocks: Tensor, r: int, x: Tensor) -> Tensor:
        ctx.blocks, ctx.r, ctx.dtype = blocks, r, x.dtype
        # The blocks' side is k + r - 1; a layer whose padding is a word is never replaced.
        ctx.padding = blocks.shape[2] - r - cast(int, convolution.padding[0])
        return type(convolution).forward(convolution, x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None, Tensor]:
        (gradient,) = gradients
        blocks = ctx.blocks.to(gradient.dtype)
        packed = functional.conv2d(gradient, blocks, stride=ctx.r, padding=ctx.padding)
        return None, None, None, functional.pixel_shuffle(packed, ctx.r).to(ctx.dtype)


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


class Attack(Protocol):
    """Makes adversarial images."""

    @property
    def variants(self) -> int:
        """Adversarial images made for each image."""

    def __call__(
        self, classifier: Classifier, images: Tensor, labels: Tensor, keys: SampleKeys
    ) -> Tensor:
        """Attack a batch.

        Args:
            classifier: Left exactly as it was: modes, gradient flags, statistics, storage.
            images: float32 (B, C, H, W) in [0, 1].
            labels: True classes, int64 (B,).
            keys: Names the random numbers.

        Returns:
            float32 (variants, B, C, H, W) in [0, 1], within eps of ``images``.

        Raises:
            AuditError: The images leave [0, 1], or the classifier cannot be attacked this way.
        """


def input_gradient(
    classifier: Classifier,
    images: Tensor,
    value: Value,
    precision: Precision,
    look: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Differentiate the sum of an objective by the images; rows stay independent.

    Args:
        classifier: Inside ``attackable``.
        images: float32 (R, C, H, W).
        value: What to ascend, from :meth:`Objective.bind`.
        precision: Of the forward and backward pass.
        look: What the classifier is shown instead of the images; differentiated through.

    Returns:
        The gradient, float32 (R, C, H, W), and the values, float32 (R,), without history.
    """
    with torch.enable_grad():
        leaf = images.detach().requires_grad_()
        seen = leaf if look is None else look(leaf)
        values = objective_values(classifier, seen, value, precision)
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
    return gradient, values.detach()


def objective_values(
    classifier: Classifier, images: Tensor, value: Value, precision: Precision
) -> Tensor:
    """What an objective is worth at images: float32 (R,); arguments as for the gradient."""
    kind = images.device.type
    with precise(kind, precision):
        raw = classifier.raw(images)
    with torch.autocast(kind, enabled=False):
        return value(raw.float())


def checked(images: Tensor) -> Tensor:
    """Give the images without history.

    Raises:
        AuditError: They leave [0, 1].
    """
    low, high = torch.aminmax(images)
    if not (low >= 0 and high <= 1):
        raise AuditError(
            f"pixels reach from {low:.3g} to {high:.3g}, not within [0, 1]",
            hint="give images / 255; normalisation belongs inside the model",
        )
    return images.detach()


def fold(images: Tensor, variants: int) -> Tensor:
    """Repeat a batch once for each variant: (variants * B, C, H, W), a copy, channels-last."""
    return images.repeat(variants, 1, 1, 1).contiguous(memory_format=torch.channels_last)


def unfold(rows: Tensor, variants: int) -> Tensor:
    """Undo :func:`fold`: (variants, B, C, H, W), a view."""
    return rows.reshape(variants, len(rows) // variants, *rows.shape[1:])


@dataclass(frozen=True, eq=False)
class GradientFaults:
    """Faults of one objective's gradient at a batch of images.

    Attributes:
        zero: Exactly zero in every pixel and every variant, bool (B,).
        nonfinite: NaN or infinite in some pixel, bool (B,).
    """

    zero: Tensor
    nonfinite: Tensor


def gradient_faults(
    classifier: Classifier, images: Tensor, labels: Tensor, objective: Objective
) -> GradientFaults:
    """Differentiate an objective once at the images themselves, in fp32.

    Args:
        classifier: Left exactly as it was.
        images: float32 (B, C, H, W) in [0, 1].
        labels: True classes, int64 (B,).
        objective: What an attack would ascend.
    """
    folded = images.repeat(objective.variants, 1, 1, 1)
    with attackable(classifier):
        value = objective.bind(classifier, labels)
        gradient, _ = input_gradient(classifier, folded, value, "fp32")
    rows = gradient.flatten(1).unflatten(0, (objective.variants, len(images)))
    zero = (rows == 0).all(2).all(0)
    return GradientFaults(zero, ~rows.isfinite().all(2).all(0))
