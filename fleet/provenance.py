"""What a figure was made with: versions, machine, command line."""

import os
import platform
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("torch", "torchvision", "numpy", "safetensors", "scikit-learn", "matplotlib")


def fleet_version() -> str:
    """Version of the installed distribution, or ``0+unknown`` from a bare source tree."""
    return package_version("interval-fleet") or "0+unknown"


def package_version(name: str) -> str | None:
    """Version of an installed distribution without importing it, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def environment() -> dict[str, Any]:
    """Describe this process and machine in plain JSON values; imports nothing heavy."""
    return {
        "fleet": fleet_version(),
        "python": platform.python_version(),
        "packages": {name: package_version(name) for name in _PACKAGES},
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "command": [Path(sys.argv[0]).name, *map(_placed, sys.argv[1:])],
    }


def _placed(word: str) -> str:
    """A word of a command line; of an absolute path what means something on other machines."""
    option, equals, value = word.partition("=")
    value = value if equals else word
    if not Path(value).is_absolute():
        return word
    path, here = Path(value), Path.cwd()
    told = str(path.relative_to(here)) if path.is_relative_to(here) else f".../{path.name}"
    return f"{option}={told}" if equals else told


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or "unknown"
    for line in text.splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def utc_now() -> str:
    """The time in UTC to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Origin:
    """Where an audit comes from, for its result.

    Attributes:
        run: Name of the audited run, or a label for models in memory.
        provenance: Where models and images come from, plain JSON values.
        details: Further settings, for the record.
        began: When it began, by ``time.monotonic``; None where it is not measured.
    """

    run: str
    provenance: dict[str, Any]
    details: dict[str, Any]
    began: float | None = None

    def head(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Fields of a result that is made now: run, created, settings, provenance, seconds."""
        taken = None if self.began is None else round(time.monotonic() - self.began, 1)
        return {
            "seconds": taken,
            "run": self.run,
            "created": utc_now(),
            "settings": {**settings, **self.details},
            "provenance": self.provenance,
        }
