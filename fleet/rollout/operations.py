"""The operator's side: publish bundles, start and advance waves, take back, revoke."""

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fleet.audit.transfer.result import TransferAudit
from fleet.bundle import Envelope, verify_bundle
from fleet.errors import RolloutError, StorageError
from fleet.files import make_directory, storage_error, write_bytes, write_json
from fleet.rollout.depot import Depot, read_record
from fleet.rollout.keys import Enrolment
from fleet.rollout.reports import Report, newest
from fleet.rollout.repository import Assignment, Repository
from fleet.rollout.waves import Decision, Policy, Rollout, decide, parse_waves, plan_waves

RELEASE_FORMAT = "fleet-release/1"


@dataclass(frozen=True)
class Published:
    """One device's bundle of a release.

    Attributes:
        name: Device name.
        file: Name of the bundle when it was published.
        assignment: Where it lies in the repository.
        transfer: Largest audited transfer rate, or None where there is no audit.
    """

    name: str
    file: str
    assignment: Assignment
    transfer: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "device": self.name,
            "file": self.file,
            "transfer": self.transfer,
            **vars(self.assignment),
        }


def open_repository(depot: Depot, now: datetime | None = None) -> Repository:
    """The depot's repository, to sign."""
    return Repository(depot.public, depot.keys, now)


def init_depot(depot: Depot, now: datetime | None = None) -> Path:
    """Make keys and an empty repository.

    Returns:
        ``DEPOT/root.json``, which every device has to trust.

    Raises:
        RolloutError: There is a repository already.
    """
    with depot.writing():
        repository = open_repository(depot, now)
        repository.create()
        path = depot.root / "root.json"
        write_bytes(path, repository.newest_root())
        depot.note("init")
    return path


def publish(depot: Depot, bundles: Sequence[Path]) -> list[Published]:
    """Put sealed bundles into the repository; no device sees them before a wave.

    Args:
        depot: Where to.
        bundles: Version-2 bundles of one release.

    Raises:
        RolloutError: A bundle is damaged, unsealed, of an unknown or revoked device, sealed to
            another key, of a counter that was used, or two are of different releases.
    """
    with depot.writing():
        devices, found = depot.enrolled(), []
        for path in bundles:
            envelope = _publishable(path, devices)
            found.append((path, envelope, devices[envelope.device]))
        releases = sorted({envelope.release for _, envelope, _ in found})
        if len(releases) != 1:
            raise RolloutError(
                f"bundles of {len(releases)} releases: {', '.join(releases) or 'none'}",
                hint="publish one release at a time: `fleet publish DIR --release NAME`",
            )
        record = depot.release(releases[0])
        if record.exists():
            raise RolloutError(
                f"release {releases[0]} is published already", hint="package it under another name"
            )
        _check_counters(depot, {envelope.device: envelope.counter for _, envelope, _ in found})
        published = [_store(depot, *item) for item in found]
        os.sync()  # once for all: 1,000 files synced one by one take 20 seconds
        write_json(
            record,
            {
                "format": RELEASE_FORMAT,
                "release": releases[0],
                "bundles": [entry.to_dict() for entry in published],
            },
        )
        depot.note("publish", release=releases[0], devices=len(published))
    return published


def read_release(depot: Depot, release: str) -> dict[str, Published]:
    """Bundles of a published release by device name.

    Raises:
        RolloutError: It was never published.
    """
    value = read_record(
        depot.release(release), f"release {release!r}", "`fleet publish` puts one into the depot"
    )
    found = {}
    for entry in value["bundles"]:
        assignment = Assignment(
            entry["id"], entry["release"], entry["counter"], entry["length"], entry["sha256"]
        )
        found[entry["device"]] = Published(
            entry["device"], entry["file"], assignment, entry["transfer"]
        )
    return found


