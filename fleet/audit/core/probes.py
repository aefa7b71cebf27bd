"""Cheap extra attacks on one device, for the checks that outcomes alone cannot answer.

What a protocol leaves standing is tried again: noise, a gradient-free attack, more work. A rate can
only rise through an image that did not fall, so only those are tried. On a device that falls easily
a handful is all that is left to try.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor

from fleet.attacks import CORRECT, FGSM, PGD, Directions, Outside, Square, UniformNoise
from fleet.audit.core import evidence
from fleet.audit.core.bench import Bench
from fleet.audit.core.binarization import binarization_test
from fleet.audit.core.members import Member, Sample, TransferSettings
from fleet.audit.core.result import Protocol
from fleet.audit.core.sets import AdversarialSets
from fleet.data import to_unit

BINARIZED = 8
"""Images whose binarization test is run, at the middle one of the eps."""


def probe_device(
    member: Member,
    sample: Sample,
    settings: TransferSettings,
    sets: AdversarialSets,
    *,
    clean: evidence.Outcomes,
    attacked: evidence.Outcomes,
    known: Sequence[evidence.Retry] = (),
) -> evidence.Probes:
    """Look again at what the attacks on one device left standing.

    Args:
        member: The device; left exactly as it was.
        sample: The clean images.
        settings: Of the audit.
        sets: The device's own adversarial images.
        clean: Outcomes of the clean images on the device, (N,).
        attacked: Outcomes of ``sets`` on the device itself, (E, A, N).
        known: Second looks that were taken before; those of an eps are not taken again.
    """
    retries = [
        retry
        for level, eps in enumerate(sets.eps)
        for protocol in get_args(Protocol)
        for retry in [r for r in known if (r.eps, r.protocol) == (eps, protocol)]
        or try_again(
            find_standing(
                member,
                sample,
                protocol,
                eps,
                clean=clean,
                attacked=attacked[level],
                attacks=sets.attacks,
                most=FEW if settings.brief else EXAMINED,
            ),
            settings,
        )
    ]
    part = sample.part(torch.from_numpy(clean == CORRECT).nonzero().squeeze(1)[:BINARIZED])
    middle = sets.eps[(len(sets.eps) - 1) // 2]
    return evidence.Probes(
        retries=tuple(retries),
        orderings=tuple(read_orderings(member, sample, settings, sets, attacked)),
        decodings=tuple(
            read_decodings(member, sample, settings, sets, clean=clean, attacked=attacked)
        ),
        binarization=binarization_test(member, part, middle, settings),
    )


EXAMINED = 12
"""Standing images that are tried again, for each protocol and eps; they set the time it takes."""

FEW = 4
"""The same of a brief audit."""

DRAWS = 16
"""Draws of uniform noise."""

QUERIES = 200
"""Images that the gradient-free attack tries for each standing image."""

PROBES: dict[Protocol, tuple[evidence.Probe, ...]] = {
    "paper": ("flat", "uniform", "square", "iterates"),
    "adaptive": ("flat", "uniform", "square", "iterates", "steps", "restarts"),
}


@dataclass(frozen=True, eq=False)
class StandingImages:
    """The first images that a protocol does not evade on the device they were made on.

    Attributes:
        member: The device.
        protocol: Whose images stand.
        eps: As asked for.
        n: Images that the device decodes correctly.
        survivors: How many of them stand.
        part: The first of these.
    """

    member: Member
    protocol: Protocol
    eps: float
    n: int
    survivors: int
    part: Sample

    def retry(self, probe: evidence.Probe, found: Tensor) -> evidence.Retry:
        """Count; ``found`` is bool (B,), one for each image of ``part``."""
        return evidence.Retry(
            self.member.name,
            self.protocol,
            self.eps,
            probe,
            self.n,
            self.survivors,
            len(found),
            int(found.sum()),
        )


def find_standing(
    member: Member,
    sample: Sample,
    protocol: Protocol,
    eps: float,
    *,
    clean: evidence.Outcomes,
    attacked: evidence.Outcomes,
    attacks: tuple[evidence.AttackName, ...],
    most: int = EXAMINED,
) -> StandingImages:
    """Choose the images to try again.

    Args:
        member: The device.
        sample: All clean images.
        protocol: Whose images are looked at.
        eps: As asked for.
        clean: Outcomes of the clean images, (N,).
        attacked: Outcomes of the device's own images at this eps, (A, N).
        attacks: Their names.
        most: How many to choose at most.
    """
    fallen = evidence.worst_case(attacked, attacks, protocol) > 0
    rows = torch.from_numpy(~fallen & (clean == 0)).nonzero().squeeze(1)
    part = sample.part(rows[:most])
    return StandingImages(member, protocol, eps, int((clean == 0).sum()), len(rows), part)


def try_again(standing: StandingImages, settings: TransferSettings) -> Iterator[evidence.Retry]:
    """Run every probe on the images that stand.

    The adaptive attack is repeated with twice the steps while every iterate is watched, and as many
    restarts are added as it had; the paper's as it was, watched.

    Args:
        standing: The images.
        settings: Of the audit.
    """
    if standing.survivors == 0:
        for probe in PROBES[standing.protocol]:
            yield standing.retry(probe, torch.zeros(0))
        return
    found = [
        _try_batch(standing, standing.part.part(rows), settings)
        for rows in standing.part.batches(settings.batch_size)
    ]
    for probe in PROBES[standing.protocol]:
        yield standing.retry(probe, torch.cat([batch[probe] for batch in found]))


def _try_batch(
    standing: StandingImages, part: Sample, settings: TransferSettings
) -> dict[evidence.Probe, Tensor]:
    """Run every probe on one batch; bool (B,) each."""
    member = standing.member
    plain = Bench.of(member.classifier, member.name, part, standing.eps, settings)
    found: dict[evidence.Probe, Tensor] = {"uniform": _uniform(plain), "square": _square(plain)}
    if standing.protocol == "paper":
        return found | _watched(plain, "paper")[0]
    more = plain.harder(restarts=2 * settings.restarts)
    longer = plain.harder(steps=2 * settings.steps)
    pairs = zip(plain.entries("adaptive"), more.entries("adaptive"), strict=True)
    evades = [plain.more_restarts(before.attack, after.attack) for before, after in pairs]
    seen, evaded = _watched(longer, "adaptive")
    return found | seen | {"restarts": torch.stack(evades).any(0), "steps": evaded}


def _watched(bench: Bench, protocol: Protocol) -> tuple[dict[evidence.Probe, Tensor], Tensor]:
    """Run the iterative attacks of a protocol, and look at every iterate."""
    runs = [
        bench.watch(entry.attack)
        for entry in bench.entries(protocol)
        if isinstance(entry.attack, PGD)
    ]
    evaded = torch.stack([run.evaded for run in runs]).any(0)
    passed = torch.stack([run.passed for run in runs]).any(0)
    flat = torch.stack([run.flat for run in runs]).all(0)
    return {"flat": flat, "iterates": passed & ~evaded}, evaded


def _uniform(bench: Bench) -> Tensor:
    """Try uniform noise; the same for every device."""
    draws = UniformNoise(bench.exact, DRAWS, bench.settings.norm)
    return replace(bench, keys=replace(bench.keys, device="")).attack(draws)


def _square(bench: Bench) -> Tensor:
    """Search at random, by outputs; behind a head's clip or softmax, as its owner can."""
    classifier = bench.classifier
    hidden = classifier.head_name in {"ordinal", "softmax"}
    objective = Directions() if hidden else Outside()
    search = Square(bench.exact, QUERIES, objective, bench.settings.norm)
    return search.run(classifier, to_unit(bench.clean), bench.labels, bench.keys).success


