"""The multi-class hinge of the task ``hin``: training descends it, the paper attack ascends it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


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