def plan_rollout(
    depot: Depot, release: str, waves: str, policy: Policy, canaries: Sequence[str] = ()
) -> Rollout:
    """Work out the waves of a release; writes nothing.

    Raises:
        RolloutError: The release is unknown, or the waves are not as they have to be.
    """
    bundles, enrolled = read_release(depot, release), depot.enrolled()
    ids = {
        name: entry.assignment.id
        for name, entry in bundles.items()
        if name in enrolled and not enrolled[name].revoked
    }
    return Rollout(release, plan_waves(parse_waves(waves), ids, release, canaries), policy)


def start_rollout(depot: Depot, rollout: Rollout, now: datetime | None = None) -> Rollout:
    """Expose the first wave.

    Raises:
        RolloutError: Another rollout is on its way, or this release had one already.
    """
    with depot.writing():
        running = [r.release for r in rollouts(depot) if r.phase in ("running", "paused")]
        if running:
            raise RolloutError(
                f"the rollout of {running[0]} is on its way",
                hint=f"`fleet rollout cancel {running[0]}` first, or advance it to its end",
            )
        if depot.rollout(rollout.release).exists():
            raise RolloutError(f"release {rollout.release} had a rollout already")
        given = open_repository(depot).assignments()
        names = {e.assignment.id: n for n, e in read_release(depot, rollout.release).items()}
        previous = {
            names[i]: a.release
            for i, a in given.items()
            if i in names and a.release != rollout.release
        }
        return _expose(depot, replace(rollout, previous=previous), now)


def load_rollout(depot: Depot, release: str | None = None) -> Rollout:
    """Read a rollout: of ``release``, or the one that is on its way, or the newest.

    Raises:
        RolloutError: There is none.
    """
    if release is not None:
        hint = "`fleet rollout start` begins one"
        return Rollout.from_dict(
            read_record(depot.rollout(release), f"rollout of {release!r}", hint)
        )
    found = rollouts(depot)
    active = [r for r in found if r.phase in ("running", "paused")] or found[-1:]
    if not active:
        raise RolloutError("there is no rollout here", hint="`fleet rollout start RELEASE`")
    return active[0]


def rollouts(depot: Depot) -> list[Rollout]:
    """Every rollout of the depot, the one whose newest wave is oldest first."""
    paths = (depot.root / "rollouts").glob("*.json")
    found = [Rollout.from_dict(read_record(path, "rollout", "")) for path in paths]
    return sorted(found, key=lambda rollout: (rollout.since, rollout.release))


def judge(depot: Depot, rollout: Rollout, now: datetime | None = None) -> Decision:
    """Judge the newest wave from reports and audits in the depot; revoked devices are no part."""
    present = {name: e for name, e in depot.enrolled().items() if not e.revoked}
    waves = tuple(tuple(name for name in wave if name in present) for wave in rollout.waves)
    left = replace(rollout, waves=waves)
    reports: dict[str, Report | None] = {
        name: newest(depot, name, present[name]) for name in left.members
    }
    bundles = read_release(depot, rollout.release)
    transfer = {name: bundles[name].transfer for name in left.members}
    return decide(left, reports, _seconds(now), transfer)


def advance(depot: Depot, rollout: Rollout, now: datetime | None = None) -> Rollout:
    """Expose the next wave, or complete the rollout.

    Raises:
        RolloutError: The gate says no; the message holds every reason.
    """
    with depot.writing():
        rollout = load_rollout(depot, rollout.release)  # another command may have changed it
        decision = judge(depot, rollout, now)
        if not decision.go:
            raise RolloutError(
                f"the rollout of {rollout.release} does not advance: {'; '.join(decision.reasons)}",
                hint="`fleet rollout cancel` leaves updated devices as they are, "
                "`fleet rollout rollback` gives every device its previous release"
                if decision.stop
                else "wait for reports (`fleet rollout receive`), then try again",
            )
        if rollout.exposed == len(rollout.waves):
            return _save(depot, replace(rollout, phase="complete"), "complete")
        return _expose(depot, rollout, now)


def set_phase(depot: Depot, rollout: Rollout, phase: str) -> Rollout:
    """Pause, resume or cancel a rollout; devices that have the release keep it.

    Raises:
        RolloutError: It has ended already.
    """
    with depot.writing():
        rollout = load_rollout(depot, rollout.release)
        if rollout.phase not in ("running", "paused"):
            raise RolloutError(f"the rollout of {rollout.release} is {rollout.phase}")
        return _save(depot, replace(rollout, phase=phase), phase)  # type: ignore[arg-type]


