"""How near the decision boundary is: first-order margins and minimum-norm attacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fleet.attacks.minimum import DeepFool, Minimum, first_order_margins, round_to_bytes
from fleet.attacks.penalty import CarliniWagner, ElasticNet
from fleet.audit.core.evidence import Outcomes
from fleet.audit.core.members import Member, Sample, TransferSettings
from fleet.audit.whitebox.result import Margins, MinimumDistance
from fleet.data import to_unit
from fleet.models import Classifier
from fleet.vocabulary import Length

FIRST = 64
"""Images of the sample that minimum-norm attacks get; they take hundreds of gradients each."""

_ATTACKS: tuple[tuple[str, Length, Callable[[Classifier, Tensor, Tensor], Minimum]], ...] = (
    ("cw-l2", "l2", CarliniWagner()),
    ("ead-l1", "l1", ElasticNet(rule="l1")),
    ("deepfool-l2", "l2", DeepFool("l2")),
    ("deepfool-linf", "linf", DeepFool("linf")),
)
"""Name, norm of the distance that is reported, attack."""


@dataclass(frozen=True)
class Nearness:
    """How near one device's decision boundary is.

    Attributes:
        margins: Of all correct images.
        distances: One for each minimum-norm attack, on the first images.
    """

    margins: Margins
    distances: tuple[MinimumDistance, ...]


def attack_key(settings: TransferSettings) -> list[Any]:
    """All that determines distances beside device and images: norm, attacks, how many images."""
    return [settings.norm, FIRST, *([name, norm, repr(attack)] for name, norm, attack in _ATTACKS)]


def measure_nearness(
    member: Member, sample: Sample, clean: Outcomes, settings: TransferSettings
) -> Nearness:
    """Measure one device's distances, in fp32.

    The minimum-norm attacks are the paper's claim put to the test that C&W, EAD and DeepFool cannot
    be applied to intervals. Their images are rounded to 8 bits, and pushed on where rounding undid
    them, so each distance is that of an image that can be sent.

    Args:
        member: The device; left exactly as it was.
        sample: The clean images.
        clean: Outcomes of the clean images on the device, (N,).
        settings: Of the audit; norm and batch size count.
    """
    correct = torch.from_numpy(np.flatnonzero(clean == 0))
    near = sample.part(correct[correct < FIRST])
    return Nearness(
        _margins(member, sample.part(correct), settings),
        tuple(_nearest(member, near, *attack) for attack in _ATTACKS),
    )


def _margins(member: Member, sample: Sample, settings: TransferSettings) -> Margins:
    device = member.classifier.mean.device
    values: list[float] = []
    if len(sample.labels) == 0:
        return Margins(member.name, settings.norm, ())
    for images, labels in zip(
        sample.images.split(settings.batch_size),
        sample.labels.split(settings.batch_size),
        strict=True,
    ):
        margins = first_order_margins(
            member.classifier, to_unit(images.to(device)), labels.to(device), settings.norm
        )
        values += margins[margins.isfinite()].tolist()
    return Margins(member.name, settings.norm, tuple(sorted(round(value, 6) for value in values)))


def _nearest(
    member: Member,
    sample: Sample,
    name: str,
    norm: Length,
    attack: Callable[[Classifier, Tensor, Tensor], Minimum],
) -> MinimumDistance:
    n = len(sample.labels)
    if n == 0:
        return MinimumDistance(member.name, name, norm, 0, 0, None)
    device = member.classifier.mean.device
    images, labels = to_unit(sample.images.to(device)), sample.labels.to(device)
    found = attack(member.classifier, images, labels)
    minimum = round_to_bytes(member.classifier, images, labels, found).minimum
    sizes = {"l1": minimum.l1, "l2": minimum.l2, "linf": minimum.linf}[norm]
    distances = sizes[minimum.success].double().cpu()
    if len(distances) == 0:
        return MinimumDistance(member.name, name, norm, n, 0, None)
    low, middle, high = distances.quantile(torch.tensor([0.1, 0.5, 0.9]).double()).tolist()
    quantiles = (round(low, 6), round(middle, 6), round(high, 6))
    return MinimumDistance(member.name, name, norm, n, len(distances), quantiles)