READ = 64
"""Images of the sample whose adversarial images are read again."""


def read_orderings(
    member: Member,
    sample: Sample,
    settings: TransferSettings,
    sets: AdversarialSets,
    attacked: evidence.Outcomes,
) -> Iterator[evidence.Ordering]:
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
                    row
                    for name in entry.names
                    for row in evidence.attack_rows(sets.attacks, protocol, name)
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
            yield evidence.Ordering(member.name, protocol, eps, pairs, ordered)


def read_decodings(
    member: Member,
    sample: Sample,
    settings: TransferSettings,
    sets: AdversarialSets,
    *,
    clean: evidence.Outcomes,
    attacked: evidence.Outcomes,
) -> Iterator[evidence.Decoding]:
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
            for rows in sample.batches(settings.batch_size)
        ]
    ).numpy()
    first = min(READ, len(clean))
    adaptive = evidence.attack_rows(sets.attacks)
    part = sample.part(torch.arange(first))
    for level, eps in enumerate(sets.eps):
        bench = Bench.of(member.classifier, member.name, part, eps, settings)
        again = bench.outcomes(sets.images[level, adaptive, :first], "floor").cpu().numpy()
        yield evidence.Decoding(
            device=member.name,
            eps=eps,
            images=len(clean),
            strict_correct=int((clean == CORRECT).sum()),
            floor_correct=int((floor == CORRECT).sum()),
            strict=evidence.count(
                attacked[level, adaptive, :first].max(axis=0), clean[:first] == CORRECT
            ),
            floor=evidence.count(again.max(axis=0), floor[:first] == CORRECT),
        )
