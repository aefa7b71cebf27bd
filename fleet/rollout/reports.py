"""Devices' reports about themselves: a report counts only if it is signed and numbered."""

from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from fleet.errors import RolloutError, SignatureError
from fleet.files import write_json
from fleet.rollout.depot import Depot, read_record
from fleet.rollout.keys import Enrolment, Identity, sign_json, verify_json
from fleet.rollout.slots import State

Status = Literal["committed", "trial", "empty"]
FORMAT = "fleet-report/1"
LONGEST_ERROR = 500
"""Characters of a reason that a report carries."""


@dataclass(frozen=True)
class Report:
    """One device's report.

    Attributes:
        id: Opaque name of the device.
        release: The release that runs, or None.
        counter: Its counter.
        status: What that is: ``committed``; ``trial`` before the commit; ``empty``: nothing.
        error: Why the last install or trial failed, or None.
        sequence: Number of the device's state changes, which never falls.
        clock: The device's clock, UTC, ISO 8601.
        failed: The release whose install or trial failed; None if none did, or if it was not
            reached: a device without a network says nothing about a release.
    """

    id: str
    release: str | None
    counter: int
    status: Status
    error: str | None
    sequence: int
    clock: str
    failed: str | None = None

    def __post_init__(self) -> None:
        """Check types and bounds: a device that was read out can sign anything.

        Raises:
            ValueError: Something is no report's.
        """
        for number in (self.counter, self.sequence):
            if type(number) is not int or not 0 <= number < 2**53:
                raise ValueError("a number is out of bounds")
        texts = [self.id, self.clock]
        texts += [text for text in (self.release, self.error, self.failed) if text is not None]
        for text in texts:
            if not (isinstance(text, str) and len(text) <= LONGEST_ERROR and text.isprintable()):
                raise ValueError("a text is none, too long, or not printable")
        if self.status not in get_args(Status):
            raise ValueError("its status is unknown")


def make_report(identity: Identity, state: State, clock: datetime) -> dict[str, Any]:
    """Describe a device's state, signed with its key; a JSON object."""
    current = state.current
    running: Status = "committed" if state.pending is None else "trial"
    report = Report(
        identity.enrolment.id,
        None if current is None else current.release,
        0 if current is None else current.counter,
        "empty" if current is None else running,
        None if state.error is None else _plain(state.error),
        state.sequence,
        clock.isoformat(timespec="seconds"),
        state.failed,
    )
    return sign_json({"format": FORMAT, **asdict(report)}, identity.sign_key)


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:LONGEST_ERROR])


def read_report(value: dict[str, Any], enrolment: Enrolment) -> Report:
    """Check who signed a report, and read it.

    Raises:
        SignatureError: This device did not sign it, or it is not of this format.
    """
    signed = verify_json(value, enrolment)
    try:
        if signed.pop("format") != FORMAT or signed["id"] != enrolment.id:
            raise ValueError("it is of another format or another device")
        return Report(**signed)
    except (KeyError, TypeError, ValueError) as error:
        raise SignatureError(f"{enrolment.name}: this is no report: {error}") from error


def receive(depot: Depot, path: Path) -> tuple[str, Report]:
    """Take a device's report into the depot; the newest of each device is kept.

    Returns:
        The device's name and its report.

    Raises:
        SignatureError: No enrolled device signed it.
        RolloutError: It is older than the one that is there: a replay, or out of order.
    """
    value = read_record(path, "report", "`fleet device report` on the device writes one")
    signed = value.get("signed")
    for name, enrolment in depot.enrolled().items():
        if enrolment.revoked or not isinstance(signed, dict) or signed.get("id") != enrolment.id:
            continue
        report = read_report(value, enrolment)
        known = newest(depot, name, enrolment)
        if known is not None and report.sequence < known.sequence:
            raise RolloutError(
                f"{path} is older than the report of {name} that is here "
                f"(number {report.sequence} against {known.sequence})",
                hint="an old report proves nothing; ask the device for a new one",
            )
        write_json(depot.report(name), value)
        details = {"status": report.status, "release": report.release, "failed": report.failed}
        depot.note("report", device=name, **details)
        return name, report
    raise SignatureError(
        f"{path} is of no enrolled device", hint="`fleet enroll` the device first, or it is revoked"
    )


def newest(depot: Depot, name: str, enrolment: Enrolment) -> Report | None:
    """Newest report of a device, or None if it never sent one."""
    path = depot.report(name)
    if not path.exists():
        return None
    return read_report(read_record(path, "report", "ask the device for a new one"), enrolment)
