"""The family secret: where ``auto`` values come from.

Every drawn value is HMAC-SHA256 of the device's name and the value's name under a key that lives
beside the profile and never in it. A draw depends on no other device, so that devices can be
added, removed and re-ordered; and from one device's values no other's can be computed.

The file bears the family's name, so that a renamed or copied profile draws what it drew before.
Reading a profile makes no file: where there is none, a new key stands in (:class:`NewSecret`), and
the training that uses it writes it.
"""

import hashlib
import hmac
import os
import secrets
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from fleet.errors import warn
from fleet.files import storage_error, write_text
from fleet.profiles.problems import ProfileFileError

KEY_BYTES = 32


@dataclass(frozen=True)
class FamilySecret:
    """The key of one family; its ``repr`` does not show it."""

    key: bytes = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """Tells one secret from another and nothing of it: 16 hexadecimal digits."""
        return hmac.digest(self.key, b"fleet.fingerprint/1", hashlib.sha256)[:8].hex()

    def uniform(self, device: str, value: str) -> float:
        """Draw a number in [0, 1) for one value of one device."""
        return int.from_bytes(self._digest(device, value)[:8], "big") / 2**64

    def permutation(self, device: str, count: int) -> tuple[int, ...]:
        """Draw an order of ``count`` slots; every permutation is equally likely."""
        return tuple(sorted(range(count), key=lambda slot: self._digest(device, f"order/{slot}")))

    def _digest(self, device: str, value: str) -> bytes:
        message = f"fleet.encoding/1\0{device}\0{value}"
        return hmac.digest(self.key, message.encode("utf-8"), hashlib.sha256)


@dataclass(frozen=True)
class NewSecret:
    """A secret that values were drawn from and that no file holds yet.

    Attributes:
        path: Where it is to lie.
        secret: The key.
    """

    path: Path
    secret: FamilySecret

    def keep(self) -> bool:
        """Write it, mode 0600, and say whether it was not there already.

        Raises:
            ProfileFileError: Another secret lies there by now, or a link to nothing.
            StorageError: It cannot be written.
        """
        written = _create(self.path, self.secret.key.hex() + "\n")
        found = read_secret(self.path)
        if found is None:
            text = f"family secret {self.path} is a link to nothing"
            raise ProfileFileError(text, hint="remove it")
        if found != self.secret:
            raise ProfileFileError(
                f"another process made the family secret {self.path} meanwhile",
                hint="run the command again: it draws from that secret then",
            )
        return written


def secret_path(profile: Path, family: str) -> Path:
    """Where a family's secret lies unless the user names another file.

    Args:
        profile: The profile's file.
        family: Name of the family.

    Returns:
        ``FAMILY.secret`` beside the profile.
    """
    return profile.with_name(f"{family}.secret")


def refuse_doubtful(profile: Path, place: Path) -> None:
    """Refuse to draw from a new secret where one lies that bears the profile's name.

    Secrets of before did. It may as well belong to another family of that name, which must not
    share its values: only the user knows.

    Args:
        profile: The profile's file.
        place: Where the family's secret is to lie, and does not.

    Raises:
        ProfileFileError: ``PROFILE.secret`` is there.
    """
    before = profile.with_suffix(".secret")
    if before.exists():
        raise ProfileFileError(
            f"no family secret {place}, but {before}, which may be of this family or of another",
            hint=f"if it is of this family, `mv {before} {place}`; "
            f"else `--secret {place}` makes a new one",
        )


def new_secret() -> FamilySecret:
    """A random secret, kept nowhere."""
    return FamilySecret(secrets.token_bytes(KEY_BYTES))


def read_secret(path: Path) -> FamilySecret | None:
    """Read the family secret; None where there is no file.

    Raises:
        ProfileFileError: It cannot be read, others may touch it too, or it is not a secret.
    """
    try:
        # Without O_NONBLOCK, opening a pipe would wait for a writer.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            text = stream.read(4 * KEY_BYTES) if stat.S_ISREG(mode) else b""
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ProfileFileError(
            f"cannot read family secret {path}: {error.strerror}",
            hint="name the right file with --secret",
        ) from error
    if mode & 0o077 and stat.S_ISREG(mode) and _keeps_modes(path.parent):
        raise ProfileFileError(
            f"family secret {path} is open to others (mode {stat.S_IMODE(mode):04o})",
            hint=f"close it with `chmod 600 {path}`; if others may have seen it, replace it",
        )
    return FamilySecret(_key(path, text))


def _key(path: Path, text: bytes) -> bytes:
    try:
        key = bytes.fromhex(text.decode("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ProfileFileError(
            f"{path} is not a family secret: it must hold {2 * KEY_BYTES} hexadecimal digits",
            hint="restore it from a copy; a new one draws other encodings for every device",
        )
    return key


def _create(path: Path, text: str) -> bool:
    """Write a secret unless a file is there: a link never replaces one."""
    candidate = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    write_text(candidate, text, mode=0o600)
    try:
        path.hardlink_to(candidate)
    except FileExistsError:
        return False
    except OSError:  # no hard links here; what is created exclusively replaces no file either
        return _create_plainly(path, text)
    finally:
        candidate.unlink()
    return True


def _create_plainly(path: Path, text: str) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(text)
    except FileExistsError:
        return False
    except OSError as error:
        raise storage_error(path, error) from error
    return True


def _keeps_modes(directory: Path) -> bool:
    """Whether the file system has permission bits; one that has none is said."""
    try:
        with tempfile.TemporaryFile(dir=directory) as probe:
            mode = os.fstat(probe.fileno()).st_mode
    except OSError:
        return True
    if mode & 0o077:
        warn(f"{directory} keeps no permission bits: others may read the family secret there")
    return not mode & 0o077
