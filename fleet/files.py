"""Write whole files or nothing: temporary name, fsync, rename.

The only module that writes final files, so that a crash, a full disk or a kill leaves either the
old file or the new one under a name that somebody reads.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from fleet.errors import CheckpointError, StorageError

_HINTS = {
    errno.ENOSPC: "free some disk space and run the command again; finished work is kept",
    errno.EDQUOT: "your disk quota is used up; free some space and run the command again",
    errno.EACCES: "choose a directory that you may write to",
    errno.EPERM: "choose a directory that you may write to",
    errno.EROFS: "the file system is read-only; choose another directory",
    errno.ENOTDIR: "a parent of this path is a file; choose another path",
    errno.EEXIST: "a file of this name is in the way; choose another path",
}


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


def write_bytes(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write ``data`` to ``path`` whole or not at all, durable when this returns.

    Args:
        path: Final name; its directory is created if needed.
        data: The whole content.
        mode: Permission bits of the new file.

    Raises:
        StorageError: Disk full, no permission, and the like. ``path`` is then as it was.
    """
    make_directory(path.parent)
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        temporary.replace(path)
        temporary = None
        _sync_directory(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, mode: int = 0o644) -> None:
    """:func:`write_bytes` for UTF-8 text."""
    write_bytes(path, text.encode("utf-8"), mode=mode)


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
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"cannot read {path}: {error}", hint="`fleet train` writes it"
        ) from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is not a JSON object", hint="`fleet train` writes one")
    return value


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