def take_back(depot: Depot, rollout: Rollout, now: datetime | None = None) -> list[str]:
    """Give every device of the rollout what it had before, under newer metadata.

    A device that had nothing before keeps the release: it has nothing to go back to.

    Returns:
        Names of the devices that are given an older bundle.

    Raises:
        RolloutError: It was taken back already, or no device had anything before.
    """
    with depot.writing():
        rollout = load_rollout(depot, rollout.release)
        if rollout.phase == "rolled-back":
            raise RolloutError(f"the rollout of {rollout.release} was taken back already")
        enrolled = depot.enrolled()
        old = {
            name: read_release(depot, rollout.previous[name])[name].assignment
            for name in rollout.members
            if name in rollout.previous and not enrolled[name].revoked
        }
        if not old:
            raise RolloutError(
                f"no device had a release before {rollout.release}",
                hint="publish a mended release under a higher counter",
            )
        open_repository(depot, now).assign({a.id: a for a in old.values()})
        _save(depot, replace(rollout, phase="rolled-back"), "rollback")
    return sorted(old)


def revoke(depot: Depot, name: str, now: datetime | None = None) -> Enrolment:
    """Take a device off: no bundle, and its reports count for nothing.

    Raises:
        RolloutError: No such device is enrolled.
    """
    with depot.writing():
        enrolment = _enrolled(depot, name)
        revoked = replace(enrolment, revoked=True)
        write_json(depot.device(name), revoked.to_dict())
        open_repository(depot, now).assign({enrolment.id: None})
        depot.note("revoke", device=name, id=enrolment.id)
    return revoked


def export_media(depot: Depot, target: Path, names: Sequence[str] = ()) -> int:
    """Copy the repository to a stick: metadata, and the bundles of some devices or of all.

    Args:
        depot: Whose repository.
        target: Directory; devices install from ``file://TARGET``.
        names: Device names; all if empty.

    Returns:
        Number of bundles copied.

    Raises:
        RolloutError: A device is not enrolled.
        StorageError: It cannot be written.
    """
    wanted = {_enrolled(depot, name).id for name in names}
    given = open_repository(depot).assignments().values()
    chosen = [a for a in given if not wanted or a.id in wanted]
    try:
        # Targets first: whoever pulls the stick out early has old metadata, and no missing files.
        for assignment in chosen:
            source = depot.public / "targets" / assignment.file
            make_directory((target / "targets" / assignment.file).parent)
            shutil.copyfile(source, target / "targets" / assignment.file)
        make_directory(target / "metadata")
        files = sorted((depot.public / "metadata").iterdir())
        for path in sorted(files, key=lambda path: path.name == "timestamp.json"):
            shutil.copyfile(path, target / "metadata" / path.name)
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror or error}") from error
    return len(chosen)


@dataclass(frozen=True)
class Exposure:
    """What one extracted device is worth against another, from the transfer audit.

    Attributes:
        device: The other device.
        n: Images that it decodes correctly without an attack.
        evade: Share of them that images made on the extracted device evade, adaptive worst case.
    """

    device: str
    n: int
    evade: float


def exposures(audit: Path, burnt: str, eps: float | None = None) -> tuple[float, list[Exposure]]:
    """Read off a transfer audit what an extracted device gives against the others.

    Args:
        audit: ``audit.json`` of a transfer audit.
        burnt: The extracted device.
        eps: Which eps; the largest by default.

    Returns:
        The eps, and the others, the most exposed first: the order in which to replace them.

    Raises:
        AuditError: There is no such audit, or it is damaged.
        RolloutError: It does not hold the device or the eps.
    """
    found = TransferAudit.load(audit)
    names = [device.name for device in found.devices]
    chosen = found.eps[-1] if eps is None else min(found.eps, key=lambda e: abs(e - eps))
    if burnt not in names or (eps is not None and abs(chosen - eps) > 1e-9):
        raise RolloutError(
            f"the audit {audit} holds no {burnt!r} at this eps",
            hint=f"it holds {', '.join(names)} at eps {', '.join(f'{e:g}' for e in found.eps)}",
        )
    others = [
        Exposure(cell.victim, cell.outcome.n, cell.outcome.evade / cell.outcome.n)
        for cell in found.matrix("adaptive", chosen).cells
        if cell.surrogate == burnt != cell.victim and cell.victim in found.fleet and cell.outcome.n
    ]
    return chosen, sorted(others, key=lambda exposure: -exposure.evade)


