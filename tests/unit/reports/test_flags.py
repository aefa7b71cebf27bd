import pytest

from fleet.audit.core.result import Check
from fleet.reports.flags import audited_protocols, flag, verdict, worst_level


def check(identity, verdict="fail", subject=""):
    return Check(identity, "title", verdict, "finding", "rule", subject)


@pytest.mark.parametrize("identity", ["M2", "M7", "M10", "M16", "BT"])
def test_an_attack_that_lost_what_it_found_is_masked(make_whitebox, identity):
    audit = make_whitebox(["a"], eps=(0.1,), found=(check(identity, subject="adaptive"),))
    assert flag(audit, "adaptive").short == f"MASKED: {identity}"
    assert flag(audit, "paper") is None


@pytest.mark.parametrize("identity", ["M9", "M11", "M12", "M15"])
def test_other_failures_make_figures_unreliable(make_whitebox, identity):
    audit = make_whitebox(["a"], eps=(0.1,), found=(check(identity),))
    assert flag(audit, "adaptive").short == f"UNRELIABLE: {identity}"


def test_protocols_are_those_with_figures(make_whitebox, make_audit, make_trace):
    assert audited_protocols(make_whitebox(["a"], eps=(0.1,))) == ("adaptive", "paper")
    assert audited_protocols(make_audit(["a"], protocols=("paper",))) == ("paper",)
    assert audited_protocols(make_trace()) == ()


def test_an_audit_without_protocols_fails_as_a_whole(make_trace):
    audit = make_trace(found=(check("T1"), check("T2", "pass")))
    level, sentence = verdict(audit)
    assert level == "fail"
    assert sentence == (
        "1 of 2 reliability checks failed. With T1 failed, a low rate is no evidence of safety."
    )


def test_the_worst_level_wins():
    assert worst_level(["pass", "fail", "warn"]) == "fail"
    assert worst_level(["pass", "warn"]) == "warn"
    assert worst_level([]) == "pass"
