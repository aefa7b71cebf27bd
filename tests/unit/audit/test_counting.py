"""From outcomes to counts."""

from dataclasses import replace

import numpy as np

from fleet.audit.core.evidence import (
    AttackName,
    VictimScores,
    attack_rows,
    count,
    count_matrices,
    count_noise,
)
from fleet.audit.core.result import Outcome

NAMES = (AttackName("paper", "pgd"), AttackName("adaptive", "up"), AttackName("adaptive", "down"))
ONLY = (AttackName("paper", "pgd"), AttackName("adaptive", "margin"))
EPS = (0.1,)


def codes(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int8)


def scores() -> list[VictimScores]:
    """Two devices, five images; b has the logits portfolio."""
    a = VictimScores(
        victim="a",
        clean=codes(0, 0, 0, 0, 2),
        noise=np.stack([codes(0, 1, 0, 0, 2)]),
        attacked={
            "a": np.stack([[codes(0, 0, 0, 0, 2), codes(2, 1, 0, 0, 2), codes(1, 1, 2, 0, 0)]]),
            "b": np.stack([[codes(0, 0, 0, 1, 2), codes(0, 0, 0, 2, 2)]]),
        },
        nonfinite=0,
        repeatable=True,
    )
    b = VictimScores(
        victim="b",
        clean=codes(0, 0, 1, 0, 0),
        noise=np.stack([codes(0, 0, 1, 2, 1)]),
        attacked={
            "a": np.stack([[codes(0, 0, 1, 0, 0), codes(2, 0, 2, 0, 1), codes(1, 0, 2, 0, 0)]]),
            "b": np.stack([[codes(0, 0, 0, 0, 0), codes(2, 2, 0, 0, 2)]]),
        },
        nonfinite=0,
        repeatable=True,
    )
    return [a, b]


def test_only_counted_examples_count() -> None:
    counted = np.array([True, True, False, True])
    assert count(codes(2, 1, 2, 0), counted) == Outcome(n=3, flip=1, reject=1)
    assert count(codes(2, 1, 2, 0), np.zeros(4, dtype=bool)) == Outcome(0, 0, 0)


def test_rows_of_an_attack_and_of_the_worst_case() -> None:
    assert attack_rows(NAMES, "adaptive", "down") == [2]
    assert attack_rows(NAMES, "adaptive", "worst") == [1, 2]
    assert attack_rows(NAMES, "paper", "up") == []


def test_cells_by_hand() -> None:
    matrices = {
        (m.protocol, m.attack): m for m in count_matrices(scores(), {"a": NAMES, "b": ONLY}, EPS)
    }
    worst = matrices["adaptive", "worst"]
    assert [(cell.surrogate, cell.victim) for cell in worst.cells] == [
        ("a", "a"), ("a", "b"), ("b", "a"), ("b", "b"),
    ]  # fmt: skip
    # Worst of up and down on a: flip, reject, flip, correct; the fifth is wrong without an attack.
    assert worst.cell("a", "a").outcome == Outcome(4, flip=2, reject=1)
    # On b: examples 0, 1, 3, 4 are correct on b; 0, 1, 3 on both; the attack evades a on 0 and 1.
    assert worst.cell("a", "b").outcome == Outcome(4, flip=1, reject=1)
    assert worst.cell("a", "b").joint == Outcome(3, flip=1, reject=0)
    assert worst.cell("a", "b").given_success == Outcome(2, flip=1, reject=0)
    assert worst.cell("b", "a").outcome == Outcome(4, flip=1, reject=0)
    assert worst.cell("b", "a").given_success == Outcome(2, flip=0, reject=0)
    up = matrices["adaptive", "up"]
    assert [(cell.surrogate, cell.victim) for cell in up.cells] == [("a", "a"), ("a", "b")]
    assert up.cell("a", "a").outcome == Outcome(4, flip=1, reject=1)
    assert set(matrices) == {
        ("paper", "worst"), ("paper", "pgd"), ("adaptive", "worst"), ("adaptive", "up"),
        ("adaptive", "down"), ("adaptive", "margin"),
    }  # fmt: skip


def test_noise_counts_the_examples_that_are_correct_without_it() -> None:
    floors = count_noise(scores(), EPS, draws=3)
    assert [(floor.victim, floor.outcome) for floor in floors] == [
        ("a", Outcome(4, flip=0, reject=1)),
        ("b", Outcome(4, flip=1, reject=1)),
    ]
    assert {floor.draws for floor in floors} == {3}


def two_eps() -> list[VictimScores]:
    """The same devices at a second, larger eps, where everything is worse."""
    return [
        replace(
            score,
            noise=np.concatenate([score.noise, np.maximum(score.noise, 1)]),
            attacked={
                name: np.concatenate([sets, np.full_like(sets, 2)])
                for name, sets in score.attacked.items()
            },
        )
        for score in scores()
    ]


def test_each_eps_has_counts_of_its_own() -> None:
    matrices = count_matrices(two_eps(), {"a": NAMES, "b": ONLY}, (0.1, 0.3))
    one = count_matrices(scores(), {"a": NAMES, "b": ONLY}, EPS)
    assert [matrix.eps for matrix in matrices] == [0.1] * len(one) + [0.3] * len(one)
    assert matrices[: len(one)] == one
    for matrix in matrices[len(one) :]:
        for cell in matrix.cells:
            assert cell.outcome == Outcome(4, flip=4, reject=0)
            assert cell.given_success == cell.joint  # every attack succeeds at home


def test_noise_at_each_eps_has_counts_of_its_own() -> None:
    floors = count_noise(two_eps(), (0.1, 0.3), draws=3)
    assert [(floor.victim, floor.eps, floor.outcome) for floor in floors] == [
        ("a", 0.1, Outcome(4, flip=0, reject=1)),
        ("a", 0.3, Outcome(4, flip=0, reject=4)),
        ("b", 0.1, Outcome(4, flip=1, reject=1)),
        ("b", 0.3, Outcome(4, flip=1, reject=3)),
    ]
