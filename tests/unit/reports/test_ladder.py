import dataclasses

import pytest

from fleet.audit.core.result import Check, Outcome
from fleet.reports import AuditReport
from fleet.reports.ladder import ladder as ladder_of
from fleet.reports.ladder import mean_interval


def ladder(report):
    return ladder_of(report.audits.values())


def rungs(report, eps=0.1):
    return {rung.level: rung for rung in ladder(report)[eps]}


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def test_every_rung_comes_from_its_audit(report):
    found = rungs(report)
    assert list(found) == ["noise", "T0", "T0+q", "T1", "T2", "T3", "T4"]
    sources = [rung.source for rung in found.values()]
    assert sources == [
        "whitebox",
        "transfer",
        "query",
        "transfer",
        "coalition",
        "query",
        "whitebox",
    ]
    assert not any(rung.gap for rung in found.values())


def test_nobodys_device_is_the_controls_row(report):
    cells = report.audits["transfer"].matrix("adaptive", 0.1).cells
    into = [c for c in cells if c.surrogate == "tra-nn" and c.victim != "tra-nn"]
    rung = rungs(report)["T0"]
    assert rung.mean == pytest.approx(mean(c.outcome.rate("evade") for c in into))
    assert rung.flip == pytest.approx(mean(c.outcome.rate("flip") for c in into))
    worst = max(into, key=lambda cell: cell.outcome.rate("evade"))
    assert rung.worst.where == f"tra-nn → {worst.victim}"
    assert rung.worst.interval == worst.outcome.interval("evade")
    assert rung.n == min(c.outcome.n for c in into)


def test_one_device_leaves_controls_and_diagonal_out(report):
    cells = report.audits["transfer"].matrix("adaptive", 0.1).cells
    between = [
        c for c in cells if c.surrogate != c.victim and "tra-nn" not in (c.surrogate, c.victim)
    ]
    assert len(between) == 12
    expected = mean(c.outcome.rate("evade") for c in between)
    assert rungs(report)["T1"].mean == pytest.approx(expected)


def test_several_devices_are_the_largest_coalition(report):
    rung = rungs(report)["T2"]
    (point,) = [
        p
        for p in report.audits["coalition"].curve
        if (p.eps, p.size, p.choice) == (0.1, 3, "random")
    ]
    assert (rung.mean, rung.interval) == (point.share, (point.low, point.high))
    assert rung.attacker == "3 of 4 devices"


def test_white_box_prefers_the_white_box_audit(report):
    names = [d.name for d in report.audits["whitebox"].devices if d.role == "device"]
    rates = [
        report.audits["whitebox"].figure(n, "adaptive", 0.1).outcome.rate("evade") for n in names
    ]
    assert rungs(report)["T4"].mean == pytest.approx(mean(rates))
    diagonal = rungs(AuditReport.of(report.audits["transfer"]))["T4"]
    assert diagonal.source == "transfer"
    assert diagonal.mean == pytest.approx(0.965, abs=0.001)


def test_gaps_say_why(report, make_audit):
    found = rungs(AuditReport.of(make_audit(eps=(0.1,))))
    assert found["T0"].gap == "no control was audited"
    assert found["T0+q"].gap == found["T3"].gap == "no query audit"
    assert found["T2"].gap == "no coalition audit"
    assert found["T1"].mean is not None
    lone = rungs(AuditReport.of(make_audit(["only"], eps=(0.1,))))
    assert lone["T1"].gap == "the fleet has one device"
    blind = rungs(
        AuditReport.of(
            make_audit(eps=(0.1,), protocols=("paper",)),
            report.audits["trace"],
            report.audits["coalition"],
        )
    )
    assert blind["T1"].gap == "no transfer audit"
    other = AuditReport.of(
        make_audit(eps=(0.1,), with_control=True), dataclasses.replace(report.audits["query"])
    )
    assert {r.level: r for r in ladder(other)[0.1]}["T2"].gap == "no coalition audit"


def test_the_control_of_a_coalition_stands_in(report):
    rung = rungs(AuditReport.of(report.audits["coalition"]))["T0"]
    assert rung.source == "coalition"
    assert rung.worst.where == "tra-nn → the rest"


def test_eps_at_which_only_one_attacker_was_tried_are_left_out(report):
    assert list(ladder(report)) == [0.1, 0.2]
    assert list(ladder(AuditReport.of(report.audits["whitebox"]))) == [0.02, 0.05, 0.1, 0.2, 0.3]
    assert ladder(AuditReport.of(report.audits["trace"])) == {}


def test_a_masked_rung_carries_its_flag(make_audit):
    failed = Check("M3", "title", "fail", "finding", "rule", "adaptive")
    found = rungs(AuditReport.of(make_audit(eps=(0.1,), found=(failed,), with_control=True)))
    assert [found[level].flag.short for level in ("T0", "T1", "T4")] == ["MASKED: M3"] * 3
    assert found["noise"].flag is None


def test_no_correct_image_is_a_gap_and_no_zero(make_whitebox):
    audit = make_whitebox(["a"], eps=(0.1,), with_control=False)
    empty = Outcome(0, 0, 0)
    device = dataclasses.replace(audit.devices[0], correct=0)
    changed = dataclasses.replace(
        audit,
        devices=(device,),
        figures=tuple(dataclasses.replace(f, outcome=empty, floor=empty) for f in audit.figures),
        noise=tuple(dataclasses.replace(f, outcome=empty) for f in audit.noise),
    )
    assert ladder(AuditReport.of(changed)) == {}


def test_the_interval_of_a_mean_holds_when_all_devices_fall_together():
    low, high = mean_interval(0.3, 100)
    assert (low, high) == Outcome(100, 30, 0).interval("flip")
