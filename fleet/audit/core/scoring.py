"""Try images on one device: without an attack, under noise, and made on any surrogate."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fleet import attacks
from fleet.accelerator import halving
from fleet.audit.core.cache import PackedClasses, PackedOutcomes
from fleet.audit.core.evidence import Outcomes
from fleet.audit.core.members import Member, Sample, TransferSettings, check_members
from fleet.audit.core.result import AuditedDevice
from fleet.audit.core.sets import AdversarialSets
from fleet.data import to_unit
from fleet.encoding import REJECTED
from fleet.errors import AuditError


@dataclass(frozen=True, eq=False)
class Baseline:
    """A device without an attack, and under noise.

    Attributes:
        clean: Outcomes of the clean images, (N,).
        noise: Worst of the noise draws at each eps, (E, N).
        nonfinite: Noisy images whose output is NaN or infinite.
        repeatable: Whether three forward passes of the clean images gave the same bits.
    """

    clean: PackedOutcomes
    noise: PackedOutcomes
    nonfinite: int
    repeatable: bool


@dataclass(frozen=True, eq=False)
class Trial:
    """A surrogate's images on one victim.

    Attributes:
        outcomes: (E, A, N).
        floor: The same under Eq. 2's floor decoding, (E, A, N).
        nonfinite: Images whose output is NaN or infinite.
        named: Decoded class of the images to send, -1 for None, (E, N).
    """

    outcomes: PackedOutcomes
    floor: PackedOutcomes
    nonfinite: int
    named: PackedClasses


def score_baseline(member: Member, sample: Sample, settings: TransferSettings) -> Baseline:
    """Decide clean and noisy images in fp32.

    Raises:
        AuditError: The outputs for the clean images are not finite.
    """
    with attacks.attackable(member.classifier):
        passes = [
            _decide(member, sample.images, sample.labels, settings.batch_size) for _ in range(3)
        ]
        broken = _nonfinite(passes[0].outputs)
        if broken:
            raise AuditError(
                f"{member.name} gives NaN or infinite outputs for {broken} of "
                f"{len(sample.labels)} clean images",
                hint="its weights or its normalisation are broken; train it again",
            )
        noise = [_noise(member, sample, eps, settings) for eps in settings.eps]
    return Baseline(
        clean=passes[0].outcomes,
        noise=np.stack([trial.outcomes.max(axis=(0, 1)) for trial in noise]),
        nonfinite=sum(trial.nonfinite for trial in noise),
        repeatable=all(torch.equal(passes[0].outputs, again.outputs) for again in passes[1:]),
    )


def attacked(
    attack: attacks.Attack,
    member: Member,
    sample: Sample,
    eps: float,
    settings: TransferSettings,
    *,
    stream: str = "",
) -> Tensor:
    """Attack a sample batch by batch.

    Args:
        attack: At a radius of 8-bit images inside ``eps``.
        member: The device; left exactly as it was.
        sample: The clean images.
        eps: As asked for.
        settings: Of which seed, batch size and norm count.
        stream: Names the random numbers; by default they are the same for every device.

    Returns:
        uint8 (V, N, C, H, W), as a file can hold them.
    """
    made = []
    for rows in sample.batches(settings.batch_size):
        part = sample.part(rows)
        keys = attacks.SampleKeys(settings.seed, stream, part.indices)
        found = attack(member.classifier, to_unit(part.images), part.labels, keys)
        made.append(attacks.quantise(found, part.images, eps, settings.norm))
    return torch.cat(made, dim=1)


def score_sets(
    victim: Member, sample: Sample, images: Tensor, settings: TransferSettings, sent: int = 0
) -> Trial:
    """Decide attacked images in fp32; batches run across the sets, so small ones cost no time.

    Args:
        victim: Left exactly as it was.
        sample: The clean images and their labels.
        images: uint8 (E, A, N, C, H, W).
        settings: Of the audit; the batch size counts.
        sent: Which of the A sets holds the images to send.
    """
    labels = sample.labels.expand(*images.shape[:3]).flatten()
    with attacks.attackable(victim.classifier):
        decided = _decide(victim, images.flatten(0, 2), labels, settings.batch_size)
    return Trial(
        decided.outcomes.reshape(images.shape[:3]),
        decided.floor.reshape(images.shape[:3]),
        _nonfinite(decided.outputs),
        decided.named.reshape(images.shape[:3])[:, sent],
    )


def replay(sets: AdversarialSets, victim: Member, settings: TransferSettings) -> Trial:
    """Try stored adversarial images on a device that had no part in their making.

    Args:
        sets: From :func:`fleet.audit.core.sets.load_sets`.
        victim: Left exactly as it was.
        settings: Of which only the batch size counts.

    Raises:
        AuditError: The device knows other classes or takes images of another shape.
    """
    check_members([victim], sets.sample)
    return score_sets(victim, sets.sample, sets.images, settings, sets.sent)


@dataclass(frozen=True, eq=False)
class _Decided:
    """Outputs, (R, 1) or (R, K), outcomes of both decode rules, and classes, (R,)."""

    outputs: Tensor
    outcomes: PackedOutcomes
    floor: PackedOutcomes
    named: PackedClasses


def _noise(member: Member, sample: Sample, eps: float, settings: TransferSettings) -> Trial:
    """All draws at one eps; the same noise for every victim."""
    strength, draws = attacks.exact_eps(eps, settings.norm), settings.noise_draws
    attack = (
        attacks.SignNoise(strength, draws)
        if settings.norm == "linf"
        else attacks.UniformNoise(strength, draws, settings.norm)
    )
    noisy = attacked(attack, member, sample, eps, settings)
    return score_sets(member, sample, noisy.unsqueeze(0), settings)


def _decide(member: Member, images: Tensor, labels: Tensor, batch_size: int) -> _Decided:
    """Decide R images, uint8 (R, C, H, W), on the member's own torch device."""
    device = member.classifier.mean.device
    size = attacks.at_once(batch_size, images)

    def decide(rows: Tensor) -> tuple[Tensor, ...]:
        y = labels[rows].to(device)
        part = attacks.decide(member.classifier, images[rows].to(device), y)
        classes = member.classifier.decode(part.outputs, "floor")
        floor = torch.where(classes == y, 0, torch.where(classes == REJECTED, 1, 2))
        named = member.classifier.decode(part.outputs)
        return part.outputs.reshape(len(y), -1), part.outcomes, floor, named

    parts = torch.arange(len(images)).split(size)
    decided = [found for rows in parts for found in halving(decide, rows)]
    outputs, outcomes, floor, named = map(torch.cat, zip(*decided, strict=True))
    return _Decided(
        outputs,
        outcomes.cpu().numpy(),
        floor.to(torch.int8).cpu().numpy(),
        named.to(torch.int16).cpu().numpy(),
    )