def _publishable(path: Path, devices: Mapping[str, Enrolment]) -> Envelope:
    verification = verify_bundle(path)
    envelope = verification.envelope
    if not verification.ok:
        raise RolloutError(f"{path}: {verification.checks[-1].detail}", hint="package it again")
    if envelope is None or envelope.seal == "none":
        raise RolloutError(
            f"{path} is not sealed: whoever fetches it could read its encoding and weights",
            hint="`fleet package --depot DEPOT` seals bundles to enrolled devices",
        )
    enrolment = devices.get(envelope.device)
    if enrolment is None or enrolment.revoked or envelope.recipient != enrolment.id:
        state = "revoked" if enrolment is not None and enrolment.revoked else "not enrolled here"
        reason = state if enrolment is None or enrolment.revoked else "sealed to another key"
        raise RolloutError(f"{path}: {envelope.device} is {reason}", hint="`fleet enroll` it")
    return envelope


def _check_counters(depot: Depot, counters: Mapping[str, int]) -> None:
    """A counter belongs to one release of a device for ever."""
    for path in sorted((depot.root / "releases").glob("*.json")):
        for name, entry in read_release(depot, path.stem).items():
            if counters.get(name, entry.assignment.counter + 1) <= entry.assignment.counter:
                raise RolloutError(
                    f"{name}: counter {counters[name]} is not above {entry.assignment.counter} of "
                    f"release {entry.assignment.release}",
                    hint="package the release again with a higher --counter",
                )


def _store(depot: Depot, bundle: Path, envelope: Envelope, enrolment: Enrolment) -> Published:
    data = bundle.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    assignment = Assignment(enrolment.id, envelope.release, envelope.counter, len(data), digest)
    path = depot.public / "targets" / assignment.file
    try:
        make_directory(path.parent)
        temporary = path.with_suffix(".new")
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        raise storage_error(path, error) from error
    rows = (envelope.public.get("audit") or {}).get("rows", [])
    transfer = max((float(row["transfer_evade"]) for row in rows), default=None)
    return Published(envelope.device, bundle.name, assignment, transfer)


def _expose(depot: Depot, rollout: Rollout, now: datetime | None) -> Rollout:
    wave = rollout.waves[rollout.exposed]
    bundles, enrolled = read_release(depot, rollout.release), depot.enrolled()
    given = {
        bundles[name].assignment.id: bundles[name].assignment
        for name in wave
        if not enrolled[name].revoked
    }
    new = replace(rollout, exposed=rollout.exposed + 1, since=_seconds(now))
    # A cut between the two leaves a wave that is not recorded; the same command records it.
    open_repository(depot, now).assign(given)
    return _save(depot, new, f"wave {new.exposed} of {len(new.waves)}")


def _save(depot: Depot, rollout: Rollout, action: str) -> Rollout:
    write_json(depot.rollout(rollout.release), rollout.to_dict())
    depot.note("rollout", release=rollout.release, step=action)
    return rollout


def _enrolled(depot: Depot, name: str) -> Enrolment:
    enrolled = depot.enrolled()
    if name not in enrolled:
        raise RolloutError(
            f"{name} is not enrolled here",
            hint=f"enrolled are {', '.join(enrolled) or 'none'}; `fleet enroll` adds one",
        )
    return enrolled[name]


def _seconds(now: datetime | None) -> int:
    return int((now or datetime.now(UTC)).timestamp())
