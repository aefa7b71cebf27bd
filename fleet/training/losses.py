"""One training loss for each task and head."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fleet.encoding import tensor as encoding
from fleet.encoding.tensor import EncodingTensors
from fleet.models import Classifier
from fleet.models.heads import Head, OrdinalHead, SoftmaxHead, multiclass_hinge


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
