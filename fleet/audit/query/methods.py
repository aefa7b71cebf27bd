"""How an attacker asks: each method counts the queries that every image of a victim costs.

All methods send 8-bit images, and stop at the first one inside the eps ball whose answer is not the
true class. Only RayS also asks about images outside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fleet import attacks
from fleet.attacks.exits import Outside
from fleet.attacks.outcomes import Queried, outcomes_of
from fleet.attacks.rays import RayS
from fleet.attacks.square import Square, moves
from fleet.audit.core.evidence import Outcomes
from fleet.audit.core.members import LATER, Member, Sample, Settings
from fleet.audit.query.result import QueryMethod
from fleet.data import to_unit
from fleet.errors import AuditError

METHODS: tuple[QueryMethod, ...] = get_args(QueryMethod)

LADDER = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)


@dataclass(frozen=True)
class QuerySettings(Settings):
    """How thoroughly to ask.

    Attributes:
        eps: Linf radii in pixel units, (0, 1], at least one 8-bit level each; kept ascending.
        queries: Queries on each image; extraction has its own budgets.
        methods: Which attackers.
        extraction: Queries in total on the attacker's own images, ascending, one surrogate each.
        held_out: Own images, beyond those asked about, on which fidelity is measured. The audit of
            a run fits both to its data (:meth:`fitted`).
        steps: Steps of the white-box attacks on surrogates, owned devices, and for comparison on
            the victim itself.
        batch_size: Images at once; changes the time and the memory, not the result.
        seed: Seed of images, squares, noise and surrogates.
        restarts: Runs of the white-box attacks.

    Raises:
        AuditError: A value is out of range.
    """

    eps: tuple[float, ...]
    queries: int = 300
    methods: tuple[QueryMethod, ...] = METHODS
    extraction: tuple[int, ...] = (100, 300)
    held_out: int = 500
    steps: int = 15
    batch_size: int = 128
    seed: int = 0
    restarts: int = field(default=3, metadata=LATER)

    def __post_init__(self) -> None:
        self.check("queries", "steps", "batch_size", "held_out", "restarts")
        object.__setattr__(self, "extraction", tuple(sorted(set(self.extraction))))
        unknown = sorted(set(self.methods) - set(METHODS))
        if unknown or not self.methods:
            raise AuditError(
                f"query methods are {', '.join(unknown) or 'none'}",
                hint=f"one or more of {', '.join(METHODS)}",
            )
        if "extraction" in self.methods and not (self.extraction and self.extraction[0] > 0):
            raise AuditError(
                f"extraction budgets are {self.extraction}", hint="give one or more above 0"
            )

    @property
    def budgets(self) -> tuple[int, ...]:
        """Budgets of the curves: 1, 3, 10, 30 and so on, and the whole."""
        return (*(step for step in LADDER if step < self.queries), self.queries)

    def fitted(self, own_images: int, classes: int) -> tuple[QuerySettings, str]:
        """Fit the extraction to the images that an attacker has: a question a class at least.

        Args:
            own_images: Own images, for the questions and for measuring fidelity.
            classes: Classes among them.

        Returns:
            Settings that these images allow, and what was changed, in words; empty if nothing was.

        Raises:
            AuditError: Only extraction is asked for, and there is not an image more than classes.
        """
        if "extraction" not in self.methods:
            return self, ""
        few = f"{own_images} training images of {classes} classes"
        if own_images <= classes:
            others = tuple(method for method in self.methods if method != "extraction")
            if not others:
                raise AuditError(f"{few} are too few for extraction", hint="ask in another way")
            return replace(self, methods=others), f"no extraction: {few} are too few"
        most = max(classes, self.extraction[-1])
        held_out = max(own_images // 2, own_images - most)
        held_out = min(self.held_out, held_out, own_images - classes)
        budgets = {min(max(budget, classes), own_images - held_out) for budget in self.extraction}
        fitted = replace(self, extraction=tuple(sorted(budgets)), held_out=held_out)
        if fitted == self:
            return self, ""
        asked = ", ".join(map(str, fitted.extraction))
        return fitted, (
            f"extraction is fitted to {few}: {asked} queries, and fidelity on {held_out} images"
        )


_BLOCK = 50
"""Queries between two looks at who is done."""


@dataclass(frozen=True, eq=False)
class Attempts:
    """What each image cost.

    Attributes:
        queries: Images sent until the first answer that is not the true class, that one included;
            the whole budget where there was none. int64 (N,).
        outcomes: What that answer was; ``CORRECT`` where there was none, (N,).
    """

    queries: NDArray[np.int64]
    outcomes: Outcomes


NO_ATTEMPTS = Attempts(np.zeros(0, np.int64), np.zeros(0, np.int8))
"""Of a victim that decodes no image correctly."""


def noise(victim: Member, sample: Sample, eps: float, budget: int, seed: int) -> Attempts:
    """Random signs of full strength, a new draw each query: what asking alone is worth."""
    levels = attacks.radius(eps)
    log = _Log(len(sample.images), budget)
    with attacks.attackable(victim.classifier):
        for query in range(budget):
            rows = log.standing()
            if len(rows) == 0:
                break
            part, _ = _unit(victim, sample.part(rows))
            keys = attacks.SampleKeys(seed, victim.name, part.indices)
            signs = keys.signs(part.images.shape[1:], "query", query)
            tried = (part.images + levels * signs).clamp_(0, 255).to(torch.uint8)
            log.note(
                rows, query + 1, attacks.decide(victim.classifier, tried, part.labels).outcomes
            )
    return log.attempts()


def square(victim: Member, sample: Sample, eps: float, budget: int, seed: int) -> Attempts:
    """Square (Andriushchenko et al. 2020) on how far the answer is outside its class."""
    attack = Square(attacks.exact_eps(eps), budget)
    part, images = _unit(victim, sample)
    keys = attacks.SampleKeys(seed, victim.name, part.indices)
    return _attempts(victim, part, attack.run(victim.classifier, images, part.labels, keys))


def decision(victim: Member, sample: Sample, eps: float, budget: int) -> Attempts:
    """RayS (Chen and Gu 2020): sees the class or None only, and draws no random numbers."""
    part, images = _unit(victim, sample)
    found = RayS(attacks.exact_eps(eps), budget).run(victim.classifier, images, part.labels)
    return _attempts(victim, part, found)


def candidates_then_square(
    victim: Member, sample: Sample, candidates: Tensor, *, eps: float, budget: int, seed: int
) -> Attempts:
    """Try ready images one after the other, then Square from the one that answered best.

    The squares are as large as Square's own: on 240 images of the demo devices at eps 0.1, 300
    queries evade 42 % so, and 38 % with first squares of a twentieth of the area.

    Args:
        victim: Asked; left exactly as it was.
        sample: The clean images.
        candidates: Made on owned devices, in the order of trying, uint8 (A, N, C, H, W).
        eps: Linf radius in pixel units.
        budget: Queries for each image.
        seed: Of the squares.
    """
    attack = Square(attacks.exact_eps(eps), budget)
    log = _Log(len(sample.images), budget)
    best = sample.images.clone()
    reached = torch.full((len(best),), -torch.inf)
    with attacks.attackable(victim.classifier):
        for first in range(0, budget, _BLOCK):
            rows = log.standing()
            if len(rows) == 0:
                break
            part = sample.part(rows)
            around = moves(part.images, attack.eps, "linf")
            keys = attacks.SampleKeys(seed, victim.name, part.indices)
            look = _look(victim, part.labels)
            for query in range(first, min(first + _BLOCK, budget)):
                if query < len(candidates):
                    tried = candidates[query, rows]
                else:
                    draw = keys.uniform(torch.Size((around.numbers,)), "candidate", query)
                    tried = around.propose(best[rows], attack.side_share(query), draw)
                answers, outcomes = look(tried)
                log.note(rows, query + 1, outcomes)
                better = answers > reached[rows]
                reached[rows[better]] = answers[better]
                best[rows[better]] = tried[better]
    return log.attempts()


def after(attempts: Attempts, budget: int) -> Outcomes:
    """Outcomes of all images once ``budget`` queries are spent on each, (N,)."""
    return np.where(attempts.queries <= budget, attempts.outcomes, 0).astype(np.int8)


def median_queries(attempts: Attempts) -> int | None:
    """Queries until half of the images evade; None if fewer than half ever do."""
    spent = np.sort(attempts.queries[attempts.outcomes > 0])
    half = (len(attempts.queries) + 1) // 2
    return int(spent[half - 1]) if 0 < half <= len(spent) else None


class _Log:
    """Who is still standing, and when the others fell."""

    def __init__(self, count: int, budget: int) -> None:
        self._queries = torch.full((count,), budget)
        self._outcomes = torch.zeros(count, dtype=torch.int8)

    def standing(self) -> Tensor:
        """Rows that every answer so far got right, int64 (R,)."""
        return (self._outcomes == attacks.CORRECT).nonzero().squeeze(1)

    def note(self, rows: Tensor, query: int, outcomes: Tensor) -> None:
        """Write down the answers to one query; those of rows that fell before change nothing."""
        fell = (outcomes.cpu() != attacks.CORRECT) & (self._outcomes[rows] == attacks.CORRECT)
        self._outcomes[rows[fell]] = outcomes.cpu()[fell]
        self._queries[rows[fell]] = query

    def attempts(self) -> Attempts:
        """What each image cost."""
        return Attempts(self._queries.numpy(), self._outcomes.numpy())


def _look(victim: Member, labels: Tensor) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Ask the victim: how far outside the class its answers are, and the outcomes."""
    device = victim.classifier.mean.device
    here = labels.to(device)
    value = Outside().bind(victim.classifier, here)

    def look(images: Tensor) -> tuple[Tensor, Tensor]:
        unit = to_unit(images.to(device)).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            raw = victim.classifier.raw(unit)
            decoded = victim.classifier.decode(victim.classifier.outputs(raw))
            answers = value(raw)
        return answers.cpu().clone(), outcomes_of(decoded, here).cpu().clone()

    return look


def _unit(victim: Member, sample: Sample) -> tuple[Sample, Tensor]:
    """The sample on the victim's torch device, and its images in [0, 1]."""
    device = victim.classifier.mean.device
    part = Sample(sample.images.to(device), sample.labels.to(device), sample.indices.to(device))
    return part, to_unit(part.images)


def _attempts(victim: Member, part: Sample, found: Queried) -> Attempts:
    """Turn an attack's result into outcomes: decide its images once more."""
    with attacks.attackable(victim.classifier):
        outcomes = attacks.decide(victim.classifier, found.images, part.labels).outcomes
    fallen = torch.where(found.success, outcomes, torch.zeros_like(outcomes))
    return Attempts(found.queries.cpu().numpy(), fallen.cpu().numpy())


def candidates(images: Sequence[Tensor]) -> Tensor:
    """Images of several devices in the order of trying: each one's best first, then the rest.

    Args:
        images: From :func:`adaptive_images`, one for each device.

    Returns:
        uint8 (A, N, C, H, W).
    """
    firsts = [made[:1] for made in images]
    return torch.cat([*firsts, *(made[1:] for made in images)])
