"""Try every image on one victim."""

from __future__ import annotations

from collections.abc import Iterable
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
from fleet.audit.evidence import Outcomes, Reach, VictimScores
from fleet.audit.members import Member, Sample, TransferSettings
from fleet.audit.sets import AdversarialSets
from fleet.data import to_unit
from fleet.errors import AuditError


@dataclass
class _Scorer:
    """Decides images of one victim and keeps count of broken outputs."""

    member: Member
    sample: Sample
    batch_size: int
    nonfinite: int = 0

    def outcomes(self, images: Tensor) -> Outcomes:
        """Outcomes of N attacked images, uint8 (N, C, H, W)."""
        outputs, outcomes = self.outputs(images)
        self.nonfinite += int((~outputs.isfinite()).flatten(1).any(1).sum())
        return outcomes

    def outputs(self, images: Tensor) -> tuple[Tensor, Outcomes]:
        """Outputs, (N, 1) or (N, K), and outcomes, (N,)."""
        device = self.member.classifier.mean.device
        parts = [
            decide(self.member.classifier, x.to(device), y.to(device))
            for x, y in zip(
                images.split(self.batch_size),
                self.sample.labels.split(self.batch_size),
                strict=True,
            )
        ]
        outputs = torch.cat([part.outputs.reshape(len(part.outcomes), -1) for part in parts])
        outcomes = torch.cat([part.outcomes for part in parts]).cpu().numpy()
        return outputs, outcomes


def score_victim(
    member: Member,
    sample: Sample,
    sets: Iterable[AdversarialSets],
    settings: TransferSettings,
) -> VictimScores:
    """Decide clean, noisy and adversarial images in fp32.

    Args:
        member: The victim; left exactly as it was.
        sample: The clean images.
        sets: Adversarial images of each surrogate; one surrogate's are held at a time.
        settings: Of the audit.

    Raises:
        AuditError: The device's outputs for the clean images are not finite.
    """
    scorer = _Scorer(member, sample, settings.batch_size)
    with attackable(member.classifier):
        outputs, clean = scorer.outputs(sample.images)
        again, _ = scorer.outputs(sample.images)
        _refuse_nonfinite(member, outputs)
        noise = np.stack([_noise(scorer, sample, eps, settings) for eps in settings.eps])
        attacked: dict[str, Outcomes] = {}
        for made in sets:
            attacked[made.surrogate] = np.stack(
                [np.stack([scorer.outcomes(images) for images in level]) for level in made.images]
            )
    return VictimScores(
        victim=member.name,
        clean=clean,
        noise=noise,
        attacked=attacked,
        nonfinite=scorer.nonfinite,
        repeatable=torch.equal(outputs, again),
    )


def measure_reach(sets: AdversarialSets, sample: Sample) -> tuple[Reach, ...]:
    """Measure how far the saved 8-bit images are from the clean ones."""
    clean = sample.images.to(torch.int16)
    reaches = []
    for eps, level in zip(sets.eps, sets.images, strict=True):
        largest = max(int((images.to(torch.int16) - clean).abs().amax()) for images in level)
        reaches.append(Reach(sets.surrogate, eps, radius(eps), largest))
    return tuple(reaches)


def _noise(scorer: _Scorer, sample: Sample, eps: float, settings: TransferSettings) -> Outcomes:
    """Worst outcome over the draws; the same noise for every victim."""
    attack = SignNoise(exact_eps(eps), settings.noise_draws)
    keys = SampleKeys(settings.seed, "", sample.indices)
    noisy = to_bytes(attack(None, to_unit(sample.images), sample.labels, keys))
    inside = reproject(noisy, sample.images, radius(eps))
    return np.asarray(np.stack([scorer.outcomes(images) for images in inside]).max(axis=0))


def _refuse_nonfinite(member: Member, outputs: Tensor) -> None:
    broken = int((~outputs.isfinite()).any(1).sum())
    if broken:
        raise AuditError(
            f"{member.name} gives NaN or infinite outputs for {broken} of {len(outputs)} "
            "clean images",
            hint="its weights or its normalisation are broken; train it again",
        )
