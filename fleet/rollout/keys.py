"""Keys: a device's identity, and the operator's signing keys; private files are mode 0600.

A device has two key pairs. X25519: bundles are sealed to it, and only this device opens them.
Ed25519: the device signs its reports with it. The operator has one Ed25519 key for each TUF role.
"""

import hashlib
import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from fleet.bundle.fields import NAME
from fleet.errors import RolloutError, SignatureError
from fleet.files import canonical_json, make_directory, write_bytes, write_json

Role = Literal["root", "targets", "snapshot", "timestamp"]
ROLES: tuple[Role, ...] = ("root", "targets", "snapshot", "timestamp")
ENROLMENT = "fleet-enrolment/1"


@dataclass(frozen=True)
class Enrolment:
    """What the operator knows about a device; all of it is public.

    Attributes:
        name: Device name, as in the profile.
        seal_key: X25519 public key, 32 bytes.
        sign_key: Ed25519 public key, 32 bytes.
        revoked: No bundle is sealed to it any more, and its reports count for nothing.
    """

    name: str
    seal_key: bytes
    sign_key: bytes
    revoked: bool = False

    @property
    def id(self) -> str:
        """Opaque name in the repository, 16 hexadecimal digits: mirrors learn no device name."""
        return hashlib.sha256(self.seal_key + self.sign_key).hexdigest()[:16]

    def verify(self, signature: bytes, data: bytes) -> None:
        """Check that this device signed ``data``.

        Raises:
            SignatureError: It did not.
        """
        try:
            Ed25519PublicKey.from_public_bytes(self.sign_key).verify(signature, data)
        except InvalidSignature as error:
            raise SignatureError(f"{self.name} did not sign this") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        keys = {"seal_key": self.seal_key.hex(), "sign_key": self.sign_key.hex()}
        return {"format": ENROLMENT, "name": self.name, **keys, "revoked": self.revoked}


@dataclass(frozen=True, repr=False)
class Identity:
    """A device's private keys; its ``repr`` shows none of them.

    Attributes:
        enrolment: The public part.
        seal_key: Opens what is sealed to the device.
        sign_key: Signs its reports.
    """

    enrolment: Enrolment
    seal_key: X25519PrivateKey
    sign_key: Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"Identity({self.enrolment.name!r}, id {self.enrolment.id})"


def read_enrolment(path: Path) -> Enrolment:
    """Read a device's public keys, as ``fleet device init`` wrote them.

    Raises:
        RolloutError: The file is absent, damaged, or holds no usable keys.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["format"] != ENROLMENT or not NAME.fullmatch(value["name"]):
            raise ValueError("it is no enrolment of this version")
        seal_key, sign_key = bytes.fromhex(value["seal_key"]), bytes.fromhex(value["sign_key"])
        X25519PublicKey.from_public_bytes(seal_key)
        Ed25519PublicKey.from_public_bytes(sign_key)
        return Enrolment(value["name"], seal_key, sign_key, value["revoked"] is True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RolloutError(
            f"cannot read the enrolment {path}: {reason}",
            hint="`fleet device init NAME` writes it on the device, as HOME/device.json",
        ) from error


def make_identity(home: Path, name: str) -> Identity:
    """Make the keys of a device: ``seal.key`` and ``sign.key`` (0600), and ``device.json``.

    Args:
        home: The device's directory; created with mode 0700 if needed.
        name: Device name, as in the profile.

    Raises:
        RolloutError: The name is unusable, or the device has an identity already.
    """
    if not NAME.fullmatch(name):
        raise RolloutError(
            f"{name!r} is no device name", hint="use letters, digits, '.', '-' and '_', at most 64"
        )
    if (home / "device.json").exists() or (home / "seal.key").exists():
        raise RolloutError(
            f"{home} holds an identity already",
            hint="a new one could open no bundle of the old; choose another --home",
        )
    make_directory(home, mode=0o700)
    seal_key, sign_key = X25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    _write_private(home / "seal.key", seal_key)
    _write_private(home / "sign.key", sign_key)
    enrolment = Enrolment(name, _public(seal_key), _public(sign_key))
    write_json(home / "device.json", enrolment.to_dict())
    return Identity(enrolment, seal_key, sign_key)


def load_identity(home: Path) -> Identity:
    """Load the keys of a device.

    Raises:
        RolloutError: There are none, they are damaged, or others may read them.
    """
    enrolment = read_enrolment(home / "device.json")
    seal_key = cast(X25519PrivateKey, read_private(home / "seal.key", X25519PrivateKey))
    sign_key = cast(Ed25519PrivateKey, read_private(home / "sign.key", Ed25519PrivateKey))
    if (_public(seal_key), _public(sign_key)) != (enrolment.seal_key, enrolment.sign_key):
        raise RolloutError(
            f"the private keys in {home} do not belong to device.json",
            hint="put the files of one `fleet device init` back",
        )
    return Identity(enrolment, seal_key, sign_key)


def make_role_key(directory: Path, role: Role) -> Ed25519PrivateKey:
    """Make the signing key of a role, ``ROLE.pem`` with mode 0600.

    Raises:
        RolloutError: It is there already: replacing it would lock every device out.
    """
    path = directory / f"{role}.pem"
    if path.exists():
        raise RolloutError(
            f"{path} is there already", hint="`fleet keys rotate` replaces a key in order"
        )
    make_directory(directory, mode=0o700)
    key = Ed25519PrivateKey.generate()
    _write_private(path, key)
    return key


def load_role_key(directory: Path, role: Role) -> Ed25519PrivateKey:
    """Load the signing key of a role.

    Raises:
        RolloutError: It is absent, damaged, or others may read it.
    """
    path = directory / f"{role}.pem"
    return cast(Ed25519PrivateKey, read_private(path, Ed25519PrivateKey))


def sign_json(value: dict[str, Any], key: Ed25519PrivateKey) -> dict[str, Any]:
    """Wrap a JSON object with the signature of its canonical form."""
    signature = key.sign(canonical_json(value).encode("utf-8"))
    return {"signed": value, "signature": signature.hex()}


def verify_json(value: dict[str, Any], enrolment: Enrolment) -> dict[str, Any]:
    """Return the object inside :func:`sign_json` after checking who signed it.

    Raises:
        SignatureError: It is damaged, or this device did not sign it.
    """
    try:
        signed, signature = value["signed"], bytes.fromhex(value["signature"])
        data = canonical_json(signed).encode("utf-8")
    except (KeyError, TypeError, ValueError) as error:
        raise SignatureError(f"this is no signed report: {error}") from error
    enrolment.verify(signature, data)
    return dict(signed)


def _write_private(path: Path, key: Ed25519PrivateKey | X25519PrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_bytes(path, pem, mode=0o600)


def read_private(path: Path, kind: type) -> object:
    """Read a private key, PEM without a password.

    Raises:
        RolloutError: It is absent, damaged, of another kind, or others may read it.
    """
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise RolloutError(
                f"{path} can be read by others", hint=f"chmod 600 {path}, and ask who read it"
            )
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no private key"
        raise RolloutError(
            f"cannot read the private key {path}: {reason}",
            hint="`fleet device init` makes a device's keys, `fleet keys init` the operator's",
        ) from None  # the bytes of a key never reach a traceback
    if not isinstance(key, kind):
        raise RolloutError(f"{path} holds a key of another kind", hint="put the right file back")
    return key


def _public(key: Ed25519PrivateKey | X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()
