"""How the scalar, or the class scores, are made from the features.

A head has two steps, so that a loss can reach the values before the interval arithmetic:
``forward`` makes the raw values from the features, ``outputs`` makes the scalar from these.
"""

import math
from abc import ABC, abstractmethod
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from fleet.encoding import IntervalEncoding
from fleet.errors import ProfileError
from fleet.vocabulary import Start


def multiclass_hinge(logits: Tensor, labels: Tensor) -> Tensor:
    """Crammer and Singer (2001): ``max(0, 1 + max_{k != y} z_k - z_y)``.

    Exactly 0, with a zero gradient, once the true logit leads by 1: this loss masks too.

    Args:
        logits: float32 (B, K).
        labels: True classes, int64 (B,).

    Returns:
        One loss for each image, float32 (B,), 0 or more.
    """
    true = functional.one_hot(labels, logits.shape[1]).bool()
    rival = logits.masked_fill(true, -torch.inf).amax(1)
    return functional.relu(1 + rival - logits.gather(1, labels.unsqueeze(1)).squeeze(1))


SMALLEST_GATE = 1e-3
"""Least lead over the runner-up: a tie decides nothing, and the temperature stays above 0."""


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
        self.walls = _walls(encoding)
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
        self.slots = encoding.slots
        self.walls = _walls(encoding)
        self.linear = nn.Linear(features, len(centers) - 1)
        nn.init.zeros_(self.linear.bias)

    def answers(self, labels: Tensor) -> Tensor:
        """Right answer of each unit, +1 or -1, float32 (B, K-1), for classes, int64 (B,)."""
        slots = torch.tensor(self.slots, device=labels.device)[labels].unsqueeze(1)
        return torch.where(slots > torch.arange(len(self.steps), device=labels.device), 1.0, -1.0)

    def forward(self, features: Tensor) -> Tensor:
        """Make the units before the clip, float32 (B, K-1)."""
        return cast(Tensor, self.linear(features))

    def outputs(self, raw: Tensor) -> Tensor:
        """Make the scalar in the encoding's units, float32 (B,)."""
        units = (raw + 0.5).clamp(0.0, 1.0)
        return (self.start + (self.steps * units).sum(1)).float()


def _walls(encoding: IntervalEncoding) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each class the end of the interval below, its own edges, the start of that above."""
    lower = torch.tensor(encoding.edges.exact_lower.tolist(), dtype=torch.float64)
    upper = torch.tensor(encoding.edges.exact_upper.tolist(), dtype=torch.float64)
    far = torch.tensor([torch.inf], dtype=torch.float64)
    slots = torch.tensor(encoding.slots)
    below, above = torch.cat([-far, upper[:-1]]), torch.cat([lower[1:], far])
    return below[slots], lower[slots], upper[slots], above[slots]


def margin_gates(encoding: IntervalEncoding) -> Tensor:
    """Lead that each class's value needs over all others, float64 (K,): what alpha and beta buy.

    With a lead m over the runner-up, the two have the shares p and 1 - p, ``p = 1 / (1 + e^-m)``,
    and their mixture lies ``(1 - p) * d`` from the centre, d being the distance to the next
    centre. That is inside the interval, half of beta, from ``m = ln(2d / beta - 1)`` on: 0 for
    touching intervals, 0.41 for alpha 4 and beta 16, without limit as beta shrinks.
    """
    lengths = encoding.edges.exact_upper - encoding.edges.exact_lower
    half = torch.tensor(lengths.tolist(), dtype=torch.float64) / 2
    steps = slot_centers(encoding).diff()
    nearest = torch.minimum(torch.cat([steps[:1], steps]), torch.cat([steps, steps[-1:]]))
    by_slot = (nearest / half - 1).clamp(min=1.0).log()
    return by_slot[torch.tensor(encoding.slots)]


class SoftmaxHead(Head):
    """K values z_k, gated by their margin, then the softmax of ``z / T`` times interval centres.

    Where the largest value leads all others by its class's gate (:func:`margin_gates`) or more,
    ``o = sum_k softmax(z / T)_k * center_k``. T is so small that ``o`` is then inside the class's
    interval, whatever the other values are: the scalar decides exactly as the margins do. Below
    the gate ``o`` is the middle of the gap above that class's interval, which decodes as None:
    without the gate a mixture of two far classes would land in the interval of a third.

    Args:
        features: Number of features, D.
        encoding: The device's intervals, beta > 0.

    Raises:
        ProfileError: An interval has length 0.
    """

    centers: Tensor
    rejects: Tensor
    gates: Tensor
    temperature: Tensor

    def __init__(self, features: int, encoding: IntervalEncoding) -> None:
        super().__init__()
        centers, gates, rejects, temperature = _softmax_map(encoding)
        self.register_buffer("centers", centers)
        self.register_buffer("rejects", rejects)
        self.register_buffer("gates", gates)
        self.register_buffer("temperature", temperature)
        self.linear = nn.Linear(features, encoding.num_classes)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Make the values before gate and softmax, float32 (B, K), class by class."""
        return cast(Tensor, self.linear(features))

    def outputs(self, raw: Tensor) -> Tensor:
        """Make the scalar in the encoding's units, float32 (B,)."""
        values = raw.double()
        best, label = values.topk(2, dim=1)
        first = label[:, 0]
        sure = best[:, 0] - best[:, 1] >= self.gates[first]
        shares = (values / self.temperature).softmax(1)
        return torch.where(sure, shares @ self.centers, self.rejects[first]).float()


def _softmax_map(encoding: IntervalEncoding) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centres, gates and rejected outputs by class, float64 (K,), and the temperature.

    If all others trail by the gate g or more, each of their shares is at most e^(-g/T), and ``o``
    is at most ``sum_k |center_k - center_y| * e^(-g/T)`` from the centre. T makes that at most a
    quarter of beta: half of the room, so that rounding cannot cross the edge.
    """
    classes = range(encoding.num_classes)
    lengths = [encoding.upper(y) - encoding.lower(y) for y in classes]
    if min(lengths) <= 0:
        raise ProfileError(
            "the head `softmax` needs intervals of some length: with beta 0 it would never answer",
            hint="raise `encoding.beta`",
        )
    centers = torch.tensor([encoding.center(y) for y in classes], dtype=torch.float64)
    reach = (centers.unsqueeze(1) - centers).abs().sum(1)
    room = torch.tensor(lengths, dtype=torch.float64) / 4
    gates = margin_gates(encoding).clamp(min=SMALLEST_GATE)
    temperature = (gates / (reach / room).log().clamp(min=1.0)).min()
    gaps = _gaps(encoding)
    rejects = torch.tensor([encoding.upper(y) + gaps[y] / 2 for y in classes], dtype=torch.float64)
    return centers, gates, rejects, temperature


def _gaps(encoding: IntervalEncoding) -> list[float]:
    """Length of the gap above each class's interval; above the last one, that below it."""
    lower, upper = encoding.edges.exact_lower, encoding.edges.exact_upper
    between = [float(low - up) for low, up in zip(lower[1:], upper[:-1], strict=True)]
    by_slot = [*between, between[-1]]
    return [by_slot[slot] for slot in encoding.slots]


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
