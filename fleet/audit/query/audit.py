"""The query audit: what an attacker gets by asking a device, owning none or some of the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fleet.attacks import CORRECT
from fleet.audit.core.evidence import Outcomes, count
from fleet.audit.core.members import Member, Sample, TransferSettings, check_members
from fleet.audit.core.outsider import Attacker, ask, draw, imitate
from fleet.audit.core.result import AuditedDevice, Outcome
from fleet.audit.core.scoring import describe, outcomes_on
from fleet.audit.core.sets import (
    AdversarialSets,
    ProgressHook,
    adaptive_images,
    announced,
    attack_surrogate,
)
from fleet.audit.query import methods, result
from fleet.audit.query.checks import query_checks
from fleet.audit.query.methods import QuerySettings
from fleet.errors import AuditError
from fleet.provenance import Origin

ANSWERS: dict[result.QueryMethod, result.Answer] = {
    "noise": "label",
    "square": "scores",
    "decision": "label",
    "extraction": "label",
    "transfer+queries": "scores",
}


@dataclass(frozen=True)
class QueriedVictim:
    """Everything found about one victim.

    Attributes:
        device: Its description and clean figures.
        curves: One for each eps and method.
        fidelity: One for each extraction budget.
        white_box: One for each eps.
    """

    device: AuditedDevice
    curves: tuple[result.QueryCurve, ...]
    fidelity: tuple[result.Fidelity, ...]
    white_box: tuple[result.WhiteBox, ...]


def audit_query(
    members: Sequence[Member],
    images: Tensor,
    labels: Tensor,
    settings: QuerySettings,
    *,
    attacker: Attacker | None = None,
    label: str = "in-memory",
    provenance: dict[str, Any] | None = None,
    progress: ProgressHook | None = None,
) -> result.QueryAudit:
    """Audit devices in memory: ask each one, with what the attacker has.

    Args:
        members: The devices; each is left exactly as it was. For ``transfer+queries`` the attacker
            owns all but the one that they ask.
        images: uint8 (N, C, H, W), or floats in [0, 1], which are rounded to 8 bits first.
        labels: True classes, integers (N,).
        settings: How thoroughly to ask.
        attacker: Images and networks of their own; needed for ``extraction`` only.
        label: Name of the audit.
        provenance: Where models and images come from, plain JSON values.
        progress: Called with (done, total, text).

    Raises:
        AuditError: Devices, images and methods do not fit together, or a device gives NaN.
    """
    sample = Sample.of(images, labels)
    check_members(members, sample)
    attack = attack_settings(settings)
    sets = {member.name: attack_surrogate(member, sample, attack) for member in members}
    owners = [member.name for member in members if member.role == "device"]
    victims = [
        query_victim(member, sets, sample, settings, owners=owners, attacker=attacker)
        for member in announced(members, "ask", progress)
    ]
    return assemble_query(victims, settings, Origin(label, provenance or {}, {}))


def attack_settings(settings: QuerySettings) -> TransferSettings:
    """How devices that the attacker owns are attacked."""
    return TransferSettings(
        settings.eps,
        steps=settings.steps,
        restarts=settings.restarts,
        seed=settings.seed,
        batch_size=settings.batch_size,
    )


def query_victim(
    victim: Member,
    sets: Mapping[str, AdversarialSets],
    sample: Sample,
    settings: QuerySettings,
    *,
    owners: Sequence[str],
    attacker: Attacker | None,
) -> QueriedVictim:
    """Ask one device by every method.

    Args:
        victim: Left exactly as it was.
        sets: Images made on each device, the victim included, by name.
        sample: The clean images; those that the victim gets wrong are neither tried nor counted.
        settings: How thoroughly.
        owners: Devices that the attacker of ``transfer+queries`` owns, the victim never; without
            any, that method is left out.
        attacker: Images and networks of their own; needed for ``extraction`` only.
    """
    clean = outcomes_on(victim, sample.images[None], sample.labels, settings.batch_size)[0]
    rows = torch.from_numpy(clean == CORRECT).nonzero().squeeze(1)
    target = _Target(victim, sample.part(rows), rows, settings)
    owned = {name: sets[name] for name in owners if name != victim.name}
    curves = [
        _asked(target, level, method, owned)
        for method in settings.methods
        if method != "extraction" and (owned or method != "transfer+queries")
        for level in range(len(settings.eps))
    ]
    fidelity: tuple[result.Fidelity, ...] = ()
    if "extraction" in settings.methods:
        extracted, fidelity = _extracted(target, attacker)
        curves += extracted
    own = sets[victim.name]
    white_box = tuple(
        result.WhiteBox(
            victim.name, eps, _count(target.outcomes(adaptive_images(own, level)).max(0))
        )
        for level, eps in enumerate(settings.eps)
    )
    return QueriedVictim(describe(victim, clean), tuple(curves), fidelity, white_box)


def assemble_query(
    victims: Sequence[QueriedVictim], settings: QuerySettings, origin: Origin
) -> result.QueryAudit:
    """Check, and put the result together.

    Args:
        victims: In order.
        settings: Of the audit.
        origin: Where the audit comes from.
    """
    curves = tuple(curve for victim in victims for curve in victim.curves)
    white_box = tuple(found for victim in victims for found in victim.white_box)
    return result.QueryAudit(
        devices=tuple(victim.device for victim in victims),
        eps=settings.eps,
        curves=curves,
        fidelity=tuple(found for victim in victims for found in victim.fidelity),
        white_box=white_box,
        checks=query_checks(curves, white_box),
        **origin.head(
            {
                **settings.to_dict(),
                "images": victims[0].device.images,
                "decode": "strict",
                "scoring": "8-bit images, answered in fp32; only what is inside eps counts",
            }
        ),
    )


@dataclass(frozen=True, eq=False)
class _Target:
    """A victim and the images that it decodes correctly: ``rows`` of the whole sample."""

    victim: Member
    sample: Sample
    rows: Tensor
    settings: QuerySettings

    def outcomes(self, images: Tensor) -> Outcomes:
        """Decide images made from the whole sample, uint8 (A, N, C, H, W): (A, n)."""
        return outcomes_on(
            self.victim, images[:, self.rows], self.sample.labels, self.settings.batch_size
        )


def _asked(
    target: _Target, level: int, method: result.QueryMethod, owned: Mapping[str, AdversarialSets]
) -> result.QueryCurve:
    """One curve of a method that asks about each image by itself."""
    settings = target.settings
    attempts = methods.NO_ATTEMPTS
    if len(target.rows):
        attempts = _attempts(target, level, method, list(owned.values()))
    points = [
        result.QueryPoint(most, _count(methods.after(attempts, most))) for most in settings.budgets
    ]
    return result.QueryCurve(
        victim=target.victim.name,
        eps=settings.eps[level],
        method=method,
        answer=ANSWERS[method],
        counted="image",
        owned=tuple(owned) if method == "transfer+queries" else (),
        points=tuple(points),
        median_queries=methods.median_queries(attempts),
    )


def _attempts(
    target: _Target, level: int, method: result.QueryMethod, owned: Sequence[AdversarialSets]
) -> methods.Attempts:
    settings, victim, sample = target.settings, target.victim, target.sample
    eps, budget, seed = settings.eps[level], settings.queries, settings.seed
    if method == "noise":
        return methods.noise(victim, sample, eps, budget, seed)
    if method == "square":
        return methods.square(victim, sample, eps, budget, seed)
    if method == "decision":
        return methods.decision(victim, sample, eps, budget)
    ready = methods.candidates([adaptive_images(sets, level)[:, target.rows] for sets in owned])
    return methods.candidates_then_square(victim, sample, ready, eps=eps, budget=budget, seed=seed)


def _extracted(
    target: _Target, attacker: Attacker | None
) -> tuple[list[result.QueryCurve], tuple[result.Fidelity, ...]]:
    """Curves of the extraction, one for each eps, and what each surrogate is worth."""
    victim, settings = target.victim, target.settings
    if attacker is None:
        raise AuditError(
            "extraction needs an attacker with images and networks of their own",
            hint="give `attacker`, or leave extraction out of the methods",
        )
    most = settings.extraction[-1]
    held_out = draw(attacker, most + settings.held_out, settings.seed)[most:]
    fidelity, outcomes = [], []
    for queries in settings.extraction:
        surrogate = Member(
            f"imitation of {victim.name}", imitate(victim, attacker, queries, settings.seed)
        )
        fidelity.append(_fidelity(victim, surrogate, attacker, held_out, queries))
        outcomes.append(_transferred(target, surrogate))
    curves = [
        result.QueryCurve(
            victim=victim.name,
            eps=eps,
            method="extraction",
            answer=ANSWERS["extraction"],
            counted="total",
            owned=(),
            points=tuple(
                result.QueryPoint(queries, _count(levels[level]))
                for queries, levels in zip(settings.extraction, outcomes, strict=True)
            ),
            median_queries=None,
        )
        for level, eps in enumerate(settings.eps)
    ]
    return curves, tuple(fidelity)


def _transferred(target: _Target, surrogate: Member) -> list[Outcomes]:
    """What the victim answers to the images made on a surrogate, one each; by eps, (n,)."""
    if len(target.rows) == 0:
        return [np.zeros(0, np.int8) for _ in target.settings.eps]
    sets = attack_surrogate(surrogate, target.sample, attack_settings(target.settings))
    batch_size = target.settings.batch_size
    return [
        outcomes_on(
            target.victim, adaptive_images(sets, level)[:1], target.sample.labels, batch_size
        )[0]
        for level in range(len(sets.eps))
    ]


def _fidelity(
    victim: Member, surrogate: Member, attacker: Attacker, held_out: Tensor, queries: int
) -> result.Fidelity:
    images, labels = attacker.images[held_out], attacker.labels[held_out]
    wanted, given = ask(victim, images), ask(surrogate, images)
    return result.Fidelity(
        victim=victim.name,
        queries=queries,
        n=len(held_out),
        agree=int((wanted == given).sum()),
        correct=int((given == labels).sum()),
    )


def _count(outcomes: Outcomes) -> Outcome:
    return count(outcomes, np.ones(len(outcomes), dtype=np.bool_))
