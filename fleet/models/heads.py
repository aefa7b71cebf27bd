"""How the scalar, or the class scores, are made from the features.

A head has two steps, so that a loss can reach the values before the interval arithmetic:
``forward`` makes the raw values from the features, ``outputs`` makes the scalar from these.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import cast

import torch
from torch import Tensor, nn

from fleet.encoding import IntervalEncoding
from fleet.vocabulary import Start


def slot_centers(encoding: IntervalEncoding) -> Tensor:
    """Interval centres along the number line, float64 (K,), ascending."""
    centers = [encoding.center(label) for label in range(encoding.num_classes)]
    return torch.tensor(sorted(centers), dtype=torch.float64)


def _middle_and_pitch(encoding: IntervalEncoding) -> tuple[Tensor, Tensor]:
    """Middle of the outer centres and mean distance of neighbouring ones, float32 scalars."""
    centers = slot_centers(encoding)
    low, high = centers[0].item(), centers[-1].item()
    return torch.tensor((low + high) / 2), torch.tensor((high - low) / (len(centers) - 1))


class Head(nn.Module, ABC):
    """The last layer of a classifier; always computes in float32."""

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Make the raw values, float32 (B, R), from the features, float32 (B, D)."""

    @abstractmethod
    def outputs(self, raw: Tensor) -> Tensor:
        """Make what is decoded, float32: (B,) for interval heads, (B, K) for logits."""


class LinearHead(Head):
    """The paper's head: one fully connected output, ``o = middle + pitch * (w . f + b)``.

    The layer works in slots, not in the encoding's units: ``middle`` and ``pitch`` are fixed. So
    the same learning rate fits every s0, alpha and beta, and two encodings of the same shape train
    alike. At the start ``b = 0``, ``w`` sums to 0 (so the features' common mean shifts nothing) and
    is scaled so that outputs have the spread of the range, ``K / sqrt(12)`` slots, if the features
    have a mean square of 1/2, as after BatchNorm and ReLU.

    With ``start="zero"`` the layer works in the encoding's units (``middle`` 0, ``pitch`` 1) and
    begins as PyTorch begins any layer, near 0, until :meth:`settle` is called.

    Args:
        features: Number of features, D.
        encoding: The device's intervals.
        start: ``range`` or ``zero``.
    """

    middle: Tensor
    pitch: Tensor

    def __init__(
        self, features: int, encoding: IntervalEncoding, *, start: Start = "range"
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 1)
        if start == "zero":
            self.register_buffer("middle", torch.tensor(0.0))
            self.register_buffer("pitch", torch.tensor(1.0))
            return
        middle, pitch = _middle_and_pitch(encoding)
        self.register_buffer("middle", middle)
        self.register_buffer("pitch", pitch)
        weight = torch.randn(1, features) * (encoding.num_classes / math.sqrt(6 * features))
        self.linear.weight.data = weight - weight.mean()
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Make the position in slots from the middle of the range, float32 (B, 1)."""
        return cast(Tensor, self.linear(features))

    def outputs(self, raw: Tensor) -> Tensor:
        """Make the scalar in the encoding's units, float32 (B,)."""
        return self.middle + self.pitch * raw[:, 0]

    @torch.no_grad()
    def settle(self, encoding: IntervalEncoding) -> None:
        """Turn a layer that began at zero into one in slots; outputs stay, up to rounding.

        So finished weights of both starts are of one form, and carry their encoding's constants.

        Args:
            encoding: The one that the head was built with.
        """
        middle, pitch = _middle_and_pitch(encoding)
        weight, bias = self.linear.weight, self.linear.bias
        weight.copy_(weight.double() * self.pitch / pitch)
        bias.copy_((bias.double() * self.pitch + self.middle - middle) / pitch)
        self.middle.copy_(middle)
        self.pitch.copy_(pitch)


class OrdinalHead(Head):
    """Cumulative-link head: K-1 values g_j, each asking "is the slot at least j?".

    ``o = center_0 + sum_j step_j * clip(g_j + 1/2, 0, 1)``, where ``center_0`` is the centre of
    the first slot (``s0 + beta/2``) and ``step_j`` the distance between neighbouring centres. With
    p units fully on, ``o`` is the centre of slot p.

    Args:
        features: Number of features, D.
        encoding: The device's intervals; alpha and beta may vary by class.
    """

    start: Tensor
    steps: Tensor

    def __init__(self, features: int, encoding: IntervalEncoding) -> None:
        super().__init__()
        centers = slot_centers(encoding)
        # float64, so that the scalar is rounded once: with beta = 0 only the exact centre decodes.
        self.register_buffer("start", centers[0])
        self.register_buffer("steps", centers.diff())
        self.linear = nn.Linear(features, len(centers) - 1)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Make the units before the clip, float32 (B, K-1)."""
        return cast(Tensor, self.linear(features))

    def outputs(self, raw: Tensor) -> Tensor:
        """Make the scalar in the encoding's units, float32 (B,)."""
        units = (raw + 0.5).clamp(0.0, 1.0)
        return (self.start + (self.steps * units).sum(1)).float()


class LogitsHead(Head):
    """One value for each class, for the tasks ``tra`` and ``hin``."""

    def __init__(self, features: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Make the logits, float32 (B, K)."""
        return cast(Tensor, self.linear(features))

    def outputs(self, raw: Tensor) -> Tensor:
        """Give the logits as they are."""
        return raw


class ScalarHead(Head):
    """No layer at all: the features are the scalar (:meth:`Classifier.from_module`)."""

    def forward(self, features: Tensor) -> Tensor:
        """Give the scalar as it is, float32 (B, 1)."""
        return features

    def outputs(self, raw: Tensor) -> Tensor:
        """Drop the second axis: float32 (B,)."""
        return raw[:, 0]
