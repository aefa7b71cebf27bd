"""The signed repository (TUF): static files that tell each device which bundle is its own.

One flat list of targets, one path for each device, ``devices/ID/bundle``. Consistent snapshots keep
every published bundle under the digest of its content, so that going back to an old release takes
one more signature and no upload. Roles and their lives: root 1 year, targets 90 days, snapshot 30
days, timestamp 7 days. Whoever steals snapshot and timestamp keys can freeze devices until the
timestamp expires, and can give them nothing new.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from fleet.errors import RolloutError
from fleet.files import write_bytes
from fleet.rollout.keys import ROLES, Role, load_role_key, make_role_key

LIVES: dict[Role, timedelta] = {
    "root": timedelta(days=365),
    "targets": timedelta(days=90),
    "snapshot": timedelta(days=30),
    "timestamp": timedelta(days=7),
}

_KINDS: dict[Role, Callable[..., Signed]] = {
    "root": Root,
    "targets": Targets,
    "snapshot": Snapshot,
    "timestamp": Timestamp,
}


@dataclass(frozen=True)
class Assignment:
    """Which bundle a device gets.

    Attributes:
        id: Opaque name of the device.
        release: Release name.
        counter: Counter of the release.
        length: Bytes of the bundle.
        sha256: Digest of the bundle.
    """

    id: str
    release: str
    counter: int
    length: int
    sha256: str

    @property
    def path(self) -> str:
        """Path of the target."""
        return target_path(self.id)

    @property
    def file(self) -> str:
        """Path of the file below ``targets/``."""
        return f"devices/{self.id}/{self.sha256}.bundle"


def target_path(device_id: str) -> str:
    """Path of a device's one target."""
    return f"devices/{device_id}/bundle"


