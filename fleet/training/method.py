"""How a device is trained: the loss of a batch, the optimiser, and what a method does around them.

A method is one module beside this one: a subclass of :class:`Method` and its entry in
:data:`fleet.training.fit.METHODS`. :mod:`fleet.training.fit` keeps the loop, the clock, the
checkpoints and the files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fleet.accelerator import precise
from fleet.data import ImageData
from fleet.encoding import tensor as encoding
from fleet.encoding.tensor import EncodingTensors, encoding_tensors
from fleet.models import Classifier
from fleet.models.heads import Head, OrdinalHead, SoftmaxHead, multiclass_hinge
from fleet.profiles.spec import DeviceSpec
from fleet.vocabulary import TrainingSpec


def batch_loss(
    classifier: Classifier,
    raw: Tensor,
    labels: Tensor,
    tensors: EncodingTensors | None,
    *,
    loss: str,
    margin: float,
) -> Tensor:
    """Mean training loss of one batch.

    ====== ======= ======= ==========================================================
    task   head    loss
    ====== ======= ======= ==========================================================
    int    linear  paper   Eq. 3: squared distance to the interval, in the encoding's units
    int    linear  scaled  Eq. 3 in slot units, inner margin, Huber tail
    int    ordinal paper   Eq. 3 on the scalar
    int    ordinal scaled  cross-entropy of the K-1 questions "is the slot at least j?"
    int    softmax scaled  cross-entropy of the leads beyond the gate
    tra    logits          cross-entropy
    hin    logits          multi-class hinge (Crammer and Singer 2001), margin 1
    ====== ======= ======= ==========================================================

    Args:
        classifier: The network that made ``raw``.
        raw: Head values before arithmetic, float32: (B, 1), (B, K-1) or (B, K).
        labels: Classes, int64 (B,).
        tensors: The encoding's edges; None for ``tra`` and ``hin``.
        loss: ``paper`` or ``scaled``.
        margin: Inner margin as a share of beta on each side.

    Returns:
        A float32 scalar.
    """
    if tensors is None:
        if classifier.task == "hin":
            return multiclass_hinge(raw, labels).mean()
        return functional.cross_entropy(raw, labels)
    if classifier.head_name == "softmax":
        return margin_loss(classifier.head, clean_margins(classifier.head, raw, labels), labels)
    if loss == "paper":
        return encoding.interval_loss(classifier.outputs(raw), labels, tensors).mean()
    if classifier.head_name == "ordinal":
        return ordinal_loss(raw, tensors.class_slot[labels])
    outputs = classifier.outputs(raw)
    return encoding.scaled_interval_loss(outputs, labels, tensors, margin).mean()


def ordinal_loss(units: Tensor, slots: Tensor) -> Tensor:
    """Cross-entropy of the cumulative-link form: unit j answers "is the slot at least j?".

    ``mean_b sum_j softplus(-s_j g_j)`` with ``s_j = +1`` if ``slot >= j`` else ``-1``.

    Args:
        units: Values g_1 ... g_(K-1) before the clip, float32 (B, K-1).
        slots: Slot of the true class, int64 (B,).

    Returns:
        A float32 scalar.
    """
    thresholds = torch.arange(1, units.shape[1] + 1, device=units.device)
    answers = (slots.unsqueeze(1) >= thresholds).to(units.dtype)
    losses = functional.binary_cross_entropy_with_logits(units, answers, reduction="none")
    return losses.sum(1).mean()


def clean_margins(head: Head, raw: Tensor, labels: Tensor) -> Tensor:
    """Margins of the clean values, as :func:`fleet.bounds.heads.lower_margins` of a point.

    Args:
        head: ``softmax``, ``ordinal`` or ``logits``.
        raw: Its values, float32 (B, K) or (B, K-1).
        labels: Classes, int64 (B,).
    """
    if isinstance(head, OrdinalHead):
        return head.answers(labels) * raw
    own = functional.one_hot(labels, raw.shape[1]).bool()
    return (raw.gather(1, labels.unsqueeze(1)) - raw).masked_fill(own, torch.inf)


def margin_loss(head: Head, margins: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of margins.

    ``softmax``: ``log(1 + sum_k exp(gate - m_k))``: what decides is the lead beyond the gate.
    ``ordinal``: ``sum_j log(1 + exp(-m_j))``.

    Args:
        head: Whose margins they are.
        margins: (B, K), the true class's own infinite; ordinal: (B, K-1).
        labels: Classes, int64 (B,).
    """
    if isinstance(head, OrdinalHead):
        return functional.softplus(-margins).sum(1).mean()
    if isinstance(head, SoftmaxHead):
        margins = margins - head.gates.to(margins)[labels].unsqueeze(1)
    zero = margins.new_zeros(len(margins), 1)
    return torch.cat([zero, -margins], 1).logsumexp(1).mean()


MOMENTUM = 0.9
"""Momentum of ``sgd``."""

WARM_UP = 0.3
"""Share of the steps in which ``one-cycle`` rises."""


def build_optimizer(
    spec: TrainingSpec, parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]]
) -> torch.optim.Optimizer:
    """Build the optimiser that ``spec`` names.

    Fused: one pass over the weights instead of a dozen. Adam's step of ResNet-18 takes 16 instead
    of 43 ms on one core, that of AlexNet 43 instead of 334, beside 200 to 400 for the gradient.
    """
    rate, decay = spec.learning_rate, spec.weight_decay
    if spec.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=rate, weight_decay=decay, fused=True)
    if spec.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=True)
    return torch.optim.SGD(parameters, lr=rate, weight_decay=decay, momentum=MOMENTUM, fused=True)


