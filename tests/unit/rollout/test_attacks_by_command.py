"""Attacks and accidents against ``fleet install`` and the operator's commands, as they are typed.

Each must end with its exit code, one error that says what is wrong, and nothing installed; then the
same command against the honest repository must succeed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fleet.files import locked
from fleet.rollout import device as device_side
from fleet.rollout import poll
from fleet.rollout.depot import Depot
from fleet.rollout.operations import open_repository, publish, read_release, revoke
from unit.rollout.conftest import Server, Workshop, make_workshop

NAME = "cam-01"
RunFleet = Callable[..., Any]
Serve = Callable[[Path], Server]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """cam-01 has committed r1, r2 waits for it; ``old`` is the repository of r1's time."""
    workshop = make_workshop(tmp_path_factory.mktemp("attacks"), NAME, "cam-02")
    now = datetime.now(UTC)
    workshop.roll_out("r1", 1, now=now)
    workshop.install(NAME, now)
    device_side.commit(workshop.device(NAME))
    shutil.copytree(workshop.depot.public, workshop.root / "old")
    workshop.roll_out("r2", 2, now=now)
    return workshop


@pytest.fixture
def scene(prepared: Workshop, tmp_path: Path) -> Workshop:
    """A copy of the prepared place, to be attacked."""
    root = tmp_path / "scene"
    shutil.copytree(prepared.root, root)
    return Workshop(root, Depot(root / "depot"), prepared.names)


def metadata(scene: Workshop, role: str) -> Path:
    """Newest metadata file of a role."""
    found = (scene.depot.public / "metadata").glob(f"*{role}.json")
    return max(found, key=lambda path: (len(path.name), path.name))


def bundle(scene: Workshop, name: str = NAME) -> Path:
    """The bundle of r2 that a device is given."""
    assignment = open_repository(scene.depot).assignments()[scene.depot.enrolled()[name].id]
    return scene.depot.public / "targets" / assignment.file


def edit(path: Path, **changes: Any) -> None:
    value = json.loads(path.read_bytes())
    value["signed"].update(changes)
    path.write_text(json.dumps(value))


def replaced(scene: Workshop, public: Path) -> None:
    shutil.rmtree(scene.depot.public)
    shutil.copytree(public, scene.depot.public)


def installed(scene: Workshop) -> None:
    device_side.install(scene.device(NAME), scene.url)


# Attacks on the files of the repository; each changes a scene.


def whole_repository_rolled_back(scene: Workshop) -> None:
    installed(scene)
    replaced(scene, scene.root / "old")


def rolled_back_and_the_cache_lost(scene: Workshop) -> None:
    installed(scene)
    shutil.rmtree(scene.home(NAME) / "tuf")
    replaced(scene, scene.root / "old")


def empty_targets_replayed(scene: Workshop) -> None:
    """The state before anything was published, whose list of targets is empty."""
    installed(scene)
    public, old = scene.depot.public / "metadata", scene.root / "old" / "metadata"
    (public / "timestamp.json").write_bytes((old / "timestamp.json").read_bytes())
    shutil.rmtree(scene.home(NAME) / "tuf")


def old_snapshot_under_a_new_name(scene: Workshop) -> None:
    newest = metadata(scene, "snapshot")
    shutil.copyfile(newest.with_name("1.snapshot.json"), newest)


def old_targets_under_a_new_name(scene: Workshop) -> None:
    newest = metadata(scene, "targets")
    shutil.copyfile(newest.with_name("1.targets.json"), newest)


