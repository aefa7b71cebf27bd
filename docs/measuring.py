"""What the measuring scripts share: a device with its images, and how a result is written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fleet.assembly import run_images
from fleet.audit.core.members import Member, Sample, load_member
from fleet.errors import FleetError
from fleet.files import write_json
from fleet.profiles.spec import FamilySpec, read_family
from fleet.provenance import environment
from fleet.rundir import RunDirectory


def subject(
    root: Path, device: str, *, split: str, images: int
) -> tuple[FamilySpec, Member, Sample]:
    """Load one device of a run, and the first images of a split.

    Raises:
        FleetError: The run cannot be read, or has no such device.
    """
    run = RunDirectory(root)
    family = read_family(run)
    if device not in {known.name for known in family.trained}:
        raise FleetError(f"no device {device!r} in {run.root}")
    member = load_member(run, family, family.device(device))
    part = getattr(run_images(run, family.data), split)
    rows = torch.arange(min(images, len(part)))
    return family, member, Sample(part.images(rows), part.labels[rows], rows)


def written(out: Path, measure: Callable[[], dict[str, Any]]) -> int:
    """Measure, and write what was found with the environment; returns the exit code."""
    try:
        write_json(out, {**measure(), "environment": environment()})
    except FleetError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stderr.write(f"wrote {out}\n")
    return 0
