"""Adversarial images made with a device's own gradients, for the audits that only try them.

A transfer audit of the same run has made such images already; they are used where they hold all
that is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fleet.attacks import CORRECT, REJECT, attackable, decide
from fleet.audit.core.counting import WORST, attack_rows
from fleet.audit.core.evidence import Outcomes
from fleet.audit.core.members import Member, Sample, TransferSettings
from fleet.audit.core.result import AuditedDevice
from fleet.audit.core.rows import SEGMENT, ProgressHook, attack_surrogate
from fleet.audit.core.sets import AdversarialSets, find_part, find_sets, save_sets, sets_origin
from fleet.errors import AuditError

SENT = (SEGMENT, "margin")
"""The set that holds the one image of each original that an attacker would send, by task."""


def device_attack(
    eps: tuple[float, ...], *, steps: int, seed: int, batch_size: int
) -> TransferSettings:
    """How a transfer audit attacks one device by default, so that its images can be used."""
    return TransferSettings(eps, steps=steps, batch_size=batch_size, seed=seed)


def adaptive_images(sets: AdversarialSets, level: int) -> Tensor:
    """Adversarial images of the adaptive attacks, the one to send first.

    Args:
        sets: Of one device.
        level: Number of the eps.

    Returns:
        uint8 (A, N, C, H, W).
    """
    rows = attack_rows(sets.attacks, "adaptive", WORST)
    rows.sort(key=lambda row: sets.attacks[row].attack not in SENT)
    return sets.images[level, rows]


def candidates(images: Sequence[Tensor]) -> Tensor:
    """Images of several devices in the order of trying: each one's best first, then the rest.

    Args:
        images: From :func:`adaptive_images`, one for each device.

    Returns:
        uint8 (A, N, C, H, W).
    """
    firsts = [made[:1] for made in images]
    return torch.cat([*firsts, *(made[1:] for made in images)])


def stored_sets(
    directory: Path,
    member: Member,
    sample: Sample,
    settings: TransferSettings,
    progress: ProgressHook | None = None,
) -> AdversarialSets:
    """Find a device's images in the run, or make and store them.

    The images are the same ones, whichever happens: those of a transfer audit are taken only if it
    attacked as ``settings`` say.

    Args:
        directory: Of all audits of the run.
        member: The device.
        sample: The clean images.
        settings: How to attack, and the wanted eps.
        progress: Called while attacking.
    """
    origin = sets_origin(member, sample, settings)
    stored = directory / "transfer" / "sets" / f"{member.name}.safetensors"
    found = find_part(stored, origin, sample, settings.eps)
    if found is not None:
        return found
    path = directory / "query" / "sets" / f"{member.name}-{sample.digest()[:12]}.safetensors"
    found = find_sets(path, origin)
    if found is None:
        found = attack_surrogate(member, sample, settings, progress)
        save_sets(found, path, origin)
    return found


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
    device = member.classifier.mean.device
    everywhere = labels.repeat(len(images))
    decided = []
    with attackable(member.classifier):
        for part, true in zip(
            images.flatten(0, 1).split(batch_size), everywhere.split(batch_size), strict=True
        ):
            decision = decide(member.classifier, part.to(device), true.to(device))
            if not bool(decision.outputs.isfinite().all()):
                raise AuditError(
                    f"{member.name} gives NaN or infinite outputs",
                    hint="its weights or its normalisation are broken; train it again",
                )
            decided.append(decision.outcomes.cpu())
    outcomes: Outcomes = torch.cat(decided).reshape(images.shape[:2]).numpy()
    return outcomes


def describe(member: Member, clean: Outcomes) -> AuditedDevice:
    """A device and its clean figures, from the outcomes of the clean images, (N,)."""
    encoding = None if member.private else member.classifier.encoding
    return AuditedDevice(
        name=member.name,
        task=member.classifier.task,
        architecture=member.architecture,
        head=member.head or member.classifier.head_name,
        encoding=None if encoding is None else encoding.to_dict(),
        weights_sha256=member.weights_sha256,
        images=len(clean),
        correct=int((clean == CORRECT).sum()),
        rejected=int((clean == REJECT).sum()),
        role=member.role,
    )
