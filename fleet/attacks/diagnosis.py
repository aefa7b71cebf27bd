"""Whether the gradient that an attack follows is there at all."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fleet.attacks.gradient import input_gradient
from fleet.attacks.objectives import Objective
from fleet.attacks.state import attackable
from fleet.models import Classifier


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