class Repository:
    """Signs and reads the metadata of one repository.

    Args:
        public: The served directory, with ``metadata/`` and ``targets/``.
        keys: Directory of the signing keys; a role that is not signed needs no key here.
        now: The time; the present by default.
    """

    def __init__(self, public: Path, keys: Path, now: datetime | None = None) -> None:
        self.metadata, self.targets = public / "metadata", public / "targets"
        self._keys, self._now = keys, now or datetime.now(UTC)

    def create(self) -> None:
        """Make keys for all roles and the first version of each role's metadata.

        Raises:
            RolloutError: There is a repository or a key already.
        """
        if (self.metadata / "timestamp.json").exists():
            raise RolloutError(f"{self.metadata} holds a repository already")
        root = Root(consistent_snapshot=True)
        for role in ROLES:
            root.add_key(CryptoSigner(make_role_key(self._keys, role)).public_key, role)
        root.expires = self._expires("root")
        self._write("root", root)
        self._write("targets", self._fresh("targets", Targets()))
        self._publish_snapshot(1, first=True)

    def assignments(self) -> dict[str, Assignment]:
        """What each device is given now, by its opaque name."""
        found = {}
        for target in cast(Targets, self._read("targets")).targets.values():
            custom = target.custom or {}
            assignment = Assignment(
                custom["id"],
                custom["release"],
                custom["counter"],
                target.length,
                target.hashes["sha256"],
            )
            found[assignment.id] = assignment
        return found

    def assign(self, assignments: Mapping[str, Assignment | None]) -> None:
        """Give devices bundles; None takes a device off the list.

        Args:
            assignments: By opaque name; devices that are not named keep what they have.

        Raises:
            RolloutError: A bundle's file is not in the repository, or a key cannot be used.
        """
        targets = cast(Targets, self._read("targets"))
        for device, assignment in assignments.items():
            targets.targets.pop(target_path(device), None)
            if assignment is not None:
                targets.targets[assignment.path] = self._target(assignment)
        targets.version += 1
        targets.expires = self._expires("targets")
        self._write("targets", targets)
        self._publish_snapshot(targets.version)

    def refresh(self) -> None:
        """Sign the timestamp anew, and the snapshot if less than half of its life is left.

        Raises:
            RolloutError: A key cannot be used.
        """
        snapshot = cast(Snapshot, self._read("snapshot"))
        if snapshot.expires - self._now < LIVES["snapshot"] / 2:
            self._publish_snapshot(snapshot.meta["targets.json"].version)
        else:
            self._publish_timestamp(snapshot.version)

    def rotate(self, role: Role) -> None:
        """Replace a role's key by a new one, signed by the old root (and by the new one for root).

        The old key is kept as ``ROLE.pem.old`` until the operator destroys it.

        Raises:
            RolloutError: A key cannot be used.
        """
        root = cast(Root, self._read("root"))
        signers = [self._signer("root")]
        old = self._keys / f"{role}.pem"
        old.rename(old.with_suffix(".pem.old"))
        new = CryptoSigner(make_role_key(self._keys, role))
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        root.add_key(new.public_key, role)
        root.version += 1
        root.expires = self._expires("root")
        if role == "root":
            signers.append(new)
        self._write("root", root, signers)
        if role != "root":
            targets = cast(Targets, self._read("targets"))
            targets.version += 1
            targets.expires = self._expires("targets")
            self._write("targets", targets)
            self._publish_snapshot(targets.version)

    def newest_root(self) -> bytes:
        """The root metadata that a new device starts from."""
        return self._newest("root").read_bytes()

    def expiries(self) -> dict[Role, datetime]:
        """When each role's metadata expires."""
        return {role: self._read(role).expires for role in ROLES}

    def _publish_snapshot(self, targets_version: int, *, first: bool = False) -> None:
        version = 1 if first else self._read("snapshot").version + 1
        snapshot = Snapshot(version, meta={"targets.json": MetaFile(targets_version)})
        self._write("snapshot", self._fresh("snapshot", snapshot))
        self._publish_timestamp(version, first=first)

    def _publish_timestamp(self, snapshot_version: int, *, first: bool = False) -> None:
        version = 1 if first else self._read("timestamp").version + 1
        timestamp = Timestamp(version, snapshot_meta=MetaFile(snapshot_version))
        self._write("timestamp", self._fresh("timestamp", timestamp))

    def _target(self, assignment: Assignment) -> TargetFile:
        path = self.targets / assignment.file
        if not path.is_file():
            raise RolloutError(
                f"the bundle {assignment.file} is not in the repository",
                hint="`fleet publish` puts bundles there",
            )
        custom = {
            "id": assignment.id,
            "release": assignment.release,
            "counter": assignment.counter,
        }
        hashes = {"sha256": assignment.sha256}
        return TargetFile(assignment.length, hashes, assignment.path, {"custom": custom})

    def _fresh(self, role: Role, signed: Any) -> Signed:
        signed.expires = self._expires(role)
        return cast(Signed, signed)

    def _expires(self, role: Role) -> datetime:
        return (self._now + LIVES[role]).replace(microsecond=0)

    def _signer(self, role: Role) -> CryptoSigner:
        return CryptoSigner(load_role_key(self._keys, role))

    def _write(self, role: Role, signed: Signed, signers: list[CryptoSigner] | None = None) -> None:
        metadata: Metadata[Any] = Metadata(signed)
        for signer in signers or [self._signer(role)]:
            metadata.sign(signer, append=True)
        name = "timestamp.json" if role == "timestamp" else f"{signed.version}.{role}.json"
        write_bytes(self.metadata / name, metadata.to_bytes(JSONSerializer(compact=True)))

    def _newest(self, role: Role) -> Path:
        if role == "timestamp":
            return self.metadata / "timestamp.json"
        found = self.metadata.glob(f"*.{role}.json")
        newest = max(found, key=lambda path: int(path.name.partition(".")[0]), default=None)
        if newest is None:
            raise RolloutError(
                f"no repository in {self.metadata}", hint="`fleet keys init` makes one"
            )
        return newest

    def _read(self, role: Role) -> Signed:
        path = self._newest(role)
        try:
            return cast(Signed, Metadata.from_bytes(path.read_bytes()).signed)
        except (OSError, RepositoryError) as error:
            raise RolloutError(f"cannot read {path}: {error}") from error
