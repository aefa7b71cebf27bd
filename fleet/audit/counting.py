"""From outcomes of single examples to counts: pure functions over numpy arrays.

A wrong class (2) beats None (1) beats correct (0), so the worst case of an example over several
attacks is the maximum of its outcomes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from fleet.audit.evidence import AttackName, Outcomes, VictimScores
from fleet.audit.result import Cell, Matrix, NoiseFloor, Outcome, Protocol

WORST = "worst"
"""Name of the per-example worst case over a protocol's attacks."""

_REJECT, _FLIP = 1, 2


def count(outcomes: Outcomes, counted: NDArray[np.bool_]) -> Outcome:
    """Count flips and rejects among the examples that are ``counted``; both (N,)."""
    chosen = outcomes[counted]
    return Outcome(len(chosen), int((chosen == _FLIP).sum()), int((chosen == _REJECT).sum()))


def attack_outcomes(
    outcomes: Outcomes, names: Sequence[AttackName], protocol: Protocol, attack: str
) -> Outcomes | None:
    """Pick one attack, or the worst case, from a surrogate's sets.

    Args:
        outcomes: At one eps, (A, N).
        names: A names.
        protocol: ``paper`` or ``adaptive``.
        attack: A name, or ``worst``.

    Returns:
        Outcomes (N,), or None if this surrogate has no such attack.
    """
    rows = [
        row
        for row, name in enumerate(names)
        if name.protocol == protocol and attack in (WORST, name.attack)
    ]
    return np.asarray(outcomes[rows].max(axis=0)) if rows else None


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
                cells = tuple(
                    cell
                    for surrogate in attacks
                    for victim in scores
                    if (
                        cell := _cell(scores, victim, surrogate, attacks, level, protocol, attack)
                    )
                )
                matrices.append(Matrix(protocol, attack, radius, cells))
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


def _cell(
    scores: Sequence[VictimScores],
    victim: VictimScores,
    surrogate: str,
    attacks: dict[str, tuple[AttackName, ...]],
    level: int,
    protocol: Protocol,
    attack: str,
) -> Cell | None:
    names = attacks[surrogate]
    there = attack_outcomes(victim.attacked[surrogate][level], names, protocol, attack)
    if there is None:
        return None
    source = next(score for score in scores if score.victim == surrogate)
    at_home = attack_outcomes(source.attacked[surrogate][level], names, protocol, attack)
    correct = victim.clean == 0
    joint = correct & (source.clean == 0)
    assert at_home is not None
    return Cell(
        surrogate=surrogate,
        victim=victim.victim,
        outcome=count(there, correct),
        joint=count(there, joint),
        given_success=count(there, joint & (at_home > 0)),
    )
