"""What a trace audit learns from one source: its images, scored for every suspect.

Sources share nothing, so they run as independent jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from fleet.attacks import CORRECT, SampleKeys, radius
from fleet.audit.core.evidence import Outcomes
from fleet.audit.core.members import Member, Sample
from fleet.audit.core.result import AuditedDevice
from fleet.audit.core.sets import AdversarialSets
from fleet.audit.query.sets import adaptive_images, outcomes_on
from fleet.audit.trace.calibration import Floats
from fleet.audit.trace.result import EvasionPrice, TraceAttacker
from fleet.audit.trace.scores import raw_scores
from fleet.audit.trace.settings import TraceSettings

Role = Literal["device", "control", "known", "new"]
"""``known`` outsiders set the thresholds; ``new`` ones and controls are only judged by them."""

GRID = 16
"""Shares of the way to the adversarial image that a hiding attacker tries on his own device."""

Scores = tuple[tuple[tuple[float, ...], ...], ...]
"""Raw scores, (2, n, D), as plain values."""


@dataclass(frozen=True)
class Traced:
    """Images of one source, scored.

    Attributes:
        eps: Linf radius in pixel units.
        attacker: Who made them.
        scores: Of the images that evade their source, in the order of the sample.
        price: What they are worth.
    """

    eps: float
    attacker: TraceAttacker
    scores: Scores
    price: EvasionPrice

    def array(self, devices: int) -> Floats:
        """Raw scores, (2, n, D)."""
        return np.array(self.scores, dtype=np.float64).reshape(2, -1, devices)


@dataclass(frozen=True)
class SourceEvidence:
    """Everything found about one source.

    Attributes:
        name: Device, control or outsider.
        role: Which of these.
        device: Its description and clean figures on the evaluation images.
        calibration: Naive images of validation originals, by eps; none of a source that is only
            judged.
        evaluation: Images of evaluation originals, by eps and attacker; none of ``known`` ones.
    """

    name: str
    role: Role
    device: AuditedDevice
    calibration: tuple[Traced, ...]
    evaluation: tuple[Traced, ...]


def score_source(
    source: Member,
    suspects: Sequence[Member],
    sets: AdversarialSets,
    settings: TraceSettings,
    *,
    attackers: tuple[TraceAttacker, ...] = ("naive",),
) -> tuple[Traced, ...]:
    """Score a source's images for every suspect, by eps and attacker.

    An attacker checks his images on what he owns: only those count whose original the source
    decodes correctly and that the source itself does not.

    Args:
        source: On which the images were made; left exactly as it was.
        suspects: In device order; each is left exactly as it was.
        sets: The images.
        settings: Of the audit.
        attackers: Whose images.
    """
    clean = _outcomes(source, sets.sample.images, sets.sample, settings)
    right = torch.from_numpy(clean == CORRECT).nonzero().squeeze(1)
    sample = sets.sample.part(right)
    others = [suspect for suspect in suspects if suspect.name != source.name]
    traced = []
    for level, eps in enumerate(sets.eps):
        sent = adaptive_images(sets, level)[0][right]
        for attacker in attackers:
            images = sent
            if attacker == "hiding":
                images = hidden(source, sample, sent, eps, settings)
            evades = _outcomes(source, images, sample, settings) != CORRECT
            rows = torch.from_numpy(evades).nonzero().squeeze(1)
            part = sample.part(rows)
            scores = raw_scores(
                suspects, part.images, images[rows], part.labels, batch_size=settings.batch_size
            )
            transfers, pairs = _transfers(others, sample, images, settings)
            price = EvasionPrice(eps, attacker, len(right), len(rows), transfers, pairs)
            traced.append(Traced(eps, attacker, _plain(scores), price))
    return tuple(traced)


def hidden(
    source: Member, sample: Sample, sent: Tensor, eps: float, settings: TraceSettings
) -> Tensor:
    """Make images that give their source away as little as is cheap.

    The first of a grid of points on the way to the image that the source does not decode
    correctly; random signs take what the ball has left. So the deviation is as small as the grid
    lets it, and the signs dilute the alignment.

    Args:
        source: Asked as often as the attacker likes; left exactly as it was.
        sample: The originals.
        sent: Their adversarial images, uint8 (N, C, H, W).
        eps: Linf radius in pixel units.
        settings: Of the audit.

    Returns:
        uint8 (N, C, H, W), inside the eps ball; ``sent`` where nothing nearer evades.
    """
    keys = SampleKeys(settings.seed, source.name, sample.indices)
    noise = radius(eps) * keys.signs(sample.images.shape[1:], "hide")
    delta = sent.float() - sample.images.float()
    images, found = sent.clone(), np.zeros(len(sent), dtype=np.bool_)
    for share in np.linspace(0, 1, GRID, endpoint=False).tolist():
        mixed = (sample.images + share * delta + (1 - share) * noise).round_().clamp_(0, 255)
        tried = mixed.to(torch.uint8)
        fresh = (_outcomes(source, tried, sample, settings) != CORRECT) & ~found
        rows = torch.from_numpy(fresh).nonzero().squeeze(1)
        images[rows] = tried[rows]
        found |= fresh
    return images


def _transfers(
    others: Sequence[Member], sample: Sample, images: Tensor, settings: TraceSettings
) -> tuple[int, int]:
    """Pairs of an image and another device that evade there, and all that could."""
    evade = pairs = 0
    for victim in others:
        standing = _outcomes(victim, sample.images, sample, settings) == CORRECT
        there = _outcomes(victim, images, sample, settings)
        evade += int((standing & (there != CORRECT)).sum())
        pairs += int(standing.sum())
    return evade, pairs


def _outcomes(member: Member, images: Tensor, sample: Sample, settings: TraceSettings) -> Outcomes:
    """Decide images of a sample, (N,)."""
    (decided,) = outcomes_on(member, images[None], sample.labels, settings.batch_size)
    return np.asarray(decided, dtype=np.int8)


def _plain(scores: Tensor) -> Scores:
    return tuple(tuple(map(tuple, rows)) for rows in scores.tolist())
