"""M14, M16, M17, M18, BT on evidence made by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fleet.audit.core.checks import run_checks
from fleet.audit.core.checks.comparisons import control, secret
from fleet.audit.core.evidence import AttackName, Binarization, Decoding, Evidence, Probes
from fleet.audit.core.result import Check, Outcome


def checks_of(evidence: Evidence) -> dict[tuple[str, str], Check]:
    return {(check.id, check.subject): check for check in run_checks(evidence)}


def with_probes(maker: Any, probes: Probes) -> dict[tuple[str, str], Check]:
    return checks_of(replace(maker.build(), probes=(probes,)))


def test_m14_calls_the_encoding_no_secret_where_up_and_down_find_all(maker: Any) -> None:
    check = checks_of(maker.build())["M14", "adaptive"]
    assert check.verdict == "warn"
    assert check.finding.startswith("the encoding is no secret: at eps 0.1 80.0 % evade")


def test_m14_passes_where_targets_find_more(maker: Any) -> None:
    evidence = maker.build()
    names = (
        AttackName("paper", "pgd"),
        AttackName("adaptive", "target"),
        AttackName("adaptive", "up"),
    )
    evidence = replace(evidence, attacks=dict.fromkeys("ab", names))
    sets = {name: array.copy() for name, array in evidence.scores[0].attacked.items()}
    sets["a"][0, 1, :83] = 2
    scores = (replace(evidence.scores[0], attacked=sets), evidence.scores[1])
    (check,) = secret(replace(evidence, scores=scores))
    assert check.verdict == "pass"
    assert "80.0 % evade and 80.0 % flip without it, 81.5 % and 81.5 % with it" in check.finding


def test_m14_says_nothing_about_logits(maker: Any) -> None:
    names = (AttackName("paper", "pgd"), AttackName("adaptive", "margin"))
    evidence = replace(maker.build(), attacks=dict.fromkeys("ab", names))
    assert list(secret(evidence)) == []


@pytest.mark.parametrize("attack", ["worst", "up"])
def test_m16_recounts_every_cell(maker: Any, attack: str) -> None:
    evidence = maker.build()
    assert checks_of(evidence)["M16", ""].verdict == "pass"
    assert "all 40 cells agree" in checks_of(evidence)["M16", ""].finding
    index = next(
        i for i, m in enumerate(evidence.matrices) if (m.protocol, m.attack) == ("adaptive", attack)
    )
    matrix = evidence.matrices[index]
    cells = (replace(matrix.cells[0], outcome=Outcome(100, 79, 0)), *matrix.cells[1:])
    matrices = list(evidence.matrices)
    matrices[index] = replace(matrix, cells=cells)
    check = checks_of(replace(evidence, matrices=tuple(matrices)))["M16", ""]
    assert check.verdict == "fail"
    assert "79 flips and 0 rejects of 100, not 80 flips" in check.finding


def test_m16_says_what_the_union_adds(maker: Any) -> None:
    sets = {name: array.copy() for name, array in maker.scores[0].attacked.items()}
    sets["a"][0, 0] = np.roll(sets["a"][0, 0], 25)  # FGSM flips 25 to 84, PGD 0 to 79
    maker.change(0, attacked=sets)
    assert "up to 5 points above" in checks_of(maker.build())["M16", ""].finding


def controlled(maker: Any, rate: int) -> Check:
    """Device b becomes a control that falls at ``rate`` % at the larger eps."""
    sets = {name: array.copy() for name, array in maker.scores[1].attacked.items()}
    sets["b"][1] = np.repeat([2, 0], [rate, 100 - rate]).astype(np.int8)
    maker.change(1, attacked=sets)
    evidence = maker.build()
    devices = (evidence.devices[0], replace(evidence.devices[1], role="control"))
    return checks_of(replace(evidence, devices=devices))["M17", "adaptive"]


@pytest.mark.parametrize(
    ("rate", "verdict"), [(95, "pass"), (94, "warn"), (50, "warn"), (49, "fail")]
)
def test_m17_wants_the_control_to_fall(maker: Any, rate: int, verdict: str) -> None:
    check = controlled(maker, rate)
    assert check.verdict == verdict
    assert f"at eps 0.2 b falls at {rate}.0 %" in check.finding
    assert ("does not even break" in check.finding) == (verdict != "pass")


def test_m17_warns_without_a_control(maker: Any) -> None:
    check = checks_of(maker.build())["M17", "adaptive"]
    assert check.verdict == "warn"
    assert "control: false" in check.finding


def test_m17_compares_transfer_with_that_of_the_control(maker: Any) -> None:
    evidence = maker.build()
    third = replace(evidence.scores[0], victim="c")
    evidence = replace(
        evidence,
        devices=(*evidence.devices[:1], replace(evidence.devices[1], role="control")),
    )
    assert "transfer-excess" not in checks_of(evidence)["M17", "adaptive"].finding
    devices = (*evidence.devices, replace(evidence.devices[0], name="c"))
    worst = next(
        m for m in evidence.matrices if (m.protocol, m.attack, m.eps) == ("adaptive", "worst", 0.2)
    )
    extra = tuple(
        replace(worst.cells[1], surrogate=s, victim=v, outcome=Outcome(100, flips, 0))
        for s, v, flips in (("c", "a", 40), ("a", "c", 50), ("b", "c", 20))
    )
    matrices = tuple(
        replace(m, cells=(*m.cells, *extra)) if m is worst else m for m in evidence.matrices
    )
    scores = (*evidence.scores, third)
    evidence = replace(evidence, devices=devices, matrices=matrices, scores=scores)
    (check,) = control(evidence)
    assert "on another device evade 45.0 %, made on a control 25.0 %" in check.finding
    assert "transfer-excess 20 points" in check.finding


def decoding(strict: int, floor: int, evade: int) -> Probes:
    attacked = Outcome(50, 20, 10), Outcome(50, evade, 0)
    return Probes(decodings=(Decoding("a", 0.1, 100, strict, floor, *attacked),))


@pytest.mark.parametrize(
    ("strict", "floor", "evade", "verdict"),
    [(90, 95, 30, "pass"), (90, 96, 30, "warn"), (90, 90, 27, "warn")],
)
def test_m18_puts_both_decode_rules_side_by_side(
    maker: Any, strict: int, floor: int, evade: int, verdict: str
) -> None:
    check = with_probes(maker, decoding(strict, floor, evade))["M18", ""]
    assert check.verdict == verdict
    assert f"clean accuracy {strict}.0 % and {floor}.0 %" in check.finding
    assert f"evade 60.0 % and {2 * evade}.0 % (of 50 and 50)" in check.finding


def test_m18_bears_a_device_that_decodes_nothing(maker: Any) -> None:
    nothing = Decoding("a", 0.1, 100, 0, 0, Outcome(0, 0, 0), Outcome(0, 0, 0))
    check = with_probes(maker, Probes(decodings=(nothing,)))["M18", ""]
    assert "evade - and -" in check.finding


@pytest.mark.parametrize(
    ("solved", "random", "verdict"),
    [
        (20, 2, "pass"),
        (19, 2, "pass"),
        (18, 2, "warn"),
        (16, 2, "warn"),
        (13, 2, "warn"),
        (12, 2, "fail"),
        (20, 11, "warn"),
    ],
)
def test_bt_grades_solved_heads(maker: Any, solved: int, random: int, verdict: str) -> None:
    test = Binarization("a", 0.1, 20, 0, 0, solved, random)
    checks = with_probes(maker, Probes(binarization=test))
    assert checks["BT", "adaptive"].verdict == verdict
    assert checks["BT", "paper"].verdict == "fail"
    assert f"finds {solved} of 20" in checks["BT", "adaptive"].finding
    assert ("says little" in checks["BT", "adaptive"].finding) == (random > 10)


def test_bt_says_nothing_where_no_head_could_be_built(maker: Any) -> None:
    checks = with_probes(maker, Probes(binarization=Binarization("a", 0.1, 0, 16, 0, 0, 0)))
    assert ("BT", "adaptive") not in checks
