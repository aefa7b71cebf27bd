"""Read a device's own adversarial images once more, for what their outcomes do not tell.

The value of the objective that made them beside their success (M2), and both decode rules (M18).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import torch

from fleet.attacks import CORRECT, FGSM, PGD
from fleet.audit.core.bench import Bench
from fleet.audit.core.counting import WORST, attack_rows, count
from fleet.audit.core.evidence import Decoding, Ordering, Outcomes
from fleet.audit.core.members import Member, Sample, TransferSettings
from fleet.audit.core.result import Protocol
from fleet.audit.core.sets import AdversarialSets

READ = 64
"""Images of the sample whose adversarial images are read again."""


def read_orderings(
    member: Member,
    sample: Sample,
    settings: TransferSettings,
    sets: AdversarialSets,
    attacked: Outcomes,
) -> Iterator[Ordering]:
    """Compare each objective at the images that evade with its value at their originals.

    Args:
        member: The device; left exactly as it was.
        sample: The clean images.
        settings: Of the audit.
        sets: The device's own adversarial images.
        attacked: Outcomes of ``sets`` on the device itself, (E, A, N).
    """
    part = sample.part(torch.arange(min(READ, len(sample.labels))))
    for level, eps in enumerate(sets.eps):
        bench = Bench.of(member.classifier, member.name, part, eps, settings)
        for protocol in get_args(Protocol):
            best = torch.full((len(part.labels),), -1.0, dtype=torch.float64)
            for entry in bench.entries(protocol):
                rows = [
                    row for name in entry.names for row in attack_rows(sets.attacks, protocol, name)
                ]
                if not isinstance(entry.attack, FGSM | PGD):
                    continue
                evades = torch.from_numpy(attacked[level, rows, : len(part.labels)] > CORRECT)
                images = sets.images[level, rows, : len(part.labels)]
                before, after = bench.values(entry.attack.objective, images)
                larger = (after > before).double() + 0.5 * (after == before).double()
                # An image that DOWN drove out upwards is UP's success: the best attack speaks.
                best = torch.maximum(best, torch.where(evades, larger.cpu(), -1.0).amax(0))
            pairs, ordered = int((best >= 0).sum()), float(best.clamp(min=0).sum())
            yield Ordering(member.name, protocol, eps, pairs, ordered)


def read_decodings(
    member: Member,
    sample: Sample,
    settings: TransferSettings,
    sets: AdversarialSets,
    *,
    clean: Outcomes,
    attacked: Outcomes,
) -> Iterator[Decoding]:
    """Decode the same images by both rules of Eq. 2; nothing for a device with logits.

    Args:
        member: The device; left exactly as it was.
        sample: The clean images.
        settings: Of the audit.
        sets: The device's own adversarial images.
        clean: Outcomes of the clean images, (N,).
        attacked: Outcomes of ``sets`` on the device itself, (E, A, N).
    """
    if member.classifier.encoding is None:
        return
    floor = torch.cat(
        [
            Bench.of(member.classifier, member.name, sample.part(rows), sets.eps[0], settings)
            .outcomes(sample.images[rows].unsqueeze(0), "floor")[0]
            .cpu()
            for rows in torch.arange(len(sample.labels)).split(settings.batch_size)
        ]
    ).numpy()
    first = min(READ, len(clean))
    adaptive = attack_rows(sets.attacks, "adaptive", WORST)
    part = sample.part(torch.arange(first))
    for level, eps in enumerate(sets.eps):
        bench = Bench.of(member.classifier, member.name, part, eps, settings)
        again = bench.outcomes(sets.images[level, adaptive, :first], "floor").cpu().numpy()
        yield Decoding(
            device=member.name,
            eps=eps,
            images=len(clean),
            strict_correct=int((clean == CORRECT).sum()),
            floor_correct=int((floor == CORRECT).sum()),
            strict=count(attacked[level, adaptive, :first].max(axis=0), clean[:first] == CORRECT),
            floor=count(again.max(axis=0), floor[:first] == CORRECT),
        )
