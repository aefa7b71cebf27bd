"""One row of the matrix: attack one surrogate, and try its images on every victim.

Rows share nothing, so they run as independent jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import get_args

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
from fleet.audit.counting import WORST, attack_rows
from fleet.audit.evidence import AttackName, Effort, GradientHealth, Outcomes, Reach
from fleet.audit.members import Member, Sample, TransferSettings
from fleet.audit.result import AuditedDevice, Protocol
from fleet.audit.scoring import Baseline, Trial, farthest_levels, score_baseline, score_sets
from fleet.audit.sets import AdversarialSets
from fleet.data import to_unit
from fleet.models import Classifier

SEGMENT = "segment"
"""Name of the set that holds the one best image of each example after segment search."""

HARDER_IMAGES = 64
"""Images attacked again with twice the effort, to see whether the audit has converged (M9)."""

ProgressHook = Callable[[int, int, str], None]
"""(done, total, a few words for people)."""


@dataclass(frozen=True, eq=False)
class Row:
    """Everything found about one surrogate.

    Attributes:
        device: Its description and clean figures.
        attacks: Names of its sets.
        attack_values: Its attacks with their hyper-parameters, at the first eps.
        health: Its gradients at the clean images.
        reaches: How far its images are from the clean ones, one for each eps.
        efforts: What twice the effort adds, one for each eps.
        baseline: Itself without an attack and under noise.
        trials: Its images on every victim, by name.
    """

    device: AuditedDevice
    attacks: tuple[AttackName, ...]
    attack_values: dict[str, str]
    health: GradientHealth
    reaches: tuple[Reach, ...]
    efforts: tuple[Effort, ...]
    baseline: Baseline
    trials: dict[str, Trial]


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


def score_row(
    member: Member,
    sets: AdversarialSets,
    victims: Iterable[Member],
    sample: Sample,
    settings: TransferSettings,
) -> Row:
    """Try a surrogate's images on every victim.

    Args:
        member: The surrogate.
        sets: Its images.
        victims: All devices, the surrogate included; one at a time is held.
        sample: The clean images.
        settings: Of the audit.

    Raises:
        AuditError: The surrogate's outputs for the clean images are not finite.
    """
    baseline = score_baseline(member, sample, settings)
    farthest = zip(sets.eps, farthest_levels(sets, sample), strict=True)
    trials = {victim.name: score_sets(victim, sample, sets.images, settings) for victim in victims}
    return Row(
        device=_describe(member, baseline),
        attacks=sets.attacks,
        attack_values={
            "/".join(entry.names): repr(entry.attack)
            for entry in _portfolio(member.classifier, settings.eps[0], settings)
        },
        health=sets.health,
        reaches=tuple(Reach(member.name, eps, radius(eps), far) for eps, far in farthest),
        efforts=_double_effort(
            member,
            sample,
            settings,
            attacks=sets.attacks,
            clean=baseline.clean,
            attacked=trials[member.name].outcomes,
        ),
        baseline=baseline,
        trials=trials,
    )


def _double_effort(
    member: Member,
    sample: Sample,
    settings: TransferSettings,
    *,
    attacks: tuple[AttackName, ...],
    clean: Outcomes,
    attacked: Outcomes,
) -> tuple[Effort, ...]:
    """Attack the first images again with twice the steps and twice the restarts (M9)."""
    harder = replace(settings, steps=2 * settings.steps, restarts=2 * settings.restarts)
    first = torch.arange(min(HARDER_IMAGES, len(sample.images)))
    part, correct = _part(sample, first), clean[: len(first)] == 0
    adaptive = attack_rows(attacks, "adaptive", WORST)
    efforts = []
    for level, eps in enumerate(settings.eps):
        _, images = _attack_batch(member, part, eps, harder, protocols=("adaptive",))
        again = score_sets(member, part, images.unsqueeze(0), settings).outcomes[0]
        fallen = (attacked[level, adaptive, : len(first)] > 0).any(axis=0) & correct
        more = (again > 0).any(axis=0) & correct & ~fallen
        efforts.append(
            Effort(member.name, eps, *map(int, (correct.sum(), fallen.sum(), more.sum())))
        )
    return tuple(efforts)


def _describe(member: Member, baseline: Baseline) -> AuditedDevice:
    classifier = member.classifier
    encoding = None if member.private else classifier.encoding
    return AuditedDevice(
        name=member.name,
        task=classifier.task,
        architecture=member.architecture,
        head=member.head or classifier.head_name,
        encoding=None if encoding is None else encoding.to_dict(),
        weights_sha256=member.weights_sha256,
        images=len(baseline.clean),
        correct=int((baseline.clean == 0).sum()),
        rejected=int((baseline.clean == 1).sum()),
    )


def _attack_batch(
    member: Member,
    batch: Sample,
    eps: float,
    settings: TransferSettings,
    *,
    protocols: tuple[Protocol, ...] = get_args(Protocol),
) -> tuple[tuple[AttackName, ...], Tensor]:
    """Names, and 8-bit images (A, B, C, H, W), of every attack on one batch."""
    classifier = member.classifier
    device = classifier.mean.device
    clean, labels = batch.images.to(device), batch.labels.to(device)
    keys = SampleKeys(settings.seed, member.name, batch.indices.to(device))
    names: list[AttackName] = []
    made: list[Tensor] = []
    for entry in _portfolio(classifier, eps, settings):
        if entry.protocol not in protocols:
            continue
        adversarial = entry.attack(classifier, to_unit(clean), labels, keys)
        made.append(reproject(to_bytes(adversarial), clean, radius(eps)))
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


def _part(sample: Sample, rows: Tensor) -> Sample:
    return Sample(sample.images[rows], sample.labels[rows], sample.indices[rows])
