"""Each check: evidence that must trip it, and evidence that must not."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fleet.audit.core.checks import flag, run_checks
from fleet.audit.core.checks.verdicts import points
from fleet.audit.core.evidence import GradientHealth, Reach
from fleet.audit.core.result import Check
from fleet.audit.transfer.result import TransferAudit


def found(maker: Any, id: str, subject: str = "") -> Check:
    (check,) = [c for c in run_checks(maker.build()) if (c.id, c.subject) == (id, subject)]
    return check


def some(count: int, kind: int = 2) -> np.ndarray:
    values = np.zeros(100, dtype=np.int8)
    values[:count] = kind
    return values


def attacked(
    maker: Any, device: int, surrogate: str, *, level: int, attack: int, count: int
) -> None:
    """Let ``count`` examples flip in one attack at one eps."""
    sets = {name: array.copy() for name, array in maker.scores[device].attacked.items()}
    sets[surrogate][level, attack] = some(count)
    maker.change(device, attacked=sets)


def gate(checks: tuple[Check, ...]) -> TransferAudit:
    return TransferAudit("r", "", (), (), checks, {}, {}, (), ())


def test_a_healthy_audit_passes_every_check(maker: Any) -> None:
    checks = run_checks(maker.build())
    assert [check.id for check in checks if check.verdict == "warn"] == ["M14", "M17"]
    assert [check for check in checks if check.verdict == "fail"] == []
    assert [(check.id, check.subject) for check in checks] == [
        ("M1", "paper"), ("M1", "adaptive"), ("M3", ""), ("M4", "paper"), ("M4", "adaptive"),
        ("M5", "paper"), ("M5", "adaptive"), ("M6", "paper"), ("M6", "adaptive"),
        ("M8", "paper"), ("M8", "adaptive"),
        ("M11", ""), ("M12", ""), ("M13", "paper"), ("M14", "adaptive"),
        ("M15", ""), ("M16", ""), ("M17", "adaptive"),
    ]  # fmt: skip
    assert not flag(gate(checks), "paper")
    assert not flag(gate(checks), "adaptive")


@pytest.mark.parametrize(
    ("zero", "verdict"), [(0, "pass"), (1, "pass"), (2, "warn"), (50, "warn"), (51, "fail")]
)
def test_m1_grades_the_share_of_zero_gradients_of_the_worst_device(
    maker: Any, zero: int, verdict: str
) -> None:
    maker.health[1] = GradientHealth("b", 100, zero, 0, 0, 0)
    check = found(maker, "M1", "paper")
    assert check.verdict == verdict
    assert found(maker, "M1", "adaptive").verdict == "pass"
    if zero:
        assert check.finding.startswith(f"b: exactly zero at {zero}.0 %")


def test_m1_looks_at_the_adaptive_objective_too(maker: Any) -> None:
    maker.health[0] = GradientHealth("a", 100, 0, 60, 0, 0)
    assert found(maker, "M1", "adaptive").verdict == "fail"
    assert flag(gate(run_checks(maker.build())), "adaptive")


@pytest.mark.parametrize(("head", "verdict"), [("linear", "fail"), ("ordinal", "warn")])
def test_m3_fails_a_dead_output_unless_the_attack_goes_round_its_clip(
    maker: Any, head: str, verdict: str
) -> None:
    maker.heads["a"] = head
    maker.health[0] = GradientHealth("a", 100, 0, 0, 2, 0)
    check = found(maker, "M3")
    assert check.verdict == verdict
    assert "a: zero at 2.0 %" in check.finding


def test_m3_fails_nan_in_gradients_and_in_outputs_under_attack(maker: Any) -> None:
    maker.health[0] = GradientHealth("a", 100, 0, 0, 0, 3)
    maker.change(1, nonfinite=7)
    check = found(maker, "M3")
    assert check.verdict == "fail"
    assert "a (3 gradients), b (7 outputs)" in check.finding


def test_m4_counts_examples_that_only_one_step_evades(maker: Any) -> None:
    """FGSM flips examples 0 to 59; a PGD that flips the last 98 misses two of them."""
    sets = {name: array.copy() for name, array in maker.scores[0].attacked.items()}
    sets["a"][0, 1] = 2 - some(2)
    maker.change(0, attacked=sets)
    check = found(maker, "M4", "paper")
    assert check.verdict == "fail"
    assert "a at eps 0.1: 2 examples (2.0 %)" in check.finding
    assert found(maker, "M4", "adaptive").verdict == "pass"


def test_m4_tolerates_one_example_in_a_hundred(maker: Any) -> None:
    sets = {name: array.copy() for name, array in maker.scores[0].attacked.items()}
    sets["a"][0, 1] = 2 - some(1)
    maker.change(0, attacked=sets)
    assert found(maker, "M4", "paper").verdict == "pass"


def test_m5_fails_a_rate_that_falls_as_eps_grows(maker: Any) -> None:
    attacked(maker, 0, "a", level=1, attack=2, count=70)  # UP: 80 % at 0.1, now 70 % at 0.2
    check = found(maker, "M5", "adaptive")
    assert check.verdict == "fail"
    assert "a from 80.0 % at eps 0.1 to 70.0 % at 0.2" in check.finding
    assert "(2 eps only; 5 show more)" in check.finding
    assert found(maker, "M5", "paper").verdict == "pass"


def test_m5_notices_a_fall_within_the_tolerance(maker: Any) -> None:
    attacked(maker, 0, "a", level=1, attack=2, count=79)
    assert found(maker, "M5", "adaptive").verdict == "warn"


def test_m5_wants_everything_to_fall_at_half_the_pixel_range(maker: Any) -> None:
    maker.eps = (0.1, 0.5)
    check = found(maker, "M5", "adaptive large")
    assert check.verdict == "fail"
    assert "a at eps 0.5 only 90.0 %" in check.finding
    l2 = replace(maker.build(), norm="l2")
    assert "adaptive large" not in [check.subject for check in run_checks(l2)]
    for device, name in enumerate("ab"):
        for attack in range(3):
            attacked(maker, device, name, level=1, attack=attack, count=95)
    assert found(maker, "M5", "adaptive large").verdict == "pass"


def test_m5_says_nothing_about_a_single_eps(maker: Any) -> None:
    maker.eps = (0.1,)
    for device, score in enumerate(maker.scores):
        maker.change(device, attacked={name: array[:1] for name, array in score.attacked.items()})
    assert "M5" not in {check.id for check in run_checks(maker.build())}


def test_m6_fails_noise_that_beats_gradients(maker: Any) -> None:
    maker.change(0, noise=np.stack([some(81), some(5)]))
    check = found(maker, "M6", "adaptive")
    assert check.verdict == "fail"
    assert "a at eps 0.1: noise evades 81.0 %, gradients 80.0 %" in check.finding
    maker.change(0, noise=np.stack([some(80, kind=1), some(5)]))
    assert found(maker, "M6", "adaptive").verdict == "pass"


def test_m8_notices_any_transfer_above_white_box(maker: Any) -> None:
    """One of 300: below the tolerance of half a point, and still said."""
    big = np.zeros(300, dtype=np.int8)
    big[:299] = 2
    for device, name in enumerate("ab"):
        other = "ba"[device]
        sets = {name: np.array([[big] * 3] * 2), other: np.array([[big] * 3] * 2)}
        maker.change(device, clean=np.zeros(300, dtype=np.int8), attacked=sets,
                     noise=np.zeros((2, 300), dtype=np.int8))  # fmt: skip
    assert found(maker, "M8", "adaptive").verdict == "pass"
    sets = {key: array.copy() for key, array in maker.scores[1].attacked.items()}
    sets["a"][0, 2] = 2
    maker.change(1, attacked=sets)
    check = found(maker, "M8", "adaptive")
    assert check.verdict == "warn"
    assert "a on b at eps 0.1: 100.0 %" in check.finding


def test_m8_fails_transfer_above_the_victims_white_box_rate(maker: Any) -> None:
    attacked(maker, 1, "a", level=0, attack=2, count=81)
    attacked(maker, 1, "a", level=1, attack=2, count=99)
    check = found(maker, "M8", "adaptive")
    assert check.verdict == "fail"
    assert "a on b at eps 0.2: 99.0 %, white-box 90.0 % (worst of 2)" in check.finding
    assert found(maker, "M8", "paper").verdict == "pass"


def test_m11_fails_outputs_that_do_not_repeat(maker: Any) -> None:
    maker.change(1, repeatable=False)
    check = found(maker, "M11")
    assert check.verdict == "fail"
    assert check.finding == "the forward passes differ: b"


def test_m12_fails_a_pixel_outside_eps(maker: Any) -> None:
    maker.reaches[2] = Reach("b", 0.1, 25, 26)
    check = found(maker, "M12")
    assert check.verdict == "fail"
    assert check.finding == "b at eps 0.1: 26 levels, 25 allowed"


def test_m13_calls_the_papers_number_masked_where_adaptive_is_far_ahead(maker: Any) -> None:
    attacked(maker, 0, "a", level=0, attack=1, count=70)  # paper worst case 70, adaptive 80
    check = found(maker, "M13", "paper")
    assert check.verdict == "fail"
    assert "the paper-protocol number is masked: a at eps 0.1" in check.finding
    checks = run_checks(maker.build())
    assert flag(gate(checks), "paper")
    assert not flag(gate(checks), "adaptive")
    attacked(maker, 0, "a", level=0, attack=1, count=75)
    assert found(maker, "M13", "paper").verdict == "pass"


def test_m15_always_reports_rejects_and_warns_when_there_are_many(maker: Any) -> None:
    assert "80" not in found(maker, "M15").finding
    assert "90.0 % flip, 0.0 % only reject" in found(maker, "M15").finding
    maker.change(0, clean=some(6, kind=1))
    check = found(maker, "M15")
    assert check.verdict == "warn"
    assert "at most 6.0 % (a)" in check.finding


def test_a_device_that_gets_nothing_right_has_no_figures_and_is_named(maker: Any) -> None:
    for device in (0, 1):
        maker.change(device, clean=some(100))
        maker.health[device] = replace(maker.health[device], n=0)
    checks = run_checks(maker.build())
    assert {check.id for check in checks} == {"M3", "M11", "M12", "M15", "M16", "M17"}
    check = found(maker, "M15")
    assert check.verdict == "warn"
    assert "decodes no image correctly: a, b" in check.finding


def test_one_such_device_does_not_hide_the_other(maker: Any) -> None:
    maker.change(0, clean=some(100))
    maker.health[0] = replace(maker.health[0], n=0)
    attacked(maker, 1, "a", level=0, attack=2, count=95)
    assert found(maker, "M8", "adaptive").verdict == "fail"
    assert found(maker, "M6", "paper").verdict == "pass"


def test_the_gate_ignores_warnings_and_minds_failures_of_no_protocol() -> None:
    warn = Check("M3", "", "warn", "", "")
    fail = Check("M12", "", "fail", "", "")
    assert not flag(gate((warn,)), "adaptive")
    assert flag(gate((fail,)), "adaptive")
    assert flag(gate((fail,)), "paper")


def test_the_gate_reads_the_first_word_of_a_subject() -> None:
    check = Check("M9", "", "fail", "", "", "adaptive steps")
    assert flag(gate((check,)), "adaptive")
    assert not flag(gate((check,)), "paper")


def test_m5_looks_at_every_step_of_eps_and_every_device(maker: Any) -> None:
    maker.eps = (0.1, 0.2, 0.3)
    for device, score in enumerate(maker.scores):
        grown = {name: np.concatenate([s, s[1:]]) for name, s in score.attacked.items()}
        maker.change(device, attacked=grown, noise=np.concatenate([score.noise, score.noise[1:]]))
    assert found(maker, "M5", "adaptive").verdict == "pass"
    attacked(maker, 1, "b", level=2, attack=2, count=88)
    check = found(maker, "M5", "adaptive")
    assert check.verdict == "fail"
    assert "b from 90.0 % at eps 0.2 to 88.0 % at 0.3" in check.finding
    assert "(3 eps only; 5 show more)" in check.finding
    assert found(maker, "M5", "paper").verdict == "pass"


@pytest.mark.parametrize(("eps", "count", "verdict"), [(0.5, 95, "pass"), (0.5, 94, "fail"),
                                                       (0.7, 94, "fail")])  # fmt: skip
def test_m5_large_begins_at_half_the_range_and_19_of_20(
    maker: Any, eps: float, count: int, verdict: str
) -> None:
    maker.eps = (0.1, eps)
    for device, name in enumerate("ab"):
        for attack in range(3):
            attacked(maker, device, name, level=1, attack=attack, count=count)
    assert found(maker, "M5", "paper large").verdict == verdict
    maker.eps = (0.1, 0.49)
    assert "paper large" not in [check.subject for check in run_checks(maker.build())]


def test_m5_does_not_count_on_more_eps_where_there_are_five(maker: Any) -> None:
    maker.eps = (0.1, 0.2, 0.3, 0.35, 0.4)
    for device, score in enumerate(maker.scores):
        rows = [0, 1, 1, 1, 1]
        grown = {name: sets[rows] for name, sets in score.attacked.items()}
        maker.change(device, attacked=grown, noise=score.noise[rows])
    assert "show more" not in found(maker, "M5", "adaptive").finding
    assert found(maker, "M5", "adaptive").verdict == "pass"


@pytest.mark.parametrize("protocol", ["paper", "adaptive"])
def test_m6_holds_noise_against_the_gradients_of_its_own_eps(maker: Any, protocol: str) -> None:
    maker.change(1, noise=np.stack([some(80), some(90)]))
    assert found(maker, "M6", protocol).verdict == "pass"
    maker.change(1, noise=np.stack([some(5), some(91)]))
    check = found(maker, "M6", protocol)
    assert check.verdict == "fail"
    assert "b at eps 0.2: noise evades 91.0 %, gradients 90.0 %" in check.finding


def test_m6_only_warns_within_half_a_point(maker: Any) -> None:
    """One of 300 more; two of 300 are more than half a point."""
    wide = {device: np.tile(maker.scores[device].clean, 3) for device in (0, 1)}
    for extra, verdict in ((0, "pass"), (1, "warn"), (2, "fail")):
        for device, name in enumerate("ab"):
            sets = {
                key: np.tile(array, (1, 1, 3))
                for key, array in type(maker)._scores(name).attacked.items()
            }
            noise = np.zeros((2, 300), dtype=np.int8)
            noise[1, : 270 + extra] = 2
            maker.change(device, clean=wide[device], attacked=sets, noise=noise)
        assert found(maker, "M6", "adaptive").verdict == verdict


def test_m8_looks_at_every_eps_and_both_protocols(maker: Any) -> None:
    for attack in range(3):
        attacked(maker, 0, "b", level=1, attack=attack, count=91)
    for protocol in ("paper", "adaptive"):
        check = found(maker, "M8", protocol)
        assert check.verdict == "fail"
        assert "b on a at eps 0.2: 91.0 %, white-box 90.0 %" in check.finding


@pytest.mark.parametrize(("count", "verdict"), [(85, "pass"), (84, "fail")])
def test_m13_looks_at_every_eps_and_allows_five_points(
    maker: Any, count: int, verdict: str
) -> None:
    for attack in (0, 1):
        attacked(maker, 1, "b", level=1, attack=attack, count=count)
    check = found(maker, "M13", "paper")
    assert check.verdict == verdict
    if verdict == "fail":
        assert "b at eps 0.2: adaptive evades 90.0 %, paper 84.0 %" in check.finding


@pytest.mark.parametrize(
    ("share", "words"),
    [(1.0, "100 points"), (0.124, "12 points"), (0.0124, "1.2 points"), (-0.01, "-1 point")],
)
def test_points_are_written_with_two_digits(share: float, words: str) -> None:
    assert points(share) == words
