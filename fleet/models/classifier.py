"""One image classifier: normalisation, backbone, head, decoding."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from fleet.encoding import REJECTED, DecodeMode, IntervalEncoding
from fleet.encoding.tensor import decode, encoding_tensors
from fleet.errors import AuditError, DataError
from fleet.models.heads import Head, ScalarHead
from fleet.vocabulary import HeadName, Task


class Classifier(nn.Module):
    """A device's network. It takes images in [0, 1]; normalisation is its own first step.

    The head leaves any surrounding autocast and computes in float32, because intervals are
    narrower than bfloat16's spacing. Build one with :func:`fleet.models.build_classifier`.

    Attributes:
        task: ``int`` (interval), ``tra`` (cross-entropy) or ``hin`` (multi-class hinge).
        encoding: Intervals of the task ``int``; None for the others.
        num_classes: Number of classes, K.
        input_shape: (C, H, W) of one image.
        head_name: ``linear``, ``ordinal``, ``softmax`` or ``logits``.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        backbone: nn.Module,
        head: Head,
        task: Task,
        head_name: HeadName,
        encoding: IntervalEncoding | None,
        num_classes: int,
        input_shape: tuple[int, int, int],
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.task = task
        self.head_name = head_name
        self.encoding = encoding
        self.num_classes = num_classes
        self.input_shape = input_shape
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(1, -1, 1, 1))
        self.backbone = backbone
        self.head = head

    @property
    def by_class(self) -> bool:
        """Whether :meth:`raw` has one value for each class, whose lead over the others decides."""
        return self.head_name in {"softmax", "logits"}

    @classmethod
    def from_module(
        cls, module: nn.Module, encoding: IntervalEncoding, input_shape: tuple[int, int, int]
    ) -> Classifier:
        """Wrap any network with a scalar output, so that it can be attacked and audited.

        Its features are its output, (B, 1), since where a penultimate layer ends is not known.

        Args:
            module: Takes float32 (B, C, H, W) in [0, 1], gives (B,) or (B, 1).
            encoding: How the scalar is to be decoded.
            input_shape: (C, H, W).
        """
        channels = input_shape[0]
        return cls(
            backbone=_Column(module),
            head=ScalarHead(),
            task="int",
            head_name="linear",
            encoding=encoding,
            num_classes=encoding.num_classes,
            input_shape=input_shape,
            mean=(0.0,) * channels,
            std=(1.0,) * channels,
        )

    def features(self, x: Tensor) -> Tensor:
        """Compute the penultimate features.

        Args:
            x: Images, float32 (B, C, H, W) in [0, 1], in any memory format.

        Returns:
            (B, D); bfloat16 under autocast, else float32.

        Raises:
            DataError: The images have another shape.
        """
        if x.dim() != 4 or tuple(x.shape[1:]) != self.input_shape:
            wanted = ("B", *self.input_shape)
            raise DataError(
                f"images have shape {tuple(x.shape)}, the classifier takes {wanted}",
                hint="make `data.channels` and `data.image_size` those of the training",
            )
        return cast(Tensor, self.backbone((x - self.mean) / self.std))

    def raw(self, x: Tensor) -> Tensor:
        """Compute the head's values before any interval arithmetic.

        Args:
            x: Images, float32 (B, C, H, W) in [0, 1].

        Returns:
            float32: (B, 1) for ``linear``, (B, K-1) units before the clip for ``ordinal``,
            (B, K) for ``softmax`` (before gate and softmax) and ``logits``.
        """
        features = self.features(x)
        with torch.autocast(x.device.type, enabled=False):
            return cast(Tensor, self.head(features.float()))

    def outputs(self, raw: Tensor) -> Tensor:
        """Make what is decoded from :meth:`raw`: the scalar (B,), or the logits (B, K)."""
        return self.head.outputs(raw)

    def forward(self, x: Tensor) -> Tensor:
        """Compute ``outputs(raw(x))`` for images, float32 (B, C, H, W) in [0, 1]."""
        return self.outputs(self.raw(x))

    def decode(self, outputs: Tensor, mode: DecodeMode = "strict") -> Tensor:
        """Turn outputs into classes.

        Args:
            outputs: As :meth:`forward` gives them.
            mode: How intervals are decoded (Eq. 2); without effect for ``tra`` and ``hin``.

        Returns:
            int64 (B,); -1 where the output is rejected or not finite.
        """
        if self.encoding is not None:
            return decode(outputs, encoding_tensors(self.encoding, outputs.device), mode)
        finite = outputs.isfinite().all(dim=1)
        return torch.where(finite, outputs.argmax(dim=1), REJECTED)


class _Column(nn.Module):
    """Give a module's scalar output as one column."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        scalar = self.module(x)
        if tuple(scalar.shape) not in {(len(x),), (len(x), 1)}:
            raise AuditError(
                f"the module gives shape {tuple(scalar.shape)} for {len(x)} images",
                hint="it must give one scalar for each image: (B,) or (B, 1)",
            )
        return cast(Tensor, scalar.reshape(-1, 1))
