"""Gradients by the input: what every gradient attack calls, and what an attack is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fleet.attacks.keys import SampleKeys
from fleet.attacks.objectives import Objective, Value
from fleet.attacks.state import attackable
from fleet.errors import AuditError
from fleet.models import Classifier
from fleet.vocabulary import Precision


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
    with torch.autocast(kind, dtype=torch.bfloat16, enabled=precision == "bf16"):
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
