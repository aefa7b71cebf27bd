"""M2, M6, M7, M9, M10 on second looks made by hand: what each count says."""

from dataclasses import replace
from typing import Any

import pytest

from fleet.audit.core.checks import run_checks
from fleet.audit.core.evidence import Ordering, Probe, Probes, Retry
from fleet.audit.core.result import Check, Protocol


def look(maker: Any, *probes: Any) -> dict[tuple[str, str], Check]:
    retries = tuple(probe for probe in probes if isinstance(probe, Retry))
    orderings = tuple(probe for probe in probes if isinstance(probe, Ordering))
    evidence = replace(maker.build(), probes=(Probes(retries, orderings),))
    return {(check.id, check.subject): check for check in run_checks(evidence)}


def retry(
    probe: Probe, found: int, *, protocol: Protocol = "adaptive", n: int = 1000,
    survivors: int = 400, examined: int = 32,
) -> Retry:  # fmt: skip
    return Retry("a", protocol, 0.1, probe, n, survivors, examined, found)


def test_a_share_is_extrapolated_from_the_examined_to_all_that_stand() -> None:
    seen = retry("square", 8)
    assert seen.share == pytest.approx(8 / 32 * 0.4)
    assert seen.one == pytest.approx(0.4 / 32)
    low, high = seen.bounds
    assert 0.05 < low < seen.share < high < 0.18


def test_a_share_is_exact_where_every_survivor_was_examined() -> None:
    assert retry("square", 3, survivors=32).bounds == (0.003, 0.003)
    assert retry("square", 0, survivors=0, examined=0).share == 0
    assert retry("square", 0, survivors=0, examined=0).one == 0


def test_what_was_found_is_certain_whatever_the_statistics_say() -> None:
    """One of two examined: Wilson's lower bound of .09 is worth less than the one image itself."""
    assert retry("square", 1, n=10, survivors=3, examined=2).bounds[0] == 0.1


@pytest.mark.parametrize(
    ("found", "survivors", "examined", "verdict"),
    [
        (0, 400, 32, "pass"),
        (1, 400, 32, "fail"),  # at least .22 points with 95 % confidence
        (1, 200, 32, "warn"),  # at least .11 points: seen, but the excess is not established
        (2, 32, 32, "warn"),  # exactly .2 points
        (3, 32, 32, "fail"),
    ],
)
def test_m7_fails_what_is_established_and_warns_of_what_was_seen(
    maker: Any, found: int, survivors: int, examined: int, verdict: str
) -> None:
    seen = retry("square", found, survivors=survivors, examined=examined)
    check = look(maker, seen)["M7", "adaptive"]
    assert check.verdict == verdict
    if found == 1:
        assert f"1 of 32 examined of {survivors} standing images (a at eps 0.1" in check.finding


def test_m7_says_how_much_nothing_found_excludes(maker: Any) -> None:
    check = look(maker, retry("square", 0))["M7", "adaptive"]
    assert "0 of 32 standing images; with 95 % confidence at most 4.3 points" in check.finding
    nothing = look(maker, retry("square", 0, survivors=0, examined=0))["M7", "adaptive"]
    assert nothing.verdict == "pass"
    assert nothing.finding == "no image is left standing"


def test_m6_counts_uniform_noise_beside_sign_noise(maker: Any) -> None:
    checks = look(maker, retry("uniform", 8), retry("uniform", 0, protocol="paper"))
    assert checks["M6", "adaptive uniform"].verdict == "fail"
    assert checks["M6", "paper uniform"].verdict == "pass"
    assert checks["M6", "adaptive"].verdict == "pass"


@pytest.mark.parametrize(
    ("found", "survivors", "verdict"),
    [(0, 400, "pass"), (1, 400, "warn"), (1, 100, "pass"), (8, 400, "warn"), (9, 400, "fail")],
)
def test_m9_grades_the_estimate_for_steps_and_restarts_apart(
    maker: Any, found: int, survivors: int, verdict: str
) -> None:
    checks = look(maker, retry("steps", found, survivors=survivors), retry("restarts", 0))
    assert checks["M9", "adaptive steps"].verdict == verdict
    assert checks["M9", "adaptive restarts"].verdict == "pass"
    finding = checks["M9", "adaptive steps"].finding
    assert finding.startswith("not converged") == (verdict != "pass")
    assert finding.endswith("lower bounds") == (verdict != "pass")
    if found:
        assert f"twice the steps evade {found} of 32" in finding


@pytest.mark.parametrize(("found", "verdict"), [(1, "warn"), (8, "fail")])
def test_m10_notices_any_silent_success_and_fails_what_is_certain(
    maker: Any, found: int, verdict: str
) -> None:
    checks = look(maker, retry("iterates", found), retry("iterates", 0, protocol="paper"))
    assert checks["M10", "adaptive"].verdict == verdict
    assert f"{found} of 32 examined of 400 standing" in checks["M10", "adaptive"].finding
    assert checks["M10", "paper"].verdict == "pass"


@pytest.mark.parametrize(("found", "verdict"), [(0, "pass"), (2, "warn"), (9, "fail")])
def test_m2_grades_an_objective_that_never_moves(maker: Any, found: int, verdict: str) -> None:
    check = look(maker, retry("flat", found, protocol="paper"))["M2", "paper"]
    assert check.verdict == verdict


@pytest.mark.parametrize(
    ("pairs", "ordered", "verdict"), [(40, 36.0, "pass"), (40, 35.5, "fail"), (9, 0.0, "pass")]
)
def test_m2_fails_an_objective_that_is_not_larger_where_the_attack_succeeds(
    maker: Any, pairs: int, ordered: float, verdict: str
) -> None:
    ordering = Ordering("a", "adaptive", 0.1, pairs, ordered)
    check = look(maker, retry("flat", 0), ordering)["M2", "adaptive"]
    assert check.verdict == verdict
    assert ("35.5 of 40 successes" in check.finding) == (verdict == "fail")


@pytest.mark.parametrize(("survivors", "verdict"), [(12, "pass"), (13, "warn")])
def test_a_brief_audit_warns_of_what_it_left_untried(
    maker: Any, survivors: int, verdict: str
) -> None:
    probes = ("flat", "uniform", "square", "steps", "restarts", "iterates")
    seen = tuple(retry(probe, 0, survivors=survivors, examined=12) for probe in probes)
    evidence = replace(maker.build(), probes=(Probes(seen, ()),))
    for brief in (False, True):
        checks = run_checks(replace(evidence, brief=brief))
        again = [c for c in checks if c.id in {"M2", "M7", "M9", "M10"} or "uniform" in c.subject]
        looked = [c for c in again if c.subject.startswith("adaptive")]
        assert len(looked) == 6
        assert {c.verdict for c in looked} == {verdict if brief else "pass"}
        assert all(("brief" in c.finding) == (c.verdict == "warn") for c in looked)
    failed = replace(evidence, brief=True, probes=(Probes((retry("square", 12),), ()),))
    assert "fail" in {c.verdict for c in run_checks(failed) if c.id == "M7"}


def test_devices_that_decode_nothing_correctly_give_no_verdict(maker: Any) -> None:
    checks = look(maker, retry("square", 0, n=0, survivors=0, examined=0))
    assert ("M7", "adaptive") not in checks