def learning_rate(spec: TrainingSpec, step: int, total: int) -> float:
    """Learning rate of one step: a pure function, so that a resumed training needs no state.

    ``one-cycle`` (Smith and Topin 2018): half a cosine from peak/25 up to the peak over the first
    30 % of the steps, then half a cosine down to peak/250,000. ``cosine``: from the peak to 0.

    Args:
        spec: Names the schedule and the peak.
        step: From 0.
        total: Steps of the whole training.
    """
    peak = spec.learning_rate
    if spec.schedule == "constant":
        return peak
    position = step / max(1, total - 1)
    if spec.schedule == "cosine":
        return _anneal(peak, 0.0, position)
    if position < WARM_UP:
        return _anneal(peak / 25, peak, position / WARM_UP)
    return _anneal(peak, peak / 250_000, (position - WARM_UP) / (1 - WARM_UP))


def _anneal(start: float, end: float, position: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * position))


@dataclass(frozen=True)
class Batch:
    """One batch and its place in the training.

    Attributes:
        images: float32 (B, C, H, W) in [0, 1], channels last, augmented.
        labels: Classes, int64 (B,).
        step: Step of the whole training, from 0; schedules are functions of it.
        steps: Steps of the whole training.
        epoch: Epoch, from 0.
    """

    images: Tensor
    labels: Tensor
    step: int
    steps: int
    epoch: int

    def part(self, rows: Tensor) -> Batch:
        """Some of the images, int64 (R,), at the same place."""
        return replace(self, images=self.images[rows], labels=self.labels[rows])


@dataclass(frozen=True)
class Verdict:
    """What a method says of an epoch.

    Attributes:
        keep: False puts network, optimiser and position back to the epoch's start and trains it
            again; the method's own state stays as it is. The method bounds how often.
        metrics: JSON values for the epoch's line of ``metrics.jsonl``; dropped with the epoch.
    """

    keep: bool = True
    metrics: dict[str, Any] = field(default_factory=dict)


class Method:
    """One training method at work on one device.

    torch's global generator is seeded before :meth:`begin`, each :meth:`loss`, each
    :meth:`end_epoch` and each :meth:`before_evaluation` by the device and the place in the
    training, so a method that draws from it is resumed to the same bits.

    Attributes:
        rolls_back: Whether :meth:`end_epoch` may answer ``keep=False``; costs one more checkpoint
            an epoch.
        additive: Whether :meth:`loss` is a mean over images of which each counts alone, so that
            parts of a batch have its gradient too.
        growth_limit: An epoch whose mean loss is this many times the first epoch's has diverged;
            None where the loss grows by design.
    """

    rolls_back: bool = False
    additive: bool = False
    growth_limit: float | None = 10.0

    def __init__(self, device: DeviceSpec, images: ImageData, classifier: Classifier) -> None:
        self.device = device
        self.images = images
        self.classifier = classifier
        self.tensors = None if device.encoding is None else encoding_tensors(device.encoding)

    def begin(self) -> None:
        """Prepare the fresh network, for example by an initialisation of its own.

        Called in every session, before the optimiser is built and a checkpoint is loaded over it.
        """

    def parameter_groups(self) -> Iterable[nn.Parameter] | Iterable[dict[str, Any]]:
        """Parameters as the optimiser takes them, single or in groups with their own decay."""
        return self.classifier.parameters()

    def learning_rate(self, step: int, steps: int) -> float:
        """Learning rate of one step of the whole training; by default the profile's schedule."""
        return learning_rate(self.device.training, step, steps)

    def loss(self, batch: Batch) -> Tensor:
        """Loss of one batch, a float32 scalar with a graph to the parameters.

        The network is in training mode. Gradients that this leaves on parameters are dropped.
        """
        raise NotImplementedError

    def end_epoch(self, epoch: int) -> Verdict:  # noqa: ARG002
        """Judge a finished epoch, from 0, before it is validated; may change the method's state."""
        return Verdict()

    def before_evaluation(self, *, final: bool) -> None:
        """Bring up to date what evaluation reads and training does not, as BatchNorm statistics.

        Called before every validation and, with ``final``, before the weights are written. It must
        leave alone what later steps depend on.
        """

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold beyond network and optimiser: tensors and JSON values."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state` gave, from an earlier session."""

    def raw(self, images: Tensor) -> Tensor:
        """Head values before arithmetic, in the precision of the profile."""
        with precise(images.device.type, self.device.training.precision):
            return self.classifier.raw(images)

    def clean_loss(self, raw: Tensor, labels: Tensor) -> Tensor:
        """The undefended loss of the device's task and head, see :func:`batch_loss`."""
        spec = self.device.training
        return batch_loss(
            self.classifier, raw, labels, self.tensors, loss=spec.loss, margin=spec.margin
        )


class Standard(Method):
    """Undefended training on the images as they are."""

    additive = True

    def loss(self, batch: Batch) -> Tensor:
        """Mean loss of the batch."""
        return self.clean_loss(self.raw(batch.images), batch.labels)
