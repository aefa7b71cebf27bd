"""From a published release to a committed one, and every way in which it must not get there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleet.errors import (
    CheckpointError,
    DownloadError,
    ExpiredError,
    RollbackError,
    RolloutError,
    SignatureError,
    WrongDeviceError,
)
from fleet.files import locked
from fleet.rollout.device import commit, install, rollback
from fleet.rollout.keys import load_identity
from fleet.rollout.operations import (
    open_repository,
    plan_rollout,
    publish,
    revoke,
    start_rollout,
    take_back,
)
from fleet.rollout.requirements import parse_requirement
from fleet.rollout.slots import TRIES
from unit.rollout.conftest import AT_ONCE, NOW, Server, Workshop, make_workshop


def release_of(workshop: Workshop, name: str = "cam-01") -> str | None:
    current = workshop.device(name).slots.state().current
    return None if current is None else current.release


def test_a_release_is_installed_on_trial_and_committed(workshop: Workshop) -> None:
    workshop.roll_out("r1", 1)
    state = workshop.install("cam-01")
    assert state.pending.release == "r1"
    assert state.active is None
    committed = commit(workshop.device("cam-01"))
    assert (committed.active.release, committed.pending) == ("r1", None)
    assert workshop.install("cam-01") is None  # nothing new


def test_a_second_release_goes_into_the_other_slot_and_can_be_given_up(workshop: Workshop) -> None:
    workshop.roll_out("r1", 1)
    workshop.install("cam-01")
    commit(workshop.device("cam-01"))
    first = workshop.device("cam-01").slots.file("a").read_bytes()
    workshop.roll_out("r2", 2)
    workshop.install("cam-01")
    device = workshop.device("cam-01")
    assert device.slots.file("a").read_bytes() == first
    assert release_of(workshop) == "r2"
    rollback(device)
    assert release_of(workshop) == "r1"
    with pytest.raises(RolloutError, match="nothing is on trial"):
        rollback(device)


def test_a_trial_that_nobody_commits_ends_by_itself(workshop: Workshop) -> None:
    workshop.roll_out("r1", 1)
    workshop.install("cam-01")
    commit(workshop.device("cam-01"))
    workshop.roll_out("r2", 2)
    workshop.install("cam-01")
    slots = workshop.device("cam-01").slots
    releases = [slots.start()[0].current.release for _ in range(TRIES + 3)]
    assert releases == ["r2"] * TRIES + ["r1"] * 3
    assert slots.state().error == f"started {TRIES} times without a commit"


def test_starts_never_switch_a_committed_model(workshop: Workshop) -> None:
    workshop.roll_out("r1", 1)
    workshop.install("cam-01")
    commit(workshop.device("cam-01"))
    slots = workshop.device("cam-01").slots
    assert {slots.start()[0].current.release for _ in range(20)} == {"r1"}
    assert slots.state().sequence == commit(workshop.device("cam-01")).sequence


def test_the_payload_stays_sealed_on_the_disk(workshop: Workshop) -> None:
    workshop.roll_out("r1", 1)
    workshop.install("cam-01")
    encoding = b'"alpha"'
    for path in workshop.home("cam-01").rglob("*"):
        if path.is_file():
            assert encoding not in path.read_bytes()


def test_a_device_takes_only_what_is_sealed_to_it(workshop: Workshop) -> None:
    """The operator's mistake of publishing one device's bundle for another is caught twice."""
    bundle = workshop.bundle("cam-02", "r1", 1)
    forged = workshop.root / "dist" / "forged.fleet"
    cam_01 = workshop.depot.enrolled()["cam-01"]
    other = workshop.depot.enrolled()["cam-02"]
    workshop.bundle("cam-01", "r1", 1, recipient=(cam_01.id, other.seal_key)).rename(forged)
    publish(workshop.depot, [forged, bundle])
    start_rollout(workshop.depot, plan_rollout(workshop.depot, "r1", "100%", AT_ONCE), NOW)
    with pytest.raises(WrongDeviceError, match="does not open"):
        workshop.install("cam-01")
    assert release_of(workshop) is None
    state = workshop.device("cam-01").slots.state()
    assert state.error.startswith("WrongDeviceError")
    assert state.failed == "r1"


def test_swapped_files_in_the_repository_are_refused(workshop: Workshop) -> None:
    workshop.roll_out("r1", 1)
    first, second = sorted((workshop.depot.public / "targets" / "devices").rglob("*.bundle"))
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)
    for name in workshop.names:
        with pytest.raises(SignatureError, match="not the bundle that was signed"):
            workshop.install(name)
        assert not (workshop.home(name) / "download.part").exists()


def test_metadata_of_another_operator_are_refused(workshop: Workshop, tmp_path: Path) -> None:
    stranger = make_workshop(tmp_path / "stranger", "cam-01")
    stranger.roll_out("evil", 9)
    shutil.rmtree(workshop.depot.public)
    shutil.copytree(stranger.depot.public, workshop.depot.public)
    with pytest.raises(SignatureError):
        workshop.install("cam-01")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_edited_metadata_are_refused(workshop: Workshop, role: str) -> None:
    workshop.roll_out("r1", 1)
    newest = max(
        (workshop.depot.public / "metadata").glob(f"*{role}.json"), key=lambda path: path.name
    )
    value = json.loads(newest.read_bytes())
    value["signed"]["expires"] = "2040-01-01T00:00:00Z"
    newest.write_text(json.dumps(value))
    with pytest.raises(SignatureError):
        workshop.install("cam-01")


def test_old_metadata_are_refused_by_a_device_that_saw_newer_ones(workshop: Workshop) -> None:
    workshop.roll_out("r1", 1)
    old = workshop.root / "old"
    shutil.copytree(workshop.depot.public, old)
    workshop.roll_out("r2", 2)
    workshop.install("cam-01")
    shutil.rmtree(workshop.depot.public)
    shutil.copytree(old, workshop.depot.public)
    with pytest.raises(RollbackError):
        workshop.install("cam-01")


def test_losing_the_whole_metadata_cache_opens_no_way_back(workshop: Workshop) -> None:
    """The TUF client alone accepts the old repository here: its memory is gone."""
    workshop.roll_out("r1", 1)
    old = workshop.root / "old"
    shutil.copytree(workshop.depot.public, old)
    workshop.roll_out("r2", 2)
    workshop.install("cam-01")
    commit(workshop.device("cam-01"))
    shutil.rmtree(workshop.home("cam-01") / "tuf")
    shutil.rmtree(workshop.depot.public)
    shutil.copytree(old, workshop.depot.public)
    with pytest.raises(RollbackError, match="has seen"):
        workshop.install("cam-01")
    assert release_of(workshop) == "r2"


def test_the_operator_can_take_a_release_back(workshop: Workshop) -> None:
    workshop.roll_out("r1", 1)
    workshop.install("cam-01")
    commit(workshop.device("cam-01"))
    rollout = workshop.roll_out("r2", 2)
    workshop.install("cam-01")
    commit(workshop.device("cam-01"))
    assert take_back(workshop.depot, rollout, NOW) == ["cam-01", "cam-02"]
    workshop.install("cam-01")
    assert release_of(workshop) == "r1"


def test_nobody_goes_below_the_floor_of_a_committed_release(workshop: Workshop) -> None:
    workshop.roll_out("r1", 1)
    rollout = workshop.roll_out("r2", 2, floor=2)
    workshop.install("cam-01")
    commit(workshop.device("cam-01"))
    take_back(workshop.depot, rollout, NOW)
    with pytest.raises(RollbackError, match="has counter 1; this device takes 2 or more"):
        workshop.install("cam-01")
    assert release_of(workshop) == "r2"


def test_expired_metadata_are_refused_and_a_refresh_mends_it(workshop: Workshop) -> None:
    workshop.roll_out("r1", 1)
    later = NOW + timedelta(days=8)
    with pytest.raises(ExpiredError, match="expired"):
        workshop.install("cam-01", later)
    open_repository(workshop.depot, later).refresh()
    assert workshop.install("cam-01", later).pending.release == "r1"


def test_expired_metadata_stay_expired_when_the_clock_steps_back(workshop: Workshop) -> None:
    workshop.roll_out("r1", 1)
    old = workshop.root / "old"
    shutil.copytree(workshop.depot.public, old)
    later = NOW + timedelta(days=20)
    open_repository(workshop.depot, later).refresh()
    workshop.install("cam-01", later)
    shutil.rmtree(workshop.home("cam-01") / "tuf")
    floor = workshop.home("cam-01") / "floor.json"
    value = json.loads(floor.read_text())
    floor.write_text(json.dumps({**value, "version": 0}))  # leaves the clock as the only guard
    shutil.rmtree(workshop.depot.public)
    shutil.copytree(old, workshop.depot.public)
    with pytest.raises(ExpiredError):
        workshop.install("cam-01", datetime(1970, 1, 1, tzinfo=UTC))


def test_a_clock_ten_years_ahead_stops_updates_and_harms_nothing(workshop: Workshop) -> None:
    workshop.roll_out("r1", 1)
    with pytest.raises(ExpiredError):
        workshop.install("cam-01", NOW + timedelta(days=3650))
    assert workshop.install("cam-01", NOW).pending.release == "r1"


def test_a_device_whose_target_vanished_says_so(workshop: Workshop) -> None:
    workshop.roll_out("r1", 1)
    workshop.install("cam-01")
    revoke(workshop.depot, "cam-01", NOW)
    with pytest.raises(WrongDeviceError, match="no bundle for this device"):
        workshop.install("cam-01")
    assert release_of(workshop) == "r1"
    assert workshop.install("cam-02").pending.release == "r1"


def test_after_a_key_rotation_old_devices_follow(workshop: Workshop) -> None:
    workshop.roll_out("r1", 1)
    workshop.install("cam-01")
    for role in ("timestamp", "snapshot", "targets", "root"):
        open_repository(workshop.depot, NOW).rotate(role)
    workshop.roll_out("r2", 2)
    assert workshop.install("cam-01").pending.release == "r2"
    assert workshop.install("cam-02").pending.release == "r2"


def test_a_stolen_old_timestamp_key_signs_nothing_after_its_rotation(workshop: Workshop) -> None:
    workshop.roll_out("r1", 1)
    workshop.install("cam-01")
    keys = workshop.depot.keys
    stolen = (keys / "timestamp.pem").read_bytes()
    open_repository(workshop.depot, NOW).rotate("timestamp")
    (keys / "timestamp.pem").write_bytes(stolen)
    open_repository(workshop.depot, NOW).refresh()
    with pytest.raises(SignatureError):
        workshop.install("cam-01")


@pytest.mark.parametrize("ranges", [True, False])
def test_a_link_that_breaks_again_and_again_is_taken_up(
    workshop: Workshop, serve: Callable[[Path], Server], ranges: bool
) -> None:
    workshop.roll_out("r1", 1)
    server = serve(workshop.depot.public)
    server.cut, server.ranges = (1500, ranges)
    if not ranges:  # the same first bytes for ever: no progress, an error, and nothing lost
        with pytest.raises(DownloadError, match="link broke"):
            install(workshop.device("cam-01"), server.url, clock=NOW)
        assert (workshop.home("cam-01") / "download.part").stat().st_size == 1500
        server.cut = None
    assert install(workshop.device("cam-01"), server.url, clock=NOW).pending.release == "r1"
    assert not (workshop.home("cam-01") / "download.part").exists()


def test_remains_of_another_file_cost_a_second_download(
    workshop: Workshop, serve: Callable[[Path], Server]
) -> None:
    """What a broken download left is believed no more than what comes over the link."""
    workshop.roll_out("r1", 1)
    server, partial = serve(workshop.depot.public), workshop.home("cam-01") / "download.part"
    for remains in (b"x" * 700, b"x" * 99_999):
        partial.write_bytes(remains)
        state = install(workshop.device("cam-01"), server.url, clock=NOW)
        assert not partial.exists()
        assert state is not None
        rollback(workshop.device("cam-01"))


def test_nobody_answers(workshop: Workshop) -> None:
    with pytest.raises(DownloadError, match="cannot reach"):
        install(workshop.device("cam-01"), "http://127.0.0.1:9", clock=NOW)


def test_two_installers_at_once(workshop: Workshop) -> None:
    workshop.roll_out("r1", 1)
    with (
        locked(workshop.home("cam-01"), "install"),
        pytest.raises(CheckpointError, match="another"),
    ):
        workshop.install("cam-01")
    assert workshop.install("cam-01").pending.release == "r1"


def test_keys_that_others_may_read_are_refused(workshop: Workshop) -> None:
    os.chmod(workshop.home("cam-01") / "seal.key", 0o640)  # noqa: PTH101
    with pytest.raises(RolloutError, match="can be read by others"):
        load_identity(workshop.home("cam-01"))


def test_a_device_refuses_what_its_policy_does_not_allow(workshop: Workshop) -> None:
    certificate = {"rows": [{"eps": 0.1, "stay": 0.88}]}
    workshop.roll_out("r1", 1, certificate=certificate)
    wants = parse_requirement("certified>=0.9@0.1")
    with pytest.raises(RolloutError, match="release r1 has 0\\.8800"):
        workshop.install("cam-01", require=(wants,))
    assert release_of(workshop) is None
    assert workshop.install("cam-01", require=(parse_requirement("certified>=0.85@0.1"),))
    with pytest.raises(RolloutError, match="says nothing about it"):
        workshop.install("cam-02", require=(parse_requirement("certified>=0.5@8/255"),))


@pytest.mark.parametrize(
    "text",
    ["certified>=2@0.1", "certified>=0.9", "accuracy>=0.9@1", "speed>=1", "transfer<=0.1@1/0"],
)
def test_requirements_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(RolloutError, match="no requirement"):
        parse_requirement(text)
