"""Write files whole or not at all (temporary name, fsync, rename), and lock directories.

The only module that writes final files, so that a crash, a full disk or a kill leaves either the
old file or the new one under a name that somebody reads. A job on another machine reads and writes
through a :class:`Store` instead (:func:`stored_in`).
"""

import errno
import fcntl
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from fleet.errors import CheckpointError, StorageError, warn

_HINTS = {
    errno.ENOSPC: "free some disk space and run the command again; finished work is kept",
    errno.EDQUOT: "your disk quota is used up; free some space and run the command again",
    errno.EACCES: "choose a directory that you may write to",
    errno.EPERM: "choose a directory that you may write to",
    errno.EROFS: "the file system is read-only; choose another directory",
    errno.ENOTDIR: "a parent of this path is a file; choose another path",
    errno.EEXIST: "a file of this name is in the way; choose another path",
    errno.EISDIR: "a directory of this name is in the way; choose another path",
    errno.ELOOP: "links lead in a circle; choose another path",
}

_REAL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})
"""What a sync may fail with because of the data; all else means that there is no sync here."""


class Store(Protocol):
    """Files that lie on another machine."""

    def read(self, path: Path) -> bytes:
        """Read a whole file; an ``OSError`` as a local one would raise it."""

    def write(self, path: Path, data: bytes, mode: int) -> None:
        """:func:`write_bytes`, durable there when this returns."""

    def remove(self, path: Path) -> None:
        """Remove a file that need not be there."""


_stores: list[Store] = []


@contextmanager
def stored_in(store: Store) -> Iterator[None]:
    """Let all that this module reads, writes and removes in a block lie in ``store``."""
    _stores.append(store)
    try:
        yield
    finally:
        _stores.pop()


def read_bytes(path: Path) -> bytes:
    """Read a whole file of a run.

    Raises:
        OSError: It is absent or cannot be read.
    """
    return _stores[-1].read(path) if _stores else path.read_bytes()


def remove(path: Path) -> None:
    """Remove a file that need not be there.

    Raises:
        OSError: It cannot be removed.
    """
    if _stores:
        _stores[-1].remove(path)
    else:
        path.unlink(missing_ok=True)


def storage_error(path: Path, error: OSError) -> StorageError:
    """Turn an ``OSError`` met while writing ``path`` into a :class:`StorageError`."""
    reason = error.strerror or str(error)
    return StorageError(f"cannot write {path}: {reason}", hint=_HINTS.get(error.errno or 0))


def make_directory(path: Path, *, mode: int = 0o777) -> Path:
    """Create ``path`` and its parents.

    Args:
        path: May exist already; its mode is then left as it is.
        mode: Permission bits of ``path`` itself, less the process's umask.

    Raises:
        StorageError: The directory cannot be made.
    """
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(path, error) from error
    return path


def write_bytes(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write ``data`` to ``path`` whole or not at all, durable when this returns.

    A link is followed. What is no regular file (a FIFO, a device node) is written into as it is.

    Args:
        path: Final name; its directory is created if needed.
        data: The whole content.
        mode: Permission bits of the new file, less the process's umask.

    Raises:
        StorageError: Disk full, no permission, and the like. A regular file is then as it was.
    """
    if _stores:
        _stores[-1].write(path, data, mode)
        return
    try:
        target = _followed(path)
        if target is None:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND), "wb") as stream:
                stream.write(data)
            return
    except OSError as error:
        raise storage_error(path, error) from error
    make_directory(target.parent)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            _sync(stream.fileno())
        temporary.replace(target)
        _sync_directory(target.parent)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_text(path: Path, text: str, *, mode: int = 0o666) -> None:
    """:func:`write_bytes` for UTF-8 text."""
    write_bytes(path, text.encode("utf-8"), mode=mode)


@contextmanager
def locked(directory: Path, work: str) -> Iterator[None]:
    """Keep a second process out of ``directory``; the kernel drops the lock when we die.

    A file system without locks is said once, and the work goes on.

    Args:
        directory: Exists.
        work: What both would do, for messages: ``training``.

    Raises:
        CheckpointError: Another process holds the lock.
        StorageError: The directory cannot be opened.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError as error:
        raise storage_error(directory, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CheckpointError(
                f"another {work} is writing {directory}", hint="wait for it, or stop it"
            ) from error
        except OSError as error:
            warn(f"{directory} has no file locks ({error.strerror}): start no second {work} there")
        yield
    finally:
        os.close(descriptor)


def canonical_json(value: Any) -> str:
    """Render ``value`` as JSON with sorted keys, two-space indent and a final newline.

    Raises:
        ValueError: ``value`` holds NaN or an infinity, which JSON cannot carry.
    """
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """:func:`write_text` of :func:`canonical_json`."""
    write_text(path, canonical_json(value))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that a training wrote into its run.

    Raises:
        CheckpointError: It is absent, damaged or no object.
    """
    try:
        value = json.loads(read_bytes(path))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"cannot read {path}: {error}", hint="`fleet train` writes it"
        ) from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is not a JSON object", hint="`fleet train` writes one")
    return value


def _followed(path: Path) -> Path | None:
    """The regular file, there or not, that ``path`` names; None for what is written into."""
    for _ in range(40):
        try:
            name = path.parent.resolve() / path.name
        except RuntimeError:  # links in a circle
            break
        if name.parts[:2] == ("/", "proc"):  # as behind /dev/stdout: an open file, not a name
            return None
        if not name.is_symlink():
            return None if name.exists() and not stat.S_ISREG(name.stat().st_mode) else name
        path = name.parent / name.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _sync_directory(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # one that may be written to, and not read
        return
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno in _REAL:
            raise
        _say_unsynced(error.strerror)


@cache
def _say_unsynced(reason: str) -> None:
    warn(f"this file system does not sync ({reason}): a power cut may lose the last files")
