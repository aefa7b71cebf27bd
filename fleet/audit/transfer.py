"""The transfer audit: what breaking one device gives against the others (the paper's Figure 3).

Two pure steps, so that they run as independent jobs: :func:`attack_surrogate` makes the images of
one row, :func:`fleet.audit.scoring.score_victim` decides all of them on one column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor

from fleet.attacks import (
    Directions,
    Entry,
    Margin,
    Objective,
    OutputValue,
    SampleKeys,
    TaskLoss,
    attackable,
    decide,
    exact_eps,
    gradient_faults,
    portfolio,
    radius,
    reproject,
    settle,
    to_bytes,
)
from fleet.audit.checks import run_checks
from fleet.audit.counting import count_matrices, count_noise
from fleet.audit.evidence import AttackName, Evidence, GradientHealth, Reach, VictimScores
from fleet.audit.members import Member, Sample, TransferSettings, check_members
from fleet.audit.result import AuditedDevice, TransferAudit
from fleet.audit.scoring import measure_reach, score_victim
from fleet.audit.sets import AdversarialSets
from fleet.data import to_unit
from fleet.models import Classifier

__all__ = [
    "Member",
    "Sample",
    "TransferSettings",
    "assemble",
    "attack_surrogate",
    "attack_values",
    "audit_transfer",
    "audited_device",
]

ProgressHook = Callable[[int, int, str], None]
"""(done, total, a few words for people)."""

SEGMENT = "segment"
"""Name of the set that holds the one best image of each example after segment search."""


def audit_transfer(
    members: Sequence[Member],
    images: Tensor,
    labels: Tensor,
    settings: TransferSettings,
    *,
    label: str = "in-memory",
    provenance: dict[str, Any] | None = None,
    progress: ProgressHook | None = None,
) -> TransferAudit:
    """Audit devices in memory: attack each one, try every image on all.

    Args:
        members: The devices; each is left exactly as it was, training mode included.
        images: uint8 (N, C, H, W), or floats in [0, 1], which are rounded to 8 bits first.
        labels: True classes, integers (N,).
        settings: How thoroughly to attack.
        label: Name of the audit.
        provenance: Where models and images come from, plain JSON values.
        progress: Called with (done, total, text).

    Raises:
        AuditError: The devices or images do not fit together, or a device gives NaN.
    """
    sample = Sample.of(images, labels)
    check_members(members, sample)
    report = progress or _silent
    total = 2 * len(members)
    sets = []
    for done, member in enumerate(members):
        report(done, total, f"attack {member.name}")
        sets.append(attack_surrogate(member, sample, settings))
    scores = []
    for done, member in enumerate(members, len(members)):
        report(done, total, f"score {member.name}")
        scores.append(score_victim(member, sample, sets, settings))
    report(total, total, "done")
    return assemble(
        devices=[audited_device(*pair) for pair in zip(members, scores, strict=True)],
        attacks={made.surrogate: made.attacks for made in sets},
        health=[made.health for made in sets],
        reaches=[reach for made in sets for reach in measure_reach(made, sample)],
        scores=scores,
        settings=settings,
        label=label,
        details={"attack_values": attack_values(members, settings)},
        provenance=provenance or {},
    )


def attack_surrogate(
    member: Member,
    sample: Sample,
    settings: TransferSettings,
    progress: ProgressHook | None = None,
) -> AdversarialSets:
    """Make all adversarial images of one surrogate.

    Args:
        member: The surrogate; left exactly as it was.
        sample: The clean images; all are attacked, also those that the surrogate gets wrong.
        settings: How thoroughly.
        progress: Called after each batch with (done, total, text).
    """
    batches = torch.arange(len(sample.images)).split(settings.batch_size)
    total = len(batches) * len(settings.eps)
    names: tuple[AttackName, ...] = ()
    levels = []
    for level, eps in enumerate(settings.eps):
        parts = []
        for number, rows in enumerate(batches):
            names, made = _attack_batch(member, _part(sample, rows), eps, settings)
            parts.append(made)
            if progress is not None:
                progress(level * len(batches) + number + 1, total, f"eps {eps:.4g}")
        levels.append(torch.cat(parts, dim=1))
    health = _gradient_health(member, sample, settings.batch_size)
    return AdversarialSets(member.name, settings.eps, names, torch.stack(levels), health)


def assemble(
    *,
    devices: Sequence[AuditedDevice],
    attacks: dict[str, tuple[AttackName, ...]],
    health: Sequence[GradientHealth],
    reaches: Sequence[Reach],
    scores: Sequence[VictimScores],
    settings: TransferSettings,
    label: str,
    details: dict[str, Any],
    provenance: dict[str, Any],
) -> TransferAudit:
    """Count, check, and put the result together; everything in device order."""
    evidence = Evidence(
        devices=tuple(devices),
        eps=settings.eps,
        attacks=attacks,
        scores=tuple(scores),
        matrices=count_matrices(scores, attacks, settings.eps),
        noise=count_noise(scores, settings.eps, settings.noise_draws),
        health=tuple(health),
        reaches=tuple(reaches),
    )
    return TransferAudit(
        run=label,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        devices=evidence.devices,
        eps=settings.eps,
        matrices=evidence.matrices,
        noise=evidence.noise,
        checks=run_checks(evidence),
        settings={**_settings(settings, devices[0].images), **details},
        provenance=provenance,
    )


def audited_device(member: Member, scores: VictimScores) -> AuditedDevice:
    """Describe one device with its clean figures."""
    classifier = member.classifier
    encoding = None if member.private else classifier.encoding
    return AuditedDevice(
        name=member.name,
        task=classifier.task,
        architecture=member.architecture,
        head=member.head or classifier.head_name,
        encoding=None if encoding is None else encoding.to_dict(),
        weights_sha256=member.weights_sha256,
        images=len(scores.clean),
        correct=int((scores.clean == 0).sum()),
        rejected=int((scores.clean == 1).sum()),
    )


def attack_values(members: Sequence[Member], settings: TransferSettings) -> dict[str, str]:
    """Every attack with its hyper-parameters, at the first eps, by name."""
    eps = settings.eps[0]
    entries = [entry for m in members for entry in _portfolio(m.classifier, eps, settings)]
    return {"/".join(entry.names): repr(entry.attack) for entry in entries}


def _attack_batch(
    member: Member, batch: Sample, eps: float, settings: TransferSettings
) -> tuple[tuple[AttackName, ...], Tensor]:
    """Names, and 8-bit images (A, B, C, H, W), of every attack on one batch."""
    classifier, levels = member.classifier, radius(eps)
    device = classifier.mean.device
    clean, labels = batch.images.to(device), batch.labels.to(device)
    keys = SampleKeys(settings.seed, member.name, batch.indices.to(device))
    names: list[AttackName] = []
    made: list[Tensor] = []
    for entry in _portfolio(classifier, eps, settings):
        adversarial = entry.attack(classifier, to_unit(clean), labels, keys)
        made.append(reproject(to_bytes(adversarial), clean, levels))
        names += [AttackName(entry.protocol, name) for name in entry.names]
    images = torch.cat(made)
    if classifier.encoding is not None:
        adaptive = [row for row, name in enumerate(names) if name.protocol == "adaptive"]
        best = settle(classifier, clean, images[adaptive], labels)
        images = torch.cat([images, best.unsqueeze(0)])
        names.append(AttackName("adaptive", SEGMENT))
    return tuple(names), images.cpu()


def _portfolio(classifier: Classifier, eps: float, settings: TransferSettings) -> tuple[Entry, ...]:
    return portfolio(
        classifier,
        exact_eps(eps),
        steps=settings.steps,
        restarts=settings.restarts,
        targets=settings.targets,
        precision=settings.precision,
    )


def _gradient_health(member: Member, sample: Sample, batch_size: int) -> GradientHealth:
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


def _settings(settings: TransferSettings, images: int) -> dict[str, Any]:
    return {
        **settings.to_dict(),
        "images": images,
        "levels": [radius(eps) for eps in settings.eps],
        "decode": "strict",
        "scoring": "fp32, on images rounded to 8 bits and re-projected into the eps ball",
    }


def _part(sample: Sample, rows: Tensor) -> Sample:
    return Sample(sample.images[rows], sample.labels[rows], sample.indices[rows])


def _silent(done: int, total: int, text: str) -> None:
    del done, total, text
