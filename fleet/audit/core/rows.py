"""One row of the matrix begins here: all adversarial images of one surrogate.

Surrogates share nothing, so their rows run as independent jobs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from fleet.attacks import (
    Directions,
    Margin,
    Objective,
    OutputValue,
    SampleKeys,
    TaskLoss,
    attackable,
    decide,
    gradient_faults,
    quantise,
    settle,
)
from fleet.audit.core.evidence import AttackName, GradientHealth
from fleet.audit.core.members import Member, Sample, TransferSettings
from fleet.audit.core.sets import AdversarialSets
from fleet.data import to_unit

SEGMENT = "segment"
"""Name of the set that holds the one best image of each example after segment search."""

ProgressHook = Callable[[int, int, str], None]
"""(done, total, a few words for people)."""


def attack_surrogate(
    member: Member,
    sample: Sample,
    settings: TransferSettings,
    progress: ProgressHook | None = None,
) -> AdversarialSets:
    """Make all adversarial images of one surrogate.

    Besides the images it holds what one batch needs: about 4 bytes a pixel for
    ``2 * settings.batch_size`` images and the network's activations for them.

    Args:
        member: The surrogate; left exactly as it was.
        sample: The clean images; all are attacked, also those that the surrogate gets wrong.
        settings: How thoroughly.
        progress: Called after each batch with (done, total, text).
    """
    # Equal batches: kernels for under four images round otherwise, and a rest may be one image.
    count = math.ceil(len(sample.images) / settings.batch_size)
    batches = torch.arange(len(sample.images)).tensor_split(count)
    total = len(batches) * len(settings.eps)
    names: tuple[AttackName, ...] = ()
    levels = []
    for level, eps in enumerate(settings.eps):
        parts = []
        for number, rows in enumerate(batches):
            names, made = _attack_batch(member, sample.part(rows), eps, settings)
            parts.append(made)
            if progress is not None:
                progress(level * len(batches) + number + 1, total, f"eps {eps:.4g}")
        levels.append(torch.cat(parts, dim=1))
    return AdversarialSets(
        surrogate=member.name,
        norm=settings.norm,
        eps=settings.eps,
        attacks=names,
        attack_values={
            "/".join(entry.names): repr(entry.attack)
            for entry in settings.portfolio(member.classifier, settings.eps[0])
        },
        images=torch.stack(levels),
        sample=sample,
        health=_gradient_health(member, sample, settings.batch_size),
    )


def _attack_batch(
    member: Member, batch: Sample, eps: float, settings: TransferSettings
) -> tuple[tuple[AttackName, ...], Tensor]:
    """Names, and 8-bit images (A, B, C, H, W), of every attack on one batch."""
    classifier = member.classifier
    device = classifier.mean.device
    clean, labels = batch.images.to(device), batch.labels.to(device)
    keys = SampleKeys(settings.seed, member.name, batch.indices.to(device))
    names: list[AttackName] = []
    made: list[Tensor] = []
    for entry in settings.portfolio(classifier, eps):
        adversarial = entry.attack(classifier, to_unit(clean), labels, keys)
        made.append(quantise(adversarial, clean, eps, settings.norm))
        names += [AttackName(entry.protocol, name) for name in entry.names]
    images = torch.cat(made)
    if classifier.encoding is not None:
        adaptive = [row for row, name in enumerate(names) if name.protocol == "adaptive"]
        best = settle(classifier, clean, images[adaptive], labels)
        images = torch.cat([images, best.unsqueeze(0)])
        names.append(AttackName("adaptive", SEGMENT))
    return tuple(names), images.cpu()


def _gradient_health(member: Member, sample: Sample, batch_size: int) -> GradientHealth:
    """Gradients of the paper's loss, the adaptive objective and the output at clean images."""
    classifier = member.classifier
    adaptive: Objective = Margin() if classifier.encoding is None else Directions()
    counts = torch.zeros(5, dtype=torch.int64)
    device = classifier.mean.device
    for rows in torch.arange(len(sample.images)).split(batch_size):
        images, labels = sample.images[rows].to(device), sample.labels[rows].to(device)
        with attackable(classifier):
            correct = decide(classifier, images, labels).outcomes == 0
        faults = [
            gradient_faults(classifier, to_unit(images), labels, objective)
            for objective in (TaskLoss(), adaptive, OutputValue())
        ]
        broken = torch.stack([fault.nonfinite for fault in faults]).any(0)
        zero = [(fault.zero & correct).sum() for fault in faults]
        counts += torch.stack([correct.sum(), *zero, broken.sum()]).cpu()
    return GradientHealth(member.name, *counts.tolist())
