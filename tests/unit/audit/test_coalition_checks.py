"""Checks C1 to C7: each with evidence that must trip it, and evidence that must not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest

from fleet.audit.coalition.audit import assemble_coalition
from fleet.audit.coalition.checks import (
    clones,
    finite,
    growing,
    noise,
    repeatable,
    run_coalition_checks,
    weightings,
    white_box,
)
from fleet.audit.coalition.counting import (
    CoalitionEvidence,
    count_curves,
    count_half_points,
)
from fleet.audit.coalition.result import CurvePoint
from fleet.audit.coalition.trials import CoalitionSettings, Tried, choose_coalitions
from fleet.audit.core.checks import flag
from fleet.audit.core.evidence import Outcomes
from fleet.audit.core.gates import Demand, judge, refusals
from fleet.audit.core.members import TransferSettings
from fleet.audit.core.result import AuditedDevice, Check, NoiseFloor, Outcome
from fleet.provenance import Origin
from fleet.reports.flags import verdict

N = 100
FLEET = ("a", "b", "c")
Rule = Callable[[CoalitionEvidence, tuple[CurvePoint, ...]], Iterable[Check]]


def outcomes(rates: list[float], shift: int = 0) -> Outcomes:
    """One row for each device: the first images flip; rows shifted against each other."""
    made = np.zeros((len(rates), N), dtype=np.int8)
    for row, rate in enumerate(rates):
        made[row, : round(rate * N)] = 2
        made[row] = np.roll(made[row], shift * row)
    return made


def device(name: str, digest: str) -> AuditedDevice:
    return AuditedDevice(name, "int", "nn", "linear", None, digest, N, N, 0)


def evidence(
    rate: Callable[[str, int, bool, str], float] | None = None, *, digests: str = "xyz"
) -> CoalitionEvidence:
    """Three devices, all coalitions, two attacks at one eps.

    Args:
        rate: (device, size of the coalition, owned, attack) to its evade rate; by default 0.8
            alone, 0.7 together, and 0.1 of the others for each owned device.
        digests: Of the weights.
    """
    shares = rate or (lambda name, size, own, attack: (0.9 - 0.1 * size) if own else 0.1 * size)
    settings = CoalitionSettings(TransferSettings((0.1,)), ("uniform", "min-max"), bootstrap=200)
    tried = []
    for coalition in choose_coalitions(FLEET, (), settings, controls=False):
        rows = [
            outcomes(
                [shares(n, len(coalition.owned), n in coalition.owned, attack) for n in FLEET], 7
            )
            for attack in settings.attacks
        ]
        tried.append(Tried(coalition, np.stack([[*rows, rows[-1]]]), 0))
    return CoalitionEvidence(
        devices=tuple(map(device, FLEET, digests)),
        clean=np.zeros((3, N), dtype=np.int8),
        noise=tuple(NoiseFloor(name, 0.1, Outcome(N, 5, 0), 1) for name in FLEET),
        noise_nonfinite=0,
        repeatable=dict.fromkeys(FLEET, True),
        tried=tuple(tried),
        greedy=(),
        settings=settings,
    )


def verdicts(rule: Rule, found: CoalitionEvidence) -> list[str]:
    curve, _ = count_curves(found)
    return [check.verdict for check in rule(found, curve)]


def test_sound_evidence_passes_every_check() -> None:
    found = evidence()
    curve, _ = count_curves(found)
    checks = run_coalition_checks(found, curve)
    assert [check.id for check in checks] == ["C1", "C2", "C3", "C4", "C5", "C6", "C7"]
    assert {check.verdict for check in checks} == {"pass"}
    audit = assemble_coalition(found, Origin("sound", {}, {}))
    assert not flag(audit, "adaptive")


@pytest.mark.parametrize(("weaker", "verdict"), [(0.02, "pass"), (0.05, "warn"), (0.2, "fail")])
def test_c1_a_weighted_attack_that_is_weaker_than_uniform(weaker: float, verdict: str) -> None:
    found = evidence(lambda n, k, own, attack: 0.7 - weaker * (attack == "min-max") if own else 0.1)
    assert verdicts(weightings, found) == [verdict]


def test_without_greedy_coalitions_there_is_no_half_point_of_them() -> None:
    found = evidence()
    curve, _ = count_curves(found)
    assert {point.choice for point in count_half_points(found, curve)} == {"random"}


@pytest.mark.parametrize(("more", "verdict"), [(0.01, "pass"), (0.04, "warn"), (0.1, "fail")])
def test_c2_a_joint_attack_stronger_than_white_box(more: float, verdict: str) -> None:
    found = evidence(lambda n, k, own, attack: 0.7 + more * (k > 1) if own else 0.1 * k)
    assert verdicts(white_box, found) == [verdict]
    if verdict == "fail":
        audit = assemble_coalition(found, Origin("weak", {}, {}))
        flagged = flag(audit)
        assert flagged is not None
        assert flagged.short == "MASKED: C2"


def test_c2_needs_a_coalition_of_two() -> None:
    found = evidence()
    assert verdicts(white_box, replace(found, tried=found.tried[:3])) == []


@pytest.mark.parametrize(("fall", "verdict"), [(0.01, "pass"), (0.05, "warn"), (0.4, "fail")])
def test_c3_more_devices_that_help_less(fall: float, verdict: str) -> None:
    found = evidence(lambda n, k, own, attack: 0.8 if own else 0.5 - fall * (k > 1))
    assert verdicts(growing, found) == [verdict]


def test_c4_clones_by_digest_or_by_decisions() -> None:
    assert verdicts(clones, evidence(digests="xyx")) == ["fail"]
    found = evidence()
    twins = tuple(replace(tried, outcomes=tried.outcomes[:, :, [0, 0, 2]]) for tried in found.tried)
    (check,) = clones(replace(found, tried=twins), ())
    assert check.verdict == "fail"
    assert check.finding.startswith("a and b decide all images alike")


def test_c4_is_no_masking() -> None:
    audit = assemble_coalition(evidence(digests="xyx"), Origin("twins", {}, {}))
    assert [check.id for check in audit.checks if check.verdict == "fail"] == ["C4"]
    assert not flag(audit, "adaptive")
    assert flag(audit) is None
    assert verdict(audit) == (
        "fail",
        "1 of 7 reliability checks failed. They find fault with the fleet, not with these figures.",
    )


def test_a_gate_judges_the_headlines_worst_share() -> None:
    audit = assemble_coalition(evidence(), Origin("sound", {}, {}))
    worst = max(p.share for p in audit.curve if p.attack == audit.headline)
    (reason,) = refusals(judge(audit, Demand({"device": worst - 0.01}, masked=True)))
    assert reason.startswith(f"evade {worst:.3f} of the others by 2 devices (random) at eps 0.1 is")
    assert refusals(judge(audit, Demand({"device": worst}, masked=True))) == []
    empty = replace(audit, curve=(), trials=(), half=())
    (nothing,) = refusals(judge(empty, Demand({"device": 1.0})))
    assert nothing == "nothing was measured at eps 0.1: no device was attacked"


def test_c4_counts_all_pairs() -> None:
    (check,) = clones(evidence(digests="xxx"), ())
    assert "(3 pairs)" in check.finding


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_c4_devices_that_always_fall_or_never_are_no_clones(rate: float) -> None:
    assert verdicts(clones, evidence(lambda n, k, own, attack: rate)) == ["pass"]


def test_c4_devices_that_differ_without_an_attack_are_no_clones() -> None:
    found = evidence()
    twins = tuple(replace(tried, outcomes=tried.outcomes[:, :, [0, 0, 2]]) for tried in found.tried)
    clean = found.clean.copy()
    clean[1, 0] = 1
    assert verdicts(clones, replace(found, tried=twins, clean=clean)) == ["pass"]


def test_c5_noise_that_beats_gradients() -> None:
    found = evidence()
    loud = tuple(replace(floor, outcome=Outcome(N, 81, 0)) for floor in found.noise)
    assert verdicts(noise, replace(found, noise=loud)) == ["fail"]


def test_c6_outputs_that_are_not_finite() -> None:
    found = evidence()
    assert verdicts(finite, replace(found, noise_nonfinite=2)) == ["fail"]
    broken = (replace(found.tried[0], nonfinite=1), *found.tried[1:])
    assert verdicts(finite, replace(found, tried=broken)) == ["fail"]


def test_c7_outputs_that_do_not_repeat() -> None:
    found = evidence()
    (check,) = repeatable(replace(found, repeatable={"a": True, "b": False}), ())
    assert check.verdict == "fail"
    assert check.finding.endswith(": b")


def test_c1_names_the_size_at_which_the_weighted_attack_is_weakest() -> None:
    """Uniform evades 0.8 of the owned at each size; min-max loses 0.01, 0.07 and 0.04."""
    owned = {"uniform": (0.1, 0.8, 0.8, 0.8), "min-max": (0.0, 0.79, 0.73, 0.76)}
    curve = tuple(
        CurvePoint(attack, 0.1, choice, size, 4, True, 0, 0, 0, 0, 0, 0, share, 0)  # type: ignore[arg-type]
        for choice in ("random", "greedy")
        for attack, shares in owned.items()
        for size, share in enumerate(shares if choice == "random" else (0.5, 0.0, 0.0, 0.0), 1)
    )
    (check,) = weightings(evidence(), curve)
    assert (check.verdict, check.subject) == ("warn", "min-max")
    assert check.finding == (
        "min-max evades 73.0 % of the owned devices, uniform 80.0 %, at size 3, eps 0.1"
    )


def test_a_difference_at_the_very_tolerance_passes() -> None:
    found = evidence(lambda n, k, own, attack: 0.70 + 0.01 * (k > 1) if own else 0.1 * k)
    assert verdicts(white_box, found) == ["pass"]
    fails = evidence(lambda n, k, own, attack: 0.70 + 0.05 * (k > 1) if own else 0.1 * k)
    assert verdicts(white_box, fails) == ["warn"]
