"""Try again what a protocol leaves standing: noise, a gradient-free attack, more work.

A rate can only rise through an image that did not fall, so only those are tried again. That makes
few images tell much: on a device that falls easily, a handful is all that is left to try.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fleet.attacks import PGD, Directions, Outside, Square, UniformNoise
from fleet.audit.core.bench import Bench
from fleet.audit.core.counting import WORST, attack_rows
from fleet.audit.core.evidence import AttackName, Outcomes, Probe, Retry
from fleet.audit.core.members import Member, Sample, TransferSettings
from fleet.audit.core.result import Protocol
from fleet.data import to_unit

EXAMINED = 12
"""Standing images that are tried again, for each protocol and eps; they set the time it takes."""

DRAWS = 16
"""Draws of uniform noise."""

QUERIES = 200
"""Images that the gradient-free attack tries for each standing image."""

PROBES: dict[Protocol, tuple[Probe, ...]] = {
    "paper": ("flat", "uniform", "square", "iterates"),
    "adaptive": ("flat", "uniform", "square", "iterates", "steps", "restarts"),
}


@dataclass(frozen=True, eq=False)
class Standing:
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

    def retry(self, probe: Probe, found: Tensor) -> Retry:
        """Count; ``found`` is bool (B,), one for each image of ``part``."""
        return Retry(
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
    clean: Outcomes,
    attacked: Outcomes,
    attacks: tuple[AttackName, ...],
) -> Standing:
    """Choose the images to try again.

    Args:
        member: The device.
        sample: All clean images.
        protocol: Whose images are looked at.
        eps: As asked for.
        clean: Outcomes of the clean images, (N,).
        attacked: Outcomes of the device's own images at this eps, (A, N).
        attacks: Their names.
    """
    fallen = (attacked[attack_rows(attacks, protocol, WORST)] > 0).any(axis=0)
    rows = torch.from_numpy(~fallen & (clean == 0)).nonzero().squeeze(1)
    part = sample.part(rows[:EXAMINED])
    return Standing(member, protocol, eps, int((clean == 0).sum()), len(rows), part)


def try_again(standing: Standing, settings: TransferSettings) -> Iterator[Retry]:
    """Run every probe on the images that stand.

    The adaptive attack is repeated with twice the restarts while every iterate is watched, and
    with twice the steps; the paper's as it was, watched.

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
        for rows in torch.arange(len(standing.part.labels)).split(settings.batch_size)
    ]
    for probe in PROBES[standing.protocol]:
        yield standing.retry(probe, torch.cat([batch[probe] for batch in found]))


def _try_batch(standing: Standing, part: Sample, settings: TransferSettings) -> dict[Probe, Tensor]:
    """Run every probe on one batch; bool (B,) each."""
    member = standing.member
    plain = Bench.of(member.classifier, member.name, part, standing.eps, settings)
    found: dict[Probe, Tensor] = {"uniform": _uniform(plain), "square": _square(plain)}
    if standing.protocol == "paper":
        return found | _watched(plain, "paper")[0]
    more = plain.harder(restarts=2 * settings.restarts)
    longer = plain.harder(steps=2 * settings.steps)
    seen, evaded = _watched(more, "adaptive")
    evades = [longer.attack(entry.attack) for entry in longer.entries("adaptive")]
    return found | seen | {"restarts": evaded, "steps": torch.stack(evades).any(0)}


def _watched(bench: Bench, protocol: Protocol) -> tuple[dict[Probe, Tensor], Tensor]:
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
