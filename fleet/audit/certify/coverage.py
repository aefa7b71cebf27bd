"""What beta / (alpha + beta) buys: how often a trained device answers, and how often it is wrong.

One trained device shows the whole range. With the head ``softmax`` alpha and beta set the lead that
an answer needs, so its curve is exact. The other heads are trained towards their intervals, so
theirs says what this network would answer under others, which a new training may move. Of a
certified device with the head ``softmax`` the curve holds its certificates too.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fleet.audit.certify.gates import gate_curve
from fleet.audit.core.members import Member, Sample
from fleet.bounds.certify import BATCH
from fleet.data import to_unit
from fleet.encoding import IntervalEncoding
from fleet.errors import AuditError
from fleet.models import Classifier
from fleet.models.convolutional import ConvNet
from fleet.models.heads import SoftmaxHead

RATIOS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99)
"""Shares beta / (alpha + beta) of a curve."""


@dataclass(frozen=True)
class Coverage:
    """A device's answers under one beta / (alpha + beta).

    Attributes:
        ratio: beta / (alpha + beta).
        n: Images.
        answered: Not decoded as None.
        correct: Decoded as the label.
        stays: Correct, and proven to stay so; None where certificates were not looked at.
    """

    ratio: float
    n: int
    answered: int
    correct: int
    stays: int | None = None

    @property
    def coverage(self) -> float:
        """Share of the images that are answered."""
        return self.answered / self.n

    @property
    def right(self) -> float:
        """Share of the images that are answered rightly."""
        return self.correct / self.n

    @property
    def certified(self) -> float | None:
        """Share of the images with a certificate."""
        return None if self.stays is None else self.stays / self.n

    @property
    def risk(self) -> float | None:
        """Share of the answers that are wrong; None of no answer."""
        return (self.answered - self.correct) / self.answered if self.answered else None


def coverage_curve(
    member: Member, sample: Sample, ratios: Sequence[float] = RATIOS, *, eps: float = 0.1
) -> list[Coverage]:
    """Decide images under several ratios, the pitch as it is.

    Args:
        member: A device of task ``int`` with one alpha and beta for all classes; left as it was.
        sample: Images; choices are made on validation images.
        ratios: Shares beta / (alpha + beta), each above 0 and below 1.
        eps: Of the certificates, with the head ``softmax`` on a network that has bounds.

    Raises:
        AuditError: The device has no encoding, or lengths that differ by class.
    """
    network, encoding = member.classifier, member.classifier.encoding
    if encoding is None or isinstance(encoding.alpha, tuple) or isinstance(encoding.beta, tuple):
        raise AuditError(
            f"{member.name} has no single alpha and beta", hint="name a device of task `int`"
        )
    if isinstance(network.head, SoftmaxHead) and isinstance(network.backbone, ConvNet):
        lengths = [ratio * encoding.pitch for ratio in ratios]
        return [
            Coverage(ratio, row.n, row.n - row.rejected, row.correct, row.stays)
            for ratio, row in zip(ratios, gate_curve(member, sample, eps, lengths), strict=True)
        ]
    raw = _raw(network, sample)
    found = []
    for ratio in ratios:
        if isinstance(network.head, SoftmaxHead):
            label, answered = _leading(raw.double(), _with_ratio(encoding, ratio))
        else:
            label, answered = _nearest(network.outputs(raw).double(), encoding, ratio)
        right = answered & (label == sample.labels)
        found.append(Coverage(ratio, len(label), int(answered.sum()), int(right.sum())))
    return found


def choose_ratio(curve: Sequence[Coverage], cost: float) -> Coverage:
    """The smallest ratio that loses little against the best: its gaps are the widest at that price.

    Args:
        curve: Of one device.
        cost: Share of right answers, and of certificates, that may be lost.
    """
    shares = [[p.right for p in curve], [p.certified or 0.0 for p in curve]]
    held = (
        point
        for point, *own in zip(curve, *shares, strict=True)
        if all(value >= max(share) - cost for value, share in zip(own, shares, strict=True))
    )
    return min(held, key=lambda point: point.ratio, default=max(curve, key=lambda p: p.right))


@torch.inference_mode()
def _raw(network: Classifier, sample: Sample) -> Tensor:
    plain = copy.deepcopy(network).eval()
    return torch.cat([plain.raw(to_unit(images)) for images in sample.images.split(BATCH)])


def _with_ratio(encoding: IntervalEncoding, ratio: float) -> IntervalEncoding:
    beta = ratio * encoding.pitch
    return replace(encoding, alpha=encoding.pitch - beta, beta=beta)


def _leading(values: Tensor, encoding: IntervalEncoding) -> tuple[Tensor, Tensor]:
    """Leading class, int64 (B,), and whether its lead passes the gate, bool (B,)."""
    gates = SoftmaxHead(1, encoding).gates
    best, label = values.topk(2, dim=1)
    return label[:, 0], best[:, 0] - best[:, 1] >= gates[label[:, 0]]


def _nearest(outputs: Tensor, encoding: IntervalEncoding, ratio: float) -> tuple[Tensor, Tensor]:
    """Class of the nearest centre, int64 (B,), and whether the output is inside, bool (B,)."""
    classes = range(encoding.num_classes)
    centres = torch.tensor([encoding.center(y) for y in classes], dtype=torch.float64)
    far, label = (outputs.unsqueeze(1) - centres).abs().min(1)
    return label, far <= ratio * encoding.pitch / 2