def _nonfinite(outputs: Tensor) -> int:
    return int((~outputs.isfinite()).any(1).sum())


def outcomes_on(member: Member, images: Tensor, labels: Tensor, batch_size: int) -> Outcomes:
    """Decide sets of 8-bit images in fp32.

    Args:
        member: Left exactly as it was.
        images: uint8 (A, N, C, H, W).
        labels: True classes, int64 (N,).
        batch_size: Images decided at once.

    Returns:
        Outcomes, (A, N).

    Raises:
        AuditError: An output is NaN or infinite.
    """
    if images[0].numel() == 0:
        return np.zeros(images.shape[:2], dtype=np.int8)
    with attacks.attackable(member.classifier):
        decided = _decide(member, images.flatten(0, 1), labels.repeat(len(images)), batch_size)
    if _nonfinite(decided.outputs):
        raise AuditError(
            f"{member.name} gives NaN or infinite outputs",
            hint="its weights or its normalisation are broken; train it again",
        )
    return decided.outcomes.reshape(images.shape[:2])


def describe(member: Member, clean: Outcomes) -> AuditedDevice:
    """A device and its clean figures, from the outcomes of the clean images, (N,).

    An encoding drawn from a secret is left out.
    """
    encoding = None if member.private else member.classifier.encoding
    return AuditedDevice(
        name=member.name,
        task=member.classifier.task,
        architecture=member.architecture,
        head=member.head or member.classifier.head_name,
        encoding=None if encoding is None else encoding.to_dict(),
        weights_sha256=member.weights_sha256,
        images=len(clean),
        correct=int((clean == attacks.CORRECT).sum()),
        rejected=int((clean == attacks.REJECT).sum()),
        role=member.role,
    )