def one_bit_of_the_bundle(scene: Workshop) -> None:
    data = bytearray(bundle(scene).read_bytes())
    data[len(data) // 2] ^= 1
    bundle(scene).write_bytes(data)


def bundle_cut_short(scene: Workshop) -> None:
    bundle(scene).write_bytes(bundle(scene).read_bytes()[:-700])


def bundle_without_end(scene: Workshop) -> None:
    with bundle(scene).open("ab") as stream:
        stream.truncate(2**33)  # sparse: what is read of it is bounded


def timestamp_without_end(scene: Workshop) -> None:
    with metadata(scene, "timestamp").open("ab") as stream:
        stream.truncate(2**33)


def bundles_swapped(scene: Workshop) -> None:
    shutil.copyfile(bundle(scene, "cam-02"), bundle(scene))


def sealed_to_another_device(scene: Workshop) -> None:
    """The operator's own mistake, signed like everything else."""
    enrolled = scene.depot.enrolled()
    wrong = (enrolled[NAME].id, enrolled["cam-02"].seal_key)
    publish(scene.depot, [scene.bundle(NAME, "r3", 3, recipient=wrong)])
    give(scene, "r3")


def give(scene: Workshop, release: str, **changes: Any) -> None:
    """Assign a published release to cam-01, under other words if asked."""
    given = replace(read_release(scene.depot, release)[NAME].assignment, **changes)
    open_repository(scene.depot).assign({given.id: given})


def signed_under_another_counter(scene: Workshop) -> None:
    publish(scene.depot, [scene.bundle(NAME, "r3", 3)])
    give(scene, "r3", counter=9)


def signed_for_another_name(scene: Workshop) -> None:
    """The bundle opens, and its manifest names another device."""
    home = scene.home(NAME) / "device.json"
    value = json.loads(home.read_text())
    home.write_text(json.dumps({**value, "name": "cam-99"}))


def timestamp_edited(scene: Workshop) -> None:
    edit(metadata(scene, "timestamp"), expires="2040-01-01T00:00:00Z")


def snapshot_edited(scene: Workshop) -> None:
    edit(metadata(scene, "snapshot"), expires="2040-01-01T00:00:00Z")


def targets_edited(scene: Workshop) -> None:
    edit(metadata(scene, "targets"), expires="2040-01-01T00:00:00Z")


def timestamp_cut_short(scene: Workshop) -> None:
    path = metadata(scene, "timestamp")
    path.write_bytes(path.read_bytes()[:-20])


def timestamp_absent(scene: Workshop) -> None:
    metadata(scene, "timestamp").unlink()


def signatures_removed(scene: Workshop) -> None:
    path = metadata(scene, "timestamp")
    value = json.loads(path.read_bytes())
    path.write_text(json.dumps({**value, "signatures": []}))


def signed_by_the_wrong_role(scene: Workshop) -> None:
    keys = scene.depot.keys
    shutil.copyfile(keys / "snapshot.pem", keys / "timestamp.pem")
    open_repository(scene.depot).refresh()


def old_timestamp_key_after_its_rotation(scene: Workshop) -> None:
    keys = scene.depot.keys
    stolen = (keys / "timestamp.pem").read_bytes()
    open_repository(scene.depot).rotate("timestamp")
    (keys / "timestamp.pem").write_bytes(stolen)
    open_repository(scene.depot).refresh()


def another_operator(scene: Workshop) -> None:
    stranger = make_workshop(scene.root / "stranger", NAME)
    stranger.roll_out("evil", 9, now=datetime.now(UTC))
    replaced(scene, stranger.depot.public)


def timestamp_expired(scene: Workshop) -> None:
    """Frozen eight days ago; so does a machine's clock that runs ahead see it."""
    open_repository(scene.depot, datetime.now(UTC) - timedelta(days=8)).refresh()


def targets_expired(scene: Workshop) -> None:
    """Ten years ahead: a daily refresh does not help a list that nobody has signed since."""
    open_repository(scene.depot, datetime.now(UTC) - timedelta(days=3650)).assign({})
    open_repository(scene.depot).refresh()


def clock_stepped_back(scene: Workshop) -> None:
    """The device saw a later time than its clock tells now; all is expired since."""
    floor = scene.home(NAME) / "floor.json"
    later = int((datetime.now(UTC) + timedelta(days=8)).timestamp())
    floor.write_text(json.dumps({**json.loads(floor.read_text()), "clock": later}))


def target_vanished(scene: Workshop) -> None:
    revoke(scene.depot, NAME)


def below_the_floor(scene: Workshop) -> None:
    floor = scene.home(NAME) / "floor.json"
    floor.write_text(json.dumps({**json.loads(floor.read_text()), "counter": 7}))


def self_test_damaged(scene: Workshop) -> None:
    publish(scene.depot, [scene.bundle(NAME, "r3", 3, self_test=b"no safetensors")])
    give(scene, "r3")


def nothing_there(scene: Workshop) -> None:
    shutil.rmtree(scene.depot.public)


ON_FILES: dict[Callable[[Workshop], None], tuple[int, str]] = {
    whole_repository_rolled_back: (22, "older metadata than this device has seen"),
    rolled_back_and_the_cache_lost: (22, "this device has seen"),
    empty_targets_replayed: (22, "this device has seen"),
    old_snapshot_under_a_new_name: (22, "older metadata than this device has seen"),
    old_targets_under_a_new_name: (22, "Expected targets v3, got v1"),
    one_bit_of_the_bundle: (20, "not the bundle that was signed"),
    bundle_cut_short: (30, "ended after"),
    bundle_without_end: (20, "not the bundle that was signed"),
    timestamp_without_end: (30, "cannot reach"),
    bundles_swapped: (20, "not the bundle that was signed"),
    sealed_to_another_device: (21, "does not open as 'cam-01'"),
    signed_under_another_counter: (20, "the repository signed r3, 9"),
    signed_for_another_name: (21, "the bundle is for 'cam-01'; this is 'cam-99'"),
    timestamp_edited: (20, "not to be trusted"),
    snapshot_edited: (20, "not to be trusted"),
    targets_edited: (20, "not to be trusted"),
    timestamp_cut_short: (20, "not to be trusted"),
    timestamp_absent: (30, "no repository at"),
    signatures_removed: (20, "not to be trusted"),
    signed_by_the_wrong_role: (20, "not to be trusted"),
    old_timestamp_key_after_its_rotation: (20, "not to be trusted"),
    another_operator: (20, "not to be trusted"),
    timestamp_expired: (23, "expired"),
    targets_expired: (23, "expired"),
    clock_stepped_back: (23, "expired"),
    target_vanished: (21, "no bundle for this device"),
    below_the_floor: (22, "this device takes 7 or more"),
    self_test_damaged: (50, "self-test is damaged"),
    nothing_there: (30, "no repository at"),
}

SIGNED_ANEW = {
    sealed_to_another_device,
    signed_under_another_counter,
    targets_expired,
    target_vanished,
    self_test_damaged,
}
"""The operator signed something newer, so the operator has to mend it; else a mirror does."""

HARM_THE_DEVICE = {signed_for_another_name, clock_stepped_back, below_the_floor}
LOSE_A_KEY = {signed_by_the_wrong_role, old_timestamp_key_after_its_rotation}


def refused(done: Any, code: int, words: str) -> None:
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("attack", ON_FILES, ids=lambda attack: attack.__name__)
def test_nothing_is_installed(
    prepared: Workshop, scene: Workshop, call_fleet: RunFleet, attack: Callable[[Workshop], None]
) -> None:
    code, words = ON_FILES[attack]
    attack(scene)
    before = running(scene)
    command = ("install", "--home", scene.home(NAME), "--from", scene.url)
    refused(call_fleet(*command), code, words)
    assert running(scene) == before
    if attack in HARM_THE_DEVICE | LOSE_A_KEY:
        return
    if attack in SIGNED_ANEW:
        give(scene, "r2")
    else:
        shutil.rmtree(scene.depot.public, ignore_errors=True)
        shutil.copytree(prepared.depot.public, scene.depot.public)
    assert call_fleet(*command).returncode in {0, 10}
    assert running(scene)[0] == "r2"


def running(scene: Workshop) -> tuple[str | None, dict[str, str]]:
    """What a device runs, and the digests of its slots."""
    device = scene.device(NAME)
    current = device.slots.state().current
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(device.home.glob("slot-*.fleet"))
    }
    return (None if current is None else current.release), files


