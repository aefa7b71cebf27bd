"""Try images on one device: without an attack, under noise, and made on any surrogate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fleet.attacks import (
    SampleKeys,
    SignNoise,
    attackable,
    decide,
    exact_eps,
    radius,
    reproject,
    to_bytes,
)
from fleet.audit.evidence import Outcomes
from fleet.audit.members import Member, Sample, TransferSettings
from fleet.audit.sets import AdversarialSets
from fleet.data import to_unit
from fleet.errors import AuditError


@dataclass(frozen=True, eq=False)
class Baseline:
    """A device without an attack, and under noise.

    Attributes:
        clean: Outcomes of the clean images, (N,).
        noise: Worst of the noise draws at each eps, (E, N).
        nonfinite: Noisy images whose output is NaN or infinite.
        repeatable: Whether two forward passes of the clean images gave the same bits.
    """

    clean: Outcomes
    noise: Outcomes
    nonfinite: int
    repeatable: bool


@dataclass(frozen=True, eq=False)
class Trial:
    """A surrogate's images on one victim.

    Attributes:
        outcomes: (E, A, N).
        nonfinite: Images whose output is NaN or infinite.
    """

    outcomes: Outcomes
    nonfinite: int


def score_baseline(member: Member, sample: Sample, settings: TransferSettings) -> Baseline:
    """Decide clean and noisy images in fp32.

    Raises:
        AuditError: The outputs for the clean images are not finite.
    """
    with attackable(member.classifier):
        outputs, clean = _decide(member, sample.images, sample.labels, settings.batch_size)
        again, _ = _decide(member, sample.images, sample.labels, settings.batch_size)
        broken = _nonfinite(outputs)
        if broken:
            raise AuditError(
                f"{member.name} gives NaN or infinite outputs for {broken} of {len(clean)} "
                "clean images",
                hint="its weights or its normalisation are broken; train it again",
            )
        noise = [_noise(member, sample, eps, settings) for eps in settings.eps]
    return Baseline(
        clean=clean,
        noise=np.stack([trial.outcomes.max(axis=(0, 1)) for trial in noise]),
        nonfinite=sum(trial.nonfinite for trial in noise),
        repeatable=torch.equal(outputs, again),
    )


def score_sets(victim: Member, sample: Sample, images: Tensor, settings: TransferSettings) -> Trial:
    """Decide attacked images in fp32.

    Args:
        victim: Left exactly as it was.
        sample: The clean images and their labels.
        images: uint8 (E, A, N, C, H, W).
        settings: Of the audit.
    """
    sets = images.flatten(0, 1)
    with attackable(victim.classifier):
        decided = [_decide(victim, x, sample.labels, settings.batch_size) for x in sets]
    outcomes = np.stack([codes for _, codes in decided])
    return Trial(
        outcomes.reshape(*images.shape[:2], len(sample.labels)),
        sum(_nonfinite(outputs) for outputs, _ in decided),
    )


def farthest_levels(sets: AdversarialSets, sample: Sample) -> list[int]:
    """Largest distance of a pixel from the clean image at each eps, in 8-bit levels."""
    clean = sample.images.to(torch.int16)
    return [
        max(int((images.to(torch.int16) - clean).abs().amax()) for images in level)
        for level in sets.images
    ]


def _noise(member: Member, sample: Sample, eps: float, settings: TransferSettings) -> Trial:
    """All draws at one eps; the same noise for every victim."""
    keys = SampleKeys(settings.seed, "", sample.indices)
    attack = SignNoise(exact_eps(eps), settings.noise_draws)
    noisy = to_bytes(attack(None, to_unit(sample.images), sample.labels, keys))
    inside = reproject(noisy, sample.images, radius(eps))
    return score_sets(member, sample, inside.unsqueeze(0), settings)


def _decide(
    member: Member, images: Tensor, labels: Tensor, batch_size: int
) -> tuple[Tensor, Outcomes]:
    """Outputs, (N, 1) or (N, K), and outcomes, (N,), of N images."""
    device = member.classifier.mean.device
    parts = [
        decide(member.classifier, x.to(device), y.to(device))
        for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True)
    ]
    outputs = torch.cat([part.outputs.reshape(len(part.outcomes), -1) for part in parts])
    return outputs, torch.cat([part.outcomes for part in parts]).cpu().numpy()


def _nonfinite(outputs: Tensor) -> int:
    return int((~outputs.isfinite()).any(1).sum())
