"""The operator's directory: keys, enrolled devices, the public repository, releases and reports.

::

    DEPOT/
      keys/ROLE.pem            signing keys of the repository (0600); root.pem belongs offline
      devices/NAME.json        enrolled devices: public keys, whether revoked
      public/                  what any HTTP server, or a USB stick, serves: metadata/ and targets/
      releases/RELEASE.json    published bundles
      rollouts/RELEASE.json    waves, and how far they are
      reports/NAME.json        the newest signed report of each device
      log.jsonl                what was done, one line each, only ever appended
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fleet.errors import RolloutError
from fleet.files import locked, make_directory, storage_error, write_json
from fleet.rollout.keys import Enrolment, read_enrolment


@dataclass(frozen=True)
class Depot:
    """Paths and records of one depot; creates nothing by itself."""

    root: Path

    @property
    def keys(self) -> Path:
        """Directory of the signing keys."""
        return self.root / "keys"

    @property
    def public(self) -> Path:
        """What is served."""
        return self.root / "public"

    def device(self, name: str) -> Path:
        """Record of an enrolled device."""
        return self.root / "devices" / f"{name}.json"

    def release(self, name: str) -> Path:
        """Record of a published release."""
        return self.root / "releases" / f"{name}.json"

    def rollout(self, release: str) -> Path:
        """Record of a release's waves."""
        return self.root / "rollouts" / f"{release}.json"

    def report(self, name: str) -> Path:
        """Newest report of a device."""
        return self.root / "reports" / f"{name}.json"

    def enrolled(self) -> dict[str, Enrolment]:
        """Every enrolled device by name, revoked ones included."""
        files = sorted((self.root / "devices").glob("*.json"))
        found = [read_enrolment(path) for path in files]
        return {enrolment.name: enrolment for enrolment in found}

    def enrol(self, enrolment: Enrolment) -> None:
        """Record a device.

        Raises:
            RolloutError: Another device of this name, or with these keys, is there.
        """
        known = self.enrolled()
        twins = [name for name, other in known.items() if other.seal_key == enrolment.seal_key]
        present = known.get(enrolment.name)
        if present is not None and present.id != enrolment.id and not present.revoked:
            raise RolloutError(
                f"{enrolment.name} is enrolled with other keys",
                hint=f"`fleet rollout revoke {enrolment.name}` first, if the old device is gone",
            )
        if any(name != enrolment.name for name in twins):
            raise RolloutError(
                f"{enrolment.name} has the keys of {twins[0]}",
                hint="`fleet device init` on each device; keys are never copied",
            )
        write_json(self.device(enrolment.name), enrolment.to_dict())
        self.note("enrol", device=enrolment.name, id=enrolment.id)

    def note(self, action: str, **details: Any) -> None:
        """Append one line to the log."""
        line = {"time": datetime.now().astimezone().isoformat(), "action": action, **details}
        path = self.root / "log.jsonl"
        try:
            with path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line, sort_keys=True) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise storage_error(path, error) from error

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the depot: one command writes at a time.

        Raises:
            CheckpointError: Another command holds it.
        """
        make_directory(self.root, mode=0o700)
        with locked(self.root, "rollout command"):
            yield


def read_record(path: Path, what: str, hint: str) -> dict[str, Any]:
    """Read a JSON record of a depot or of a device.

    Raises:
        RolloutError: It is absent or damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RolloutError(f"no {what} at {path}: {reason}", hint=hint) from error
    if not isinstance(value, dict):
        raise RolloutError(f"{path} is not a JSON object", hint=hint)
    return value
