"""How a device is trained: the loss of a batch, and what a method does around steps and epochs.

A method is one module beside this one: a subclass of :class:`Method` and its entry in
:data:`fleet.training.methods.METHODS`. :mod:`fleet.training.fit` keeps the loop, the clock, the
checkpoints and the files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fleet.data import ImageData
from fleet.encoding.tensor import encoding_tensors
from fleet.models import Classifier
from fleet.profiles.spec import DeviceSpec
from fleet.training.losses import batch_loss
from fleet.training.optimization import learning_rate


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
        growth_limit: An epoch whose mean loss is this many times the first epoch's has diverged;
            None where the loss grows by design.
    """

    rolls_back: bool = False
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
        bf16 = self.device.training.precision == "bf16"
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            return self.classifier.raw(images)

    def clean_loss(self, raw: Tensor, labels: Tensor) -> Tensor:
        """The undefended loss of the device's task and head, see :func:`batch_loss`."""
        spec = self.device.training
        return batch_loss(
            self.classifier, raw, labels, self.tensors, loss=spec.loss, margin=spec.margin
        )


class Standard(Method):
    """Undefended training on the images as they are."""

    def loss(self, batch: Batch) -> Tensor:
        """Mean loss of the batch."""
        return self.clean_loss(self.raw(batch.images), batch.labels)