ON_THE_LINK: dict[str, tuple[dict[str, Any], int, str]] = {
    "a repository that is not there": ({"status": 404}, 30, "no repository at"),
    "an error of the server": ({"status": 500}, 30, "HTTP status 500"),
    "redirections in a circle": ({"status": 302}, 30, "more than 5 redirections"),
    "a page in place of metadata": ({"body": b"<html>log in</html>"}, 20, "not to be trusted"),
    "a server that drips": ({"drip": 0.05}, 30, "too slow"),
    "a bundle that is not served": ({"status": 404, "about": "bundle"}, 30, "does not serve"),
    "redirections of a bundle": ({"status": 302, "about": "bundle"}, 30, "redirections"),
    "a bundle that drips": ({"drip": 0.05, "about": "bundle"}, 30, "too slow"),
    "a link that breaks at one place": ({"cut": 1500, "ranges": False}, 30, "the link broke"),
}


@pytest.mark.parametrize("trouble", ON_THE_LINK)
def test_no_trouble_on_the_link_installs_anything(
    scene: Workshop,
    serve: Serve,
    call_fleet: RunFleet,
    monkeypatch: pytest.MonkeyPatch,
    trouble: str,
) -> None:
    settings, code, words = ON_THE_LINK[trouble]
    monkeypatch.setattr(poll, "TIMEOUT", 0.5)
    server = serve(scene.depot.public)
    usual = {name: getattr(server, name) for name in settings}
    for name, value in settings.items():
        setattr(server, name, value)
    before = running(scene)
    command = ("install", "--home", scene.home(NAME), "--from", server.url)
    refused(call_fleet(*command), code, words)
    assert running(scene) == before
    for name, value in usual.items():
        setattr(server, name, value)
    assert call_fleet(*command).returncode == 0
    assert running(scene)[0] == "r2"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:9", "cannot reach"),
        ("updates.example.com/fleet", "begins with http, https or file"),
        ("ftp://updates.example.com", "begins with http, https or file"),
        ("http://", "begins with http, https or file"),
    ],
)
def test_no_such_address(scene: Workshop, call_fleet: RunFleet, url: str, words: str) -> None:
    before = running(scene)
    refused(call_fleet("install", "--home", scene.home(NAME), "--from", url), 30, words)
    assert running(scene) == before


