"""What beta / (alpha + beta) buys: how often a trained device answers, and how often it is wrong.

One trained device shows the whole range. With the head ``softmax`` alpha and beta set the lead that
the largest value needs (:func:`fleet.models.heads.margin_gates`) and touch no weight, so its curve
is exact, and of a certified device it holds the certificates too. The other heads are trained
towards their intervals: their curve says what this network would answer under others, which a new
training may move.
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
