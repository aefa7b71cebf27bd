"""Pictures as they appear in a directory: what a camera writes, once it is whole."""

import os
import time
from pathlib import Path

from fleet.data.pictures import SUFFIXES
from fleet.errors import DataError

LOOK = 0.2
"""Seconds between two looks at the directory."""

PATIENCE = 2.0
"""Seconds without a change after which a picture that cannot be read is called broken."""

_Version = tuple[int, int, int]
"""Inode, size, time of the last change: another of these is another picture."""


class Arrivals:
    """New and rewritten pictures of one directory.

    What is there already is left alone, and so are names that begin with a dot. A file counts as
    whole when two looks find the same size and time; a writer that pauses longer is met with
    :meth:`unfinished`.

    Args:
        directory: Where pictures appear.

    Raises:
        DataError: It is no directory that can be read.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._done = self._entries()
        self._seen: dict[Path, tuple[_Version, float]] = {}

    def look(self) -> list[Path]:
        """The pictures that became whole since the last look, the oldest first.

        Raises:
            DataError: The directory is gone.
        """
        now, entries, whole = time.monotonic(), self._entries(), []
        self._done = {path: v for path, v in self._done.items() if path in entries}
        self._seen = {path: seen for path, seen in self._seen.items() if path in entries}
        for path, version in entries.items():
            if self._done.get(path) == version:
                continue
            if path not in self._seen or self._seen[path][0] != version:
                self._seen[path] = (version, now)
            else:
                whole.append((version[2], path))
                self._done[path] = version
        return [path for _, path in sorted(whole)]

    def unfinished(self, path: Path) -> bool:
        """Whether a picture that cannot be read may still be being written.

        If so, it is among the next look's pictures again.
        """
        version, since = self._seen.get(path, (None, 0.0))
        if time.monotonic() - since >= PATIENCE or self._done.get(path) != version:
            return False
        self._done.pop(path, None)
        return True

    def _entries(self) -> dict[Path, _Version]:
        found = {}
        try:
            with os.scandir(self._directory) as entries:
                for entry in entries:
                    path = Path(entry.path)
                    if path.name.startswith(".") or path.suffix.lower() not in SUFFIXES:
                        continue
                    try:
                        about = entry.stat()
                    except OSError:  # removed, or renamed, since it was listed
                        continue
                    if entry.is_file():
                        found[path] = (about.st_ino, about.st_size, about.st_mtime_ns)
        except OSError as error:
            raise DataError(
                f"cannot watch {self._directory}: {error.strerror or error}",
                hint="name the directory into which pictures are written",
            ) from error
        return found
