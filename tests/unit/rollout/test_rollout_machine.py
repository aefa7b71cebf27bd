"""Any order of what operators and devices may do: waves, gates, reports, revocations, the clock."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fleet.errors import RolloutError
from fleet.files import write_json
from fleet.rollout import device as device_side
from fleet.rollout.depot import Depot
from fleet.rollout.operations import (
    advance,
    load_rollout,
    open_repository,
    plan_rollout,
    revoke,
    set_phase,
    start_rollout,
    take_back,
)
from fleet.rollout.reports import Report, receive
from fleet.rollout.requirements import parse_requirement
from fleet.rollout.waves import Policy, Rollout
from unit.rollout.conftest import NOW, Workshop, make_workshop

NAMES = ("cam-01", "cam-02", "cam-03", "cam-04")
POLICY = Policy(min_success=0.5, max_failures=1, max_failure_share=0.5, bake=3600)
IMPOSSIBLE = (parse_requirement("certified>=1@0.1"),)
devices = st.sampled_from(NAMES)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Four devices that run r1; r2 is published, and its rollout has begun."""
    workshop = make_workshop(tmp_path_factory.mktemp("machine"), *NAMES)
    workshop.roll_out("r1", 1)
    for name in NAMES:
        workshop.install(name)
        device_side.commit(workshop.device(name))
    workshop.publish("r2", 2)
    start_rollout(
        workshop.depot, plan_rollout(workshop.depot, "r2", "canary,50%,100%", POLICY), NOW
    )
    return workshop


class Fleet(RuleBasedStateMachine):
    """The real depot and real devices, beside a plain account of what they should be."""

    template: Workshop

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="machine-"))
        shutil.copytree(self.template.root, self.root, dirs_exist_ok=True)
        self.shop = Workshop(self.root, Depot(self.root / "depot"), NAMES)
        self.waves = load_rollout(self.shop.depot).waves
        self.now = self.since = NOW
        self.phase, self.exposed = "running", 1
        self.heard: dict[str, Report] = {}
        self.sent: list[Path] = []
        self.revoked: set[str] = set()

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    @property
    def seeing(self) -> list[str]:
        return [name for wave in self.waves[: self.exposed] for name in wave]

    @rule(name=devices, accepted=st.booleans())
    def install(self, name: str, accepted: bool) -> None:
        device, before = self.shop.device(name), self.running(name)
        require = () if accepted else IMPOSSIBLE
        try:
            found = device_side.install(device, self.shop.url, clock=self.now, require=require)
        except RolloutError:
            assert self.running(name) == before
            return
        if found is not None:
            assert accepted
            assert name not in self.revoked
            assert found.pending.release in ("r1", "r2")
            assert found.pending.release == "r1" or name in self.seeing

    @rule(name=devices)
    def commit(self, name: str) -> None:
        before = self.running(name)
        device_side.commit(self.shop.device(name))
        assert self.running(name) == before

    @rule(name=devices)
    def give_up(self, name: str) -> None:
        with suppress(RolloutError):
            device_side.rollback(self.shop.device(name))
        assert self.shop.device(name).slots.state().pending is None

    @rule(name=devices)
    def report(self, name: str) -> None:
        path = self.root / f"report-{len(self.sent)}.json"
        write_json(path, device_side.report(self.shop.device(name), self.now))
        self.sent.append(path)
        self.hear(path, name)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        """An old report again: refused, or the very one that is known."""
        path = data.draw(st.sampled_from(self.sent))
        with suppress(RolloutError):
            name, found = receive(self.shop.depot, path)
            assert found.sequence == self.heard[name].sequence

    @rule(name=devices)
    def take_off(self, name: str) -> None:
        revoke(self.shop.depot, name, self.now)
        self.revoked.add(name)

    @rule(hours=st.integers(0, 3))
    def wait(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @rule(phase=st.sampled_from(["paused", "running", "running", "cancelled"]))
    def change(self, phase: str) -> None:
        allowed = self.phase in ("running", "paused")
        with suppress(RolloutError):
            self.phase = set_phase(self.shop.depot, self.rollout(), phase).phase
            assert allowed

    @rule()
    def go_on(self) -> None:
        may, last = self.gate(), self.exposed == len(self.waves)
        try:
            found = advance(self.shop.depot, self.rollout(), self.now)
        except RolloutError:
            assert not may
            return
        assert may
        self.phase = found.phase
        assert (found.phase == "complete") == last
        if not last:
            self.exposed, self.since = self.exposed + 1, self.now

    @precondition(lambda self: self.phase not in ("running", "paused"))
    @rule()
    def roll_back(self) -> None:
        with suppress(RolloutError):
            take_back(self.shop.depot, self.rollout(), self.now)
            assert self.phase != "rolled-back"
            self.phase = "rolled-back"

    def gate(self) -> bool:
        """The rules in plain words, apart from the code that applies them."""
        seeing = [n for n in self.seeing if n not in self.revoked]
        wave = [n for n in self.waves[self.exposed - 1] if n not in self.revoked]
        bad = {n for n in seeing if n in self.heard and self.heard[n].failed == "r2"}
        good = {
            n
            for n in seeing
            if n in self.heard
            and (self.heard[n].release, self.heard[n].status) == ("r2", "committed")
            and n not in bad
        }
        spoken = sum(n in good or n in bad for n in wave)
        return (
            self.phase == "running"
            and len(bad) <= POLICY.max_failures
            and (not seeing or len(bad) <= POLICY.max_failure_share * len(seeing))
            and (not wave or (spoken >= 1 and sum(n in good for n in wave) >= len(wave) / 2))
            and (self.now - self.since).total_seconds() >= POLICY.bake
        )

    def hear(self, path: Path, name: str) -> None:
        try:
            _, self.heard[name] = receive(self.shop.depot, path)
        except RolloutError:
            assert name in self.revoked
        else:
            assert name not in self.revoked

    def running(self, name: str) -> str:
        current = self.shop.device(name).slots.state().current
        assert current is not None
        return current.release

    def rollout(self) -> Rollout:
        return load_rollout(self.shop.depot, "r2")

    @invariant()
    def nobody_sees_more_than_its_wave(self) -> None:
        given = open_repository(self.shop.depot).assignments()
        enrolled = self.shop.depot.enrolled()
        for name in NAMES:
            found = given.get(enrolled[name].id)
            if name in self.revoked:
                assert found is None
            elif self.phase == "rolled-back" or name not in self.seeing:
                assert found is not None
                assert found.release == "r1"
            else:
                assert found is not None
                assert found.release == "r2"

    @invariant()
    def the_record_says_the_same(self) -> None:
        found = self.rollout()
        assert (found.waves, found.phase, found.exposed) == (self.waves, self.phase, self.exposed)


def test_no_order_of_events_opens_a_gate_too_early(place: Workshop) -> None:
    Fleet.template = place
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        Fleet,
        settings=settings(
            max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=checks
        ),
    )