@pytest.mark.parametrize(("years", "code"), [(-56, 0), (10, 23)])
def test_a_clock_that_is_wrong(
    scene: Workshop,
    call_fleet: RunFleet,
    monkeypatch: pytest.MonkeyPatch,
    years: int,
    code: int,
) -> None:
    """At 1970 the device goes on from the latest time it saw; years ahead, all is expired."""
    seen = scene.device(NAME).slots.floor().clock
    told = datetime.now(UTC) + timedelta(days=365 * years)

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return told

    command = ("install", "--home", scene.home(NAME), "--from", scene.url)
    monkeypatch.setattr(device_side, "datetime", Wrong)
    done = call_fleet(*command)
    assert done.returncode == code, done.stderr
    assert scene.device(NAME).slots.floor().clock == seen
    monkeypatch.undo()
    assert call_fleet(*command).returncode == (0 if code else 10)
    assert running(scene)[0] == "r2"


def test_a_second_installer_is_sent_away(scene: Workshop, call_fleet: RunFleet) -> None:
    command = ("install", "--home", scene.home(NAME), "--from", scene.url)
    with locked(scene.home(NAME), "install"):
        refused(call_fleet(*command), 2, "another fleet command is writing")
    assert call_fleet(*command).returncode == 0


def test_a_policy_that_is_not_met(scene: Workshop, call_fleet: RunFleet) -> None:
    command = ("install", "--home", scene.home(NAME), "--from", scene.url)
    before = running(scene)
    done = call_fleet(*command, "--require", "certified>=0.9@0.1")
    refused(done, 2, "this device asks for certified>=0.9@0.1; release r2 says nothing about it")
    refused(call_fleet(*command, "--require", "nonsense"), 2, "is no requirement")
    assert running(scene) == before
    assert call_fleet(*command, "--require", "accuracy>=0.9").returncode == 0


@pytest.mark.parametrize("damage", [b"", b"{", b"\0" * 100, None])
def test_damaged_metadata_of_the_device_cost_a_download(
    scene: Workshop, call_fleet: RunFleet, damage: bytes | None
) -> None:
    for path in sorted((scene.home(NAME) / "tuf").rglob("*.json")):
        path.unlink()
        if damage is not None:
            path.write_bytes(damage)
    command = ("install", "--home", scene.home(NAME), "--from", scene.url)
    assert call_fleet(*command).returncode == 0
    assert running(scene)[0] == "r2"


@pytest.fixture
def full(scene: Workshop, small_disk: Path) -> Callable[[int], Path]:
    """Move the device to a real disk of one MiB, and fill all but some KiB of it."""

    def fill(left: int) -> Path:
        home = small_disk / "home"
        shutil.copytree(scene.home(NAME), home)
        filler = small_disk / "filler"
        with filler.open("wb") as stream:
            free = shutil.disk_usage(small_disk).free
            stream.write(b"x" * max(0, free - left * 1024))
        return home

    return fill


@pytest.mark.parametrize(
    ("left", "where"),
    [(0, "tuf"), (4, "download.part"), (16, "slot-b.fleet"), (28, "state.json")],
)
def test_a_full_disk_at_each_stage(
    scene: Workshop, call_fleet: RunFleet, full: Callable[[int], Path], left: int, where: str
) -> None:
    home = full(left)
    shutil.rmtree(scene.home(NAME))
    scene.home(NAME).symlink_to(home)
    command = ("install", "--home", home, "--from", scene.url)
    refused(call_fleet(*command), 40, f"cannot write {home / where}: No space left on device")
    assert running(scene)[0] == "r1"
    (home.parent / "filler").unlink()
    assert call_fleet(*command).returncode == 0
    assert running(scene)[0] == "r2"


