"""What alpha and beta buy: one trained device decided, and certified, under other intervals.

With the ``softmax`` head alpha and beta set the gate, the lead that the largest value must have
(:func:`fleet.models.heads.margin_gates`), and touch no weight. So one network shows
the whole range.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fleet.audit.core.members import Member, Sample
from fleet.bounds.box import FLOAT32, propagate
from fleet.bounds.certify import BATCH, gated, pixel_box
from fleet.bounds.heads import lower_margins
from fleet.data import to_unit
from fleet.errors import AuditError
from fleet.models import Classifier
from fleet.models.heads import SoftmaxHead


@dataclass(frozen=True)
class Gated:
    """Images under one alpha and beta.

    Attributes:
        alpha: Gap between neighbouring intervals.
        beta: Length of an interval.
        gate: Lead that an answer needs, the largest over the classes.
        n: Images.
        correct: Decoded as the label without an attack.
        rejected: Decoded as None without an attack.
        stays: Correct, and proven to stay so.
        never_wrong: Proven to be the label or None.
    """

    alpha: float
    beta: float
    gate: float
    n: int
    correct: int
    rejected: int
    stays: int
    never_wrong: int


@torch.inference_mode()
def gate_curve(member: Member, sample: Sample, eps: float, lengths: Sequence[float]) -> list[Gated]:
    """Decide and certify images under intervals of several lengths, the pitch as it is.

    Args:
        member: A device with the head ``softmax`` and one alpha and beta for all classes; left
            exactly as it was.
        sample: Images; a choice of alpha and beta is made on validation images.
        eps: Largest change of a pixel, [0, 1].
        lengths: Values of beta, each above 0 and below the pitch alpha + beta.

    Raises:
        AuditError: The device has another head, or lengths that differ by class.
    """
    network, encoding = member.classifier, member.classifier.encoding
    head = network.head
    if encoding is None or not isinstance(head, SoftmaxHead):
        raise AuditError(
            f"{member.name} has the head {network.head_name!r}",
            hint="alpha and beta gate the answers of the head `softmax` alone",
        )
    if isinstance(encoding.alpha, tuple) or isinstance(encoding.beta, tuple):
        raise AuditError(
            f"alpha and beta of {member.name} differ by class", hint="name one of each"
        )
    pitch, found = encoding.alpha + encoding.beta, []
    plain = copy.deepcopy(network).eval()
    exact = copy.deepcopy(plain).double()
    batches = torch.arange(len(sample.images)).split(BATCH)
    margins = [_margins(plain, exact, sample.part(rows), eps) for rows in batches]
    clean, proven = (torch.cat(parts) for parts in zip(*margins, strict=True))
    for beta in lengths:
        alpha = round(pitch - beta, 9)
        other = replace(encoding, alpha=alpha, beta=beta)
        gate = SoftmaxHead(head.linear.in_features, other)
        found.append(_gated(gate, clean, proven, sample.labels, (alpha, beta)))
    return found


def _margins(
    plain: Classifier, exact: Classifier, batch: Sample, eps: float
) -> tuple[Tensor, Tensor]:
    """Values without an attack, float32 (B, K); lead of the label over each class, float64 (B, K).

    The lead is a lower bound under any perturbation, infinite over the label itself.

    Args:
        plain: The network in float32.
        exact: The same network in float64.
        batch: Images.
        eps: Largest change of a pixel.
    """
    x = to_unit(batch.images)
    box = propagate(exact.backbone, pixel_box(exact, x.double(), eps, FLOAT32))
    return plain.raw(x), lower_margins(exact.head, box, batch.labels)


def _gated(
    head: SoftmaxHead, clean: Tensor, proven: Tensor, labels: Tensor, gaps: tuple[float, float]
) -> Gated:
    """Count under one head's gates."""
    best, label = clean.double().topk(2, dim=1)
    answered = best[:, 0] - best[:, 1] >= head.gates[label[:, 0]]
    right = answered & (label[:, 0] == labels)
    stays, never_wrong = gated(head.gates, proven, labels)
    return Gated(
        *gaps,
        gate=round(head.gates.max().item(), 6),
        n=len(labels),
        correct=int(right.sum()),
        rejected=int((~answered).sum()),
        stays=int(stays.sum()),
        never_wrong=int(never_wrong.sum()),
    )
