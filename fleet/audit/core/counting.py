"""From outcomes of single examples to counts: pure functions over numpy arrays.

A wrong class (2) beats None (1) beats correct (0), so the worst case of an example over several
attacks is the maximum of its outcomes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from fleet.audit.core.evidence import AttackName, Outcomes, VictimScores
from fleet.audit.core.result import Cell, Matrix, NoiseFloor, Outcome, Protocol

WORST = "worst"
"""Name of the per-example worst case over a protocol's attacks."""

_REJECT, _FLIP = 1, 2


def count(outcomes: Outcomes, counted: NDArray[np.bool_]) -> Outcome:
    """Count flips and rejects among the examples that are ``counted``; both (N,)."""
    chosen = outcomes[counted]
    return Outcome(len(chosen), int((chosen == _FLIP).sum()), int((chosen == _REJECT).sum()))


def attack_rows(names: Sequence[AttackName], protocol: Protocol, attack: str) -> list[int]:
    """Numbers of the sets that make up one attack, or the worst case; empty if there is none.

    Args:
        names: A surrogate's sets.
        protocol: ``paper`` or ``adaptive``.
        attack: A name, or ``worst``.
    """
    return [
        row
        for row, name in enumerate(names)
        if name.protocol == protocol and attack in {WORST, name.attack}
    ]


def count_matrices(
    scores: Sequence[VictimScores],
    attacks: dict[str, tuple[AttackName, ...]],
    eps: Sequence[float],
) -> tuple[Matrix, ...]:
    """Count every cell of every attack and of each protocol's worst case.

    An attack that only some surrogates have gives rows for these alone; ``worst`` has all rows.
    """
    matrices = []
    for level, radius in enumerate(eps):
        for protocol in get_args(Protocol):
            for attack in (WORST, *_names(attacks, protocol)):
                cells: list[Cell] = []
                for surrogate, names in attacks.items():
                    if rows := attack_rows(names, protocol, attack):
                        cells += _row(scores, surrogate, level, rows)
                matrices.append(Matrix(protocol, attack, radius, tuple(cells)))
    return tuple(matrices)


def count_noise(
    scores: Sequence[VictimScores], eps: Sequence[float], draws: int
) -> tuple[NoiseFloor, ...]:
    """Count the noise floor of each victim at each eps."""
    return tuple(
        NoiseFloor(victim.victim, radius, count(victim.noise[level], victim.clean == 0), draws)
        for victim in scores
        for level, radius in enumerate(eps)
    )


def _names(attacks: dict[str, tuple[AttackName, ...]], protocol: Protocol) -> tuple[str, ...]:
    names = [name for sets in attacks.values() for name in sets if name.protocol == protocol]
    return tuple(dict.fromkeys(name.attack for name in names))


def _row(
    scores: Sequence[VictimScores], surrogate: str, level: int, rows: list[int]
) -> Iterator[Cell]:
    """One surrogate against every victim it was tried on, worst case over the sets ``rows``."""
    source = next(score for score in scores if score.victim == surrogate)
    at_home = source.attacked[surrogate][level, rows].max(axis=0)
    for victim in scores:
        if surrogate not in victim.attacked:
            continue
        there = victim.attacked[surrogate][level, rows].max(axis=0)
        correct = victim.clean == 0
        joint = correct & (source.clean == 0)
        yield Cell(
            surrogate=surrogate,
            victim=victim.victim,
            outcome=count(there, correct),
            joint=count(there, joint),
            given_success=count(there, joint & (at_home > 0)),
        )
