"""Who gets a release when, and what has to be true before the next ones do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import RolloutError, SignatureError
from fleet.files import write_json
from fleet.rollout import device as device_side
from fleet.rollout.depot import read_record
from fleet.rollout.keys import sign_json
from fleet.rollout.operations import (
    advance,
    export_media,
    exposures,
    judge,
    load_rollout,
    open_repository,
    plan_rollout,
    publish,
    revoke,
    set_phase,
    start_rollout,
    take_back,
)
from fleet.rollout.reports import Report, receive
from fleet.rollout.waves import Policy, Rollout, decide, parse_waves, plan_waves
from unit.rollout.conftest import NOW, Workshop

IDS = {f"cam-{number:02}": f"{number:016x}" for number in range(40)}
WORDS = ("canary", "10%", "50%", "100%")
HOUR = 3600


def report(
    name: str, status: str = "committed", release: str = "r", failed: str | None = "r"
) -> Report:
    """A report; ``failed`` stands for a device that runs an old release after a failed install."""
    error, now = ("broken" if status == "failed" else None), "2026-11-27T12:00:00+00:00"
    if error is None:
        return Report(IDS[name], release, 1, status, None, 1, now)  # type: ignore[arg-type]
    return Report(IDS[name], "old", 1, "committed", error, 1, now, failed)


def rollout(*waves: tuple[str, ...], exposed: int = 1, **policy: float) -> Rollout:
    rules = Policy(**{"bake": 0, "max_failure_share": 1.0, **policy})  # type: ignore[arg-type]
    return Rollout("r", waves, rules, exposed=exposed)


def test_waves_hold_every_device_once_and_grow_as_they_say() -> None:
    waves = plan_waves(WORDS, IDS, "r")
    assert [len(wave) for wave in waves] == [1, 3, 16, 20]
    assert sorted(name for wave in waves for name in wave) == sorted(IDS)


@given(st.sets(st.sampled_from(sorted(IDS)), min_size=1), st.text("abc", min_size=1, max_size=5))
def test_membership_follows_from_release_and_devices_alone(names: set[str], release: str) -> None:
    ids = {name: IDS[name] for name in names}
    backwards = dict(reversed(ids.items()))
    waves = plan_waves(WORDS, ids, release)
    assert waves == plan_waves(WORDS, backwards, release)
    assert sorted(name for wave in waves for name in wave) == sorted(names)
    assert all(waves)


def test_another_release_starts_with_other_devices() -> None:
    firsts = {plan_waves(WORDS, IDS, f"r{number}")[0][0] for number in range(30)}
    assert len(firsts) > 10


def test_canaries_come_first() -> None:
    waves = plan_waves(WORDS, IDS, "r", ("cam-07", "cam-31"))
    assert sorted(waves[0]) == ["cam-07", "cam-31"]
    with pytest.raises(RolloutError, match="no canary 'cam-99'"):
        plan_waves(WORDS, IDS, "r", ("cam-99",))
    with pytest.raises(RolloutError, match="no wave for the canaries"):
        plan_waves(("100%",), IDS, "r", ("cam-07",))


@pytest.mark.parametrize("text", ["", "canary", "50%", "50%,10%,100%", "10%,canary,100%", "1,100%"])
def test_other_waves_are_refused(text: str) -> None:
    with pytest.raises(RolloutError):
        parse_waves(text)


def test_no_reports_no_next_wave() -> None:
    decision = decide(rollout(("cam-00",)), {}, 0, {})
    assert not decision.go
    assert decision.silent == ("cam-00",)
    assert "0 devices of the wave have reported; 1 have to" in decision.reasons


def test_a_trial_is_no_success() -> None:
    assert not decide(rollout(("cam-00",)), {"cam-00": report("cam-00", "trial")}, 0, {}).go
    assert decide(rollout(("cam-00",)), {"cam-00": report("cam-00")}, 0, {}).go


def test_a_commit_of_another_release_is_no_success() -> None:
    old = report("cam-00", release="older")
    assert not decide(rollout(("cam-00",)), {"cam-00": old}, 0, {}).go


def test_a_device_that_fails_after_its_success_counts_as_failed() -> None:
    names = ("cam-00", "cam-01")
    good = {name: report(name) for name in names}
    assert decide(rollout(names), good, 0, {}).go
    turned = {**good, "cam-01": report("cam-01", "failed")}
    decision = decide(rollout(names, max_failures=0), turned, 0, {})
    assert (decision.go, decision.stop, decision.failed) == (False, True, ("cam-01",))


def test_a_failure_of_another_release_does_not_count() -> None:
    """Nor does one that reached no release, as without a network."""
    names = ("cam-00", "cam-01", "cam-02")
    found = {
        "cam-00": report("cam-00"),
        "cam-01": report("cam-01", "failed", failed="other"),
        "cam-02": report("cam-02", "failed", failed=None),
    }
    decision = decide(rollout(names, max_failures=0, min_success=0.3), found, 0, {})
    assert (decision.go, decision.failed) == (True, ())
    assert decision.silent == ("cam-01", "cam-02")


def test_failures_stop_by_count_and_by_share() -> None:
    names = tuple(f"cam-{number:02}" for number in range(20))
    one = {name: report(name, "failed" if name == "cam-03" else "committed") for name in names}
    assert decide(rollout(names, max_failures=1, max_failure_share=0.05), one, 0, {}).go
    assert decide(rollout(names, max_failures=0), one, 0, {}).stop
    assert decide(rollout(names, max_failures=5, max_failure_share=0.04), one, 0, {}).stop


def test_the_wave_has_to_bake() -> None:
    young = replace(rollout(("cam-00",), bake=24 * HOUR), since=1000)
    good = {"cam-00": report("cam-00")}
    decision = decide(young, good, 1000 + HOUR, {})
    assert decision.reasons == ("the wave has to last another 23 h 0 min",)
    assert decide(young, good, 1000 + 24 * HOUR, {}).go


def test_the_audit_is_part_of_the_gate() -> None:
    gated = rollout(("cam-00", "cam-01"), max_transfer=0.05)
    good = {name: report(name) for name in ("cam-00", "cam-01")}
    assert decide(gated, good, 0, {"cam-00": 0.02, "cam-01": 0.05}).go
    decision = decide(gated, good, 0, {"cam-00": 0.06, "cam-01": None})
    assert decision.reasons == (
        "cam-00: transfer 0.060 is above 0.05",
        "cam-01: no transfer audit of these weights",
    )


@given(
    st.lists(
        st.sampled_from(["committed", "trial", "failed", "empty", None]), min_size=1, max_size=40
    ),
    st.floats(0, 1),
    st.integers(0, 5),
)
def test_a_gate_that_opens_is_within_every_limit(
    states: list[str | None], min_success: float, max_failures: int
) -> None:
    names = tuple(sorted(IDS))[: len(states)]
    found = {n: None if s is None else report(n, s) for n, s in zip(names, states, strict=True)}
    gate = rollout(names, min_success=min_success, max_failures=max_failures)
    decision = decide(gate, found, 0, {})
    failed = states.count("failed")
    assert len(decision.committed) == states.count("committed")
    assert len(decision.failed) == failed
    if decision.go:
        assert failed <= max_failures
        assert states.count("committed") >= min_success * len(states) - 1e-9
        assert states.count("committed") + failed >= 1


def send(workshop: Workshop, name: str) -> Report:
    path = workshop.root / f"{name}.report.json"
    write_json(path, device_side.report(workshop.device(name), NOW))
    return receive(workshop.depot, path)[1]


def begin(workshop: Workshop, release: str = "r1", counter: int = 1) -> Rollout:
    workshop.publish(release, counter)
    policy = Policy(bake=0, max_failures=0, max_failure_share=1.0)
    return start_rollout(
        workshop.depot, plan_rollout(workshop.depot, release, "canary,100%", policy), NOW
    )


def test_a_rollout_goes_from_the_canary_to_all_by_signed_reports(workshop: Workshop) -> None:
    begun = begin(workshop)
    (canary,), (other,) = begun.waves
    with pytest.raises(RolloutError, match="no bundle for this device"):
        workshop.install(other)
    workshop.install(canary)
    assert send(workshop, canary).status == "trial"
    with pytest.raises(RolloutError, match="0 of 1 devices of the wave have committed"):
        advance(workshop.depot, begun, NOW)
    device_side.commit(workshop.device(canary))
    send(workshop, canary)
    second = advance(workshop.depot, begun, NOW)
    assert second.exposed == 2
    assert workshop.install(other).pending.release == "r1"
    device_side.commit(workshop.device(other))
    send(workshop, other)
    assert advance(workshop.depot, load_rollout(workshop.depot), NOW).phase == "complete"


def test_a_published_release_is_seen_by_nobody_before_its_wave(workshop: Workshop) -> None:
    workshop.publish("r1", 1)
    with pytest.raises(RolloutError, match="no bundle for this device"):
        workshop.install("cam-01")


def test_replayed_forged_and_foreign_reports_prove_nothing(workshop: Workshop) -> None:
    begun = begin(workshop)
    (canary,), (other,) = begun.waves
    workshop.install(canary)
    old = workshop.root / "old.json"
    write_json(old, device_side.report(workshop.device(canary), NOW))
    device_side.commit(workshop.device(canary))
    send(workshop, canary)
    with pytest.raises(RolloutError, match="is older than the report"):
        receive(workshop.depot, old)
    forged = read_record(old, "report", "")
    forged["signed"]["status"] = "committed"
    write_json(old, forged)
    with pytest.raises(SignatureError, match="did not sign"):
        receive(workshop.depot, old)
    foreign = device_side.report(workshop.device(other), NOW)
    foreign["signed"]["id"] = workshop.depot.enrolled()[canary].id
    write_json(old, foreign)
    with pytest.raises(SignatureError):
        receive(workshop.depot, old)
    assert judge(workshop.depot, begun, NOW).go


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sequence", "9"),
        ("sequence", -1),
        ("sequence", 10**30),
        ("counter", True),
        ("status", "perfect"),
        ("release", 3),
        ("release", "r1\x1b[2J"),
        ("error", "x" * 10_000),
        ("failed", ["r1"]),
        ("clock", None),
        ("more", 1),
        ("format", "fleet-report/9"),
    ],
)
def test_what_an_extracted_device_may_sign_and_say(
    workshop: Workshop, field: str, value: object
) -> None:
    """Its key is known, so its signature holds; what is signed is checked all the same."""
    identity = workshop.device("cam-01").identity
    signed = device_side.report(workshop.device("cam-01"), NOW)["signed"]
    path = workshop.root / "report.json"
    write_json(path, sign_json({**signed, field: value}, identity.sign_key))
    with pytest.raises(SignatureError, match="cam-01: this is no report"):
        receive(workshop.depot, path)
    assert not workshop.depot.report("cam-01").exists()


def test_a_failed_install_is_reported_and_stops_the_rollout(workshop: Workshop) -> None:
    begun = begin(workshop)
    (canary,) = begun.waves[0]
    bundle = next(
        (workshop.depot.public / "targets").rglob(f"*{workshop.depot.enrolled()[canary].id}/*")
    )
    bundle.write_bytes(b"x" * bundle.stat().st_size)
    with pytest.raises(SignatureError):
        workshop.install(canary)
    sent = send(workshop, canary)
    assert (sent.status, sent.failed) == ("empty", "r1")
    decision = judge(workshop.depot, begun, NOW)
    assert decision.stop
    assert decision.failed == (canary,)


def test_revoked_devices_hold_no_gate_and_get_nothing_back(workshop: Workshop) -> None:
    workshop.roll_out("r1", 1)
    begun = begin(workshop, "r2", 2)
    (canary,), (other,) = begun.waves
    workshop.install(canary)
    device_side.commit(workshop.device(canary))
    send(workshop, canary)
    revoke(workshop.depot, canary, NOW)
    second = advance(workshop.depot, begun, NOW)
    assert judge(workshop.depot, second, NOW).silent == (other,)
    assert take_back(workshop.depot, second, NOW) == [other]
    given = open_repository(workshop.depot).assignments()
    assert workshop.depot.enrolled()[canary].id not in given


def test_a_command_that_read_an_old_record_does_not_undo_another(workshop: Workshop) -> None:
    begun = begin(workshop)
    set_phase(workshop.depot, begun, "paused")
    with pytest.raises(RolloutError, match="the rollout is paused"):
        advance(workshop.depot, begun, NOW)


def test_one_rollout_at_a_time_pause_cancel(workshop: Workshop) -> None:
    begun = begin(workshop)
    workshop.publish("r2", 2)
    with pytest.raises(RolloutError, match="the rollout of r1 is on its way"):
        start_rollout(workshop.depot, plan_rollout(workshop.depot, "r2", "100%", Policy()), NOW)
    paused = set_phase(workshop.depot, begun, "paused")
    with pytest.raises(RolloutError, match="the rollout is paused"):
        advance(workshop.depot, paused, NOW)
    cancelled = set_phase(workshop.depot, paused, "cancelled")
    with pytest.raises(RolloutError, match="is cancelled"):
        set_phase(workshop.depot, cancelled, "running")
    start_rollout(workshop.depot, plan_rollout(workshop.depot, "r2", "100%", Policy()), NOW)


def test_what_must_not_be_published(workshop: Workshop) -> None:
    laboratory = workshop.bundle("cam-01", "r1", 1, recipient=None)
    with pytest.raises(RolloutError, match="is not sealed"):
        publish(workshop.depot, [laboratory])
    workshop.publish("r1", 1)
    with pytest.raises(RolloutError, match="published already"):
        workshop.publish("r1", 2)
    with pytest.raises(RolloutError, match="counter 1 is not above 1"):
        workshop.publish("r2", 1)
    mixed = [workshop.bundle("cam-01", "r3", 3), workshop.bundle("cam-02", "r4", 4)]
    with pytest.raises(RolloutError, match="bundles of 2 releases"):
        publish(workshop.depot, mixed)
    damaged = workshop.bundle("cam-01", "r5", 5)
    damaged.write_bytes(damaged.read_bytes()[:-700])
    with pytest.raises(RolloutError):
        publish(workshop.depot, [damaged])
    revoke(workshop.depot, "cam-02", NOW)
    with pytest.raises(RolloutError, match="cam-02 is revoked"):
        publish(workshop.depot, [workshop.bundle("cam-02", "r6", 6)])


def test_taking_back_twice_or_with_nothing_before_is_refused(workshop: Workshop) -> None:
    begun = begin(workshop)
    with pytest.raises(RolloutError, match="no device had a release before r1"):
        take_back(workshop.depot, begun, NOW)


def test_a_stick_serves_as_a_repository(workshop: Workshop) -> None:
    workshop.roll_out("r1", 1)
    stick = workshop.root / "stick"
    assert export_media(workshop.depot, stick, ["cam-02"]) == 1
    state = device_side.install(workshop.device("cam-02"), stick.as_uri(), clock=NOW)
    assert state is not None
    with pytest.raises(RolloutError, match="there is no such file"):
        device_side.install(workshop.device("cam-01"), stick.as_uri(), clock=NOW)


def test_what_an_extracted_device_exposes_is_read_off_the_audit(project) -> None:
    audit = project / "results" / "paper-demo" / "audit.json"
    eps, found = exposures(audit, "cam-04")
    assert eps == pytest.approx(0.2)
    assert [entry.device for entry in found] != []
    rates = [entry.evade for entry in found]
    assert rates == sorted(rates, reverse=True)
    assert "control" not in {entry.device for entry in found}
    with pytest.raises(RolloutError, match="holds no 'cam-99'"):
        exposures(audit, "cam-99")
    with pytest.raises(RolloutError, match="at this eps"):
        exposures(audit, "cam-04", 0.15)
