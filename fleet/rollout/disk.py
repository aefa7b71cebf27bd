"""The steps by which a device changes its flash; tests cut the power before each of them."""

from __future__ import annotations

import os
from pathlib import Path

from fleet.errors import DiskError


class Disk:
    """A real file system, one method for each step that can be the last one before a power cut."""

    def write(self, path: Path, data: bytes) -> None:
        """Write a file in place; after a cut it may be there in part, whole, or not at all."""
        path.write_bytes(data)

    def sync(self, path: Path) -> None:
        """Make a file's content, or a directory's names, survive a cut."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name, replacing what has it."""
        source.replace(target)

    def remove(self, path: Path) -> None:
        """Remove a file that may be there."""
        path.unlink(missing_ok=True)

    def replace(self, path: Path, data: bytes) -> None:
        """Give ``path`` new content, whole or not at all, durable when this returns.

        Raises:
            DiskError: The device cannot write; ``path`` is then as it was.
        """
        temporary = path.with_name(f".{path.name}.new")
        try:
            self.write(temporary, data)
            self.sync(temporary)
            self.rename(temporary, path)
            self.sync(path.parent)
        except OSError as error:
            raise disk_error(path, error) from error


def disk_error(path: Path, error: OSError) -> DiskError:
    """Turn an ``OSError`` met while writing on a device into a :class:`DiskError`."""
    return DiskError(
        f"cannot write {path}: {error.strerror or error}",
        hint="the device keeps its present model; free some space and run the command again",
    )