ON_THE_OPERATOR: dict[str, tuple[Callable[[Workshop], tuple[Any, ...]], int, str]] = {
    "a bundle that nobody sealed": (
        lambda s: ("publish", s.bundle(NAME, "r9", 9, recipient=None)), 2, "is not sealed"
    ),
    "a damaged bundle": (lambda s: ("publish", damaged(s)), 2, "r9.fleet"),
    "a counter that was used": (
        lambda s: ("publish", s.bundle(NAME, "r9", 2)), 2, "counter 2 is not above 2"
    ),
    "a release that is there": (
        lambda s: ("publish", s.bundle(NAME, "r2", 9)), 2, "published already"
    ),
    "a bundle sealed to a stranger's key": (
        lambda s: ("publish", s.bundle(NAME, "r9", 9, recipient=("beef", b"\1" * 32))),
        2,
        "sealed to another key",
    ),
    "the keys of another device": (lambda s: ("enroll", copied_keys(s)), 2, "has the keys of"),
    "other keys of an enrolled device": (lambda s: ("enroll", other_keys(s)), 2, "other keys"),
    "a report that nobody signed": (
        lambda s: ("rollout", "receive", report(s, "status", "trial")), 20, "did not sign"
    ),
    "a report of a stranger": (
        lambda s: ("rollout", "receive", report(s, "id", "0" * 16)), 20, "no enrolled device"
    ),
    "a report that is none": (
        lambda s: ("rollout", "receive", text(s, '{"signed": []}')), 20, "no enrolled device"
    ),
    "a report of a revoked device": (
        lambda s: ("rollout", "receive", report_of_a_revoked(s)), 20, "no enrolled device"
    ),
    "a rollout that has ended": (lambda s: ("rollout", "resume", "r2"), 2, "is cancelled"),
    "a release that nobody published": (
        lambda s: ("rollout", "start", "r9"), 2, "no release 'r9'"
    ),
    "a second depot over the first": (lambda s: ("keys", "init"), 2, "a repository already"),
    "a role that is none": (lambda s: ("keys", "rotate", "mirror"), 2, "none of root, targets"),
    "a key that others may read": (lambda s: ("repo", "refresh", *opened(s)), 2, "read by others"),
}  # fmt: skip


def damaged(scene: Workshop) -> Path:
    path = scene.bundle(NAME, "r9", 9)
    path.write_bytes(path.read_bytes()[:-700])
    return path


def copied_keys(scene: Workshop) -> Path:
    value = json.loads((scene.home(NAME) / "device.json").read_text())
    return text(scene, json.dumps({**value, "name": "cam-03"}))


def other_keys(scene: Workshop) -> Path:
    return device_home(scene, "homes-of-others") / "device.json"


def device_home(scene: Workshop, place: str) -> Path:
    home = scene.root / place / NAME
    device_side.init_device(home, NAME)
    return home


def report(scene: Workshop, field: str, value: Any) -> Path:
    found = device_side.report(scene.device(NAME))
    found["signed"][field] = value
    return text(scene, json.dumps(found))


def report_of_a_revoked(scene: Workshop) -> Path:
    found = device_side.report(scene.device(NAME))
    revoke(scene.depot, NAME)
    return text(scene, json.dumps(found))


def text(scene: Workshop, content: str) -> Path:
    path = scene.root / "given.json"
    path.write_text(content)
    return path


def opened(scene: Workshop) -> tuple[()]:
    (scene.depot.keys / "timestamp.pem").chmod(0o644)
    return ()


@pytest.mark.parametrize("mistake", ON_THE_OPERATOR)
def test_the_depot_stays_as_it_was(scene: Workshop, call_fleet: RunFleet, mistake: str) -> None:
    words, code, message = ON_THE_OPERATOR[mistake]
    command = words(scene)
    before = contents(scene.depot.root)
    done = call_fleet(*command, "--depot", scene.depot.root)
    assert done.returncode == code, done.stderr
    assert message in " ".join(done.stderr.replace("│", "").split())
    assert "Traceback" not in done.stderr
    assert contents(scene.depot.root) == before


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_directory_of_several_releases_is_published_by_name_and_status_says_what_is_missing(
    scene: Workshop, call_fleet: RunFleet
) -> None:
    dist, depot = scene.bundle(NAME, "r3", 3).parent, ("--depot", scene.depot.root)
    scene.bundle(NAME, "r4", 4)
    refused(call_fleet("publish", dist, *depot), 2, "--release NAME")
    refused(call_fleet("publish", dist, "-r", "r5", *depot), 2, "no bundles of release r5")
    done = call_fleet("publish", dist, "--release", "r3", *depot)
    assert done.returncode == 0, done.stderr
    assert call_fleet("rollout", "start", "r3", "--waves", "100%", *depot).returncode == 0
    assert "not yet: 0 devices of the wave" in call_fleet("rollout", "status", *depot).stderr
