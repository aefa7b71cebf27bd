"""What a trace audit learns from one source: its images, scored for every suspect; its settings.

Sources share nothing, so they run as independent jobs. Scores are sums of standard deviations.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fleet import attacks
from fleet.attacks.gradient import input_gradient
from fleet.audit.core.evidence import Outcomes
from fleet.audit.core.members import LATER, Member, Sample, Settings, TransferSettings
from fleet.audit.core.result import AuditedDevice
from fleet.audit.core.scoring import outcomes_on
from fleet.audit.core.sets import AdversarialSets, adaptive_images
from fleet.audit.trace.calibration import Floats
from fleet.audit.trace.result import EvasionPrice, TraceAttacker
from fleet.data import to_unit
from fleet.errors import AuditError


@dataclass(frozen=True)
class TraceSettings(Settings):
    """How to make images, and how to judge them.

    Attributes:
        eps: Linf radii in pixel units, (0, 1], at least one 8-bit level each; kept ascending.
        evidence: Amounts of evidence, m images of one source together; kept ascending.
        false_positives: Share of innocent evidence that may accuse a device, (0, 1).
        steps: Steps of the attacks.
        batch_size: Images at once; changes the time and the memory, not the result.
        seed: Seed of images, attacks and groups.
        restarts: Runs of the attacks.

    Raises:
        AuditError: A value is out of range.
    """

    eps: tuple[float, ...]
    evidence: tuple[int, ...] = (1, 2, 3, 5)
    false_positives: float = 0.05
    steps: int = 15
    batch_size: int = 128
    seed: int = 0
    restarts: int = field(default=3, metadata=LATER)

    def __post_init__(self) -> None:
        self.check("steps", "batch_size", "restarts")
        if not self.evidence:
            raise AuditError("no evidence to judge", hint="give one amount or more")
        object.__setattr__(self, "evidence", tuple(sorted(set(self.evidence))))
        if self.evidence[0] < 1 or not 0 < self.false_positives < 1:
            raise AuditError(
                f"evidence is {self.evidence[0]} and false_positives {self.false_positives:g}",
                hint="judge 1 image or more, and allow a share between 0 and 1",
            )

    def attack(self) -> TransferSettings:
        """How devices and outsiders are attacked."""
        return TransferSettings(
            self.eps,
            steps=self.steps,
            restarts=self.restarts,
            seed=self.seed,
            batch_size=self.batch_size,
        )


PATH_POINTS = 5
"""Points of the path, both ends included. Top-1 of alignment alone on validation images of the
demo devices at eps 0.1: 0.61 with the original only, 0.89 with both ends, 0.94 with 3 points,
0.98 with 5."""


def raw_scores(
    members: Sequence[Member],
    originals: Tensor,
    adversarial: Tensor,
    labels: Tensor,
    *,
    batch_size: int,
) -> Tensor:
    """Deviation and alignment of every image for every device.

    Args:
        members: The suspects; each is left exactly as it was.
        originals: uint8 (N, C, H, W).
        adversarial: uint8 (N, C, H, W).
        labels: True classes, int64 (N,).
        batch_size: Images at once; changes the time and the memory, not the result.

    Returns:
        float64 (2, N, D): deviation, then alignment, for D devices.
    """
    if len(originals) == 0:
        return torch.zeros(2, 0, len(members), dtype=torch.float64)
    columns, size = [], attacks.at_once(batch_size, originals)
    for member in members:
        parts = [
            _scores(member, *part)
            for part in zip(
                originals.split(size), adversarial.split(size), labels.split(size), strict=True
            )
        ]
        columns.append(torch.cat(parts, dim=1))
    return torch.stack(columns, dim=2)


def _scores(member: Member, originals: Tensor, adversarial: Tensor, labels: Tensor) -> Tensor:
    """Both scores of one batch for one device, float64 (2, B)."""
    classifier = member.classifier
    device = classifier.mean.device
    objective: attacks.Objective = (
        attacks.Margin() if classifier.encoding is None else attacks.Directions()
    )
    clean, moved, true = originals.to(device), adversarial.to(device), labels.to(device)
    ends: list[Tensor] = []
    mean = torch.zeros(objective.variants, len(clean), clean[0].numel(), device=device)
    with attacks.attackable(classifier):
        value = objective.bind(classifier, true)
        for share in torch.linspace(0, 1, PATH_POINTS, device=device):
            point = torch.lerp(clean.float(), moved.float(), share).round_().to(torch.uint8)
            folded = to_unit(point).repeat(objective.variants, 1, 1, 1)
            folded = folded.contiguous(memory_format=torch.channels_last)
            gradient, values = input_gradient(classifier, folded, value, "fp32")
            rows = gradient.flatten(1).unflatten(0, (objective.variants, -1))
            mean += _directions(rows)
            ends.append(values.unflatten(0, (objective.variants, -1)))
    delta = (moved.float() - clean.float()).flatten(1)
    deviation = (ends[-1] - ends[0]).amax(0)
    alignment = functional.cosine_similarity(mean, delta.unsqueeze(0), dim=2).amax(0)
    return torch.stack([deviation, alignment]).nan_to_num().double().cpu()


def _directions(gradients: Tensor) -> Tensor:
    """Each gradient over its length, (V, B, D); zeros stay zeros.

    By its largest value first: squares of a saturated network's gradients, 1e-23 and smaller, are
    zero in float32.
    """
    tiny = torch.finfo(gradients.dtype).tiny
    scaled = gradients.nan_to_num(nan=0.0)
    scaled = scaled / scaled.abs().amax(dim=2, keepdim=True).clamp(min=tiny)
    return functional.normalize(scaled, dim=2)


SourceRole = Literal["device", "control", "twin", "known", "new"]
"""``known`` outsiders set the thresholds; ``new`` ones and controls are only judged by them."""

GRID = 16
"""Shares of the way to the adversarial image that a hiding attacker tries on their own device."""

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
    role: SourceRole
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

    An attacker tries images on the device that they own. So only those count whose original the
    source decodes correctly and that the source itself does not.

    Args:
        source: On which the images were made; left exactly as it was.
        suspects: In device order; each is left exactly as it was.
        sets: The images.
        settings: Of the audit.
        attackers: Whose images.
    """
    clean = _outcomes(source, sets.sample.images, sets.sample, settings)
    right = torch.from_numpy(clean == attacks.CORRECT).nonzero().squeeze(1)
    sample = sets.sample.part(right)
    others = [suspect for suspect in suspects if suspect.name != source.name]
    traced = []
    for level, eps in enumerate(sets.eps):
        sent = adaptive_images(sets, level)[0][right]
        for attacker in attackers:
            images = sent
            if attacker == "hiding":
                images = hidden(source, sample, sent, eps, settings)
            evades = _outcomes(source, images, sample, settings) != attacks.CORRECT
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
    keys = attacks.SampleKeys(settings.seed, source.name, sample.indices)
    noise = attacks.radius(eps) * keys.signs(sample.images.shape[1:], "hide")
    delta = sent.float() - sample.images.float()
    images, found = sent.clone(), np.zeros(len(sent), dtype=np.bool_)
    for share in np.linspace(0, 1, GRID, endpoint=False).tolist():
        mixed = (sample.images + share * delta + (1 - share) * noise).round_().clamp_(0, 255)
        tried = mixed.to(torch.uint8)
        fresh = (_outcomes(source, tried, sample, settings) != attacks.CORRECT) & ~found
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
        standing = _outcomes(victim, sample.images, sample, settings) == attacks.CORRECT
        there = _outcomes(victim, images, sample, settings)
        evade += int((standing & (there != attacks.CORRECT)).sum())
        pairs += int(standing.sum())
    return evade, pairs


def _outcomes(member: Member, images: Tensor, sample: Sample, settings: TraceSettings) -> Outcomes:
    """Decide images of a sample, (N,)."""
    (decided,) = outcomes_on(member, images[None], sample.labels, settings.batch_size)
    return np.asarray(decided, dtype=np.int8)


def _plain(scores: Tensor) -> Scores:
    return tuple(tuple(map(tuple, rows)) for rows in scores.tolist())
