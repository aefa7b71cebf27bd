"""Measure transfer between groups of devices, of one run or of several with the same images.

    python -m docs.measure_groups runs/RUN:plain runs/RUN:adv runs/OTHER:cross --out FILE

`RUN:PREFIX` stands for all devices of a run whose names begin so. Each device is attacked with the
adaptive entries of the audit's portfolio, and an image counts against a device if any of the
surrogate's images of it changes the answer. Classes are compared, so orders may differ.

Exit codes: 0 done; 2 a run cannot be read, holds no such device, or has other images.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from docs.measuring import subject, written
from fleet.attacks import CORRECT, SampleKeys, quantise
from fleet.audit.core.members import Member, Sample, TransferSettings
from fleet.audit.core.scoring import outcomes_on
from fleet.data import to_unit
from fleet.errors import FleetError
from fleet.profiles.spec import read_family
from fleet.rundir import RunDirectory

BATCH = 100


def main(arguments: list[str] | None = None) -> int:
    """Measure and write; returns the exit code."""
    parser = argparse.ArgumentParser(description="Transfer between groups of devices.")
    parser.add_argument("groups", nargs="+", help="RUN:PREFIX, for example runs/RUN:adv")
    parser.add_argument("--levels", type=int, nargs="+", default=[2, 4], help="eps in 255ths")
    parser.add_argument("--images", type=int, default=500, help="images, at most")
    parser.add_argument("--split", choices=["validation", "test"], default="test")
    parser.add_argument("--steps", type=int, default=15, help="steps of each run")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args(arguments)
    return written(options.out, lambda: measured(options))


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """One cell for each surrogate, victim and eps.

    Raises:
        FleetError: A run cannot be read, holds no such device, or has other images.
    """
    members, sample = gathered(options.groups, options.split, options.images)
    radii = tuple(levels / 255 for levels in options.levels)
    settings = TransferSettings(
        radii, steps=options.steps, restarts=1, targets="none", precision="fp32"
    )
    return {
        "split": options.split,
        "images": len(sample.labels),
        "steps": options.steps,
        "eps": list(radii),
        "cells": [
            {"eps": eps, "surrogate": surrogate.name, "from": group, **cell}
            for eps in radii
            for group, surrogate in members
            for cell in row(made(surrogate, sample, eps, settings), members, sample)
        ],
    }


def gathered(groups: list[str], split: str, images: int) -> tuple[list[tuple[str, Member]], Sample]:
    """Load every device with the name of its group, and the images, which all must share.

    Raises:
        FleetError: A run cannot be read, holds no such device, or has other images.
    """
    members: list[tuple[str, Member]] = []
    shared: Sample | None = None
    for group in groups:
        root, _, prefix = group.rpartition(":")
        names = [d.name for d in read_family(RunDirectory(Path(root))).devices]
        chosen = [name for name in names if name.startswith(prefix)]
        if not root or not chosen:
            raise FleetError(f"{group!r} names no device", hint="write RUN:PREFIX")
        for name in chosen:
            _, member, sample = subject(Path(root), name, split=split, images=images)
            shared = shared or sample
            if not torch.equal(shared.images, sample.images):
                raise FleetError(f"{root} has other images than the first run")
            members.append((prefix, member))
    if shared is None:
        raise FleetError("no group is named", hint="write RUN:PREFIX")
    return members, shared


def made(surrogate: Member, sample: Sample, eps: float, settings: TransferSettings) -> Tensor:
    """8-bit images of the portfolio's adaptive entries, (A, N, C, H, W)."""
    sys.stderr.write(f"{surrogate.name} at {eps:.4g}\n")
    parts = []
    for rows in torch.arange(len(sample.labels)).split(BATCH):
        part = sample.part(rows)
        keys = SampleKeys(0, surrogate.name, part.indices)
        found = [
            entry.attack(surrogate.classifier, to_unit(part.images), part.labels, keys)
            for entry in settings.portfolio(surrogate.classifier, eps)
            if entry.protocol == "adaptive"
        ]
        parts.append(quantise(torch.cat(found), part.images, eps))
    return torch.cat(parts, dim=1)


def row(
    images: Tensor, members: list[tuple[str, Member]], sample: Sample
) -> Iterator[dict[str, object]]:
    """Try one device's images on all: evaded of those that each gets right without an attack."""
    for kind, victim in members:
        every = torch.cat([sample.images.unsqueeze(0), images])
        clean, *attacked = outcomes_on(victim, every, sample.labels, BATCH) == CORRECT
        stands = np.logical_and.reduce(attacked)
        yield {
            "victim": victim.name,
            "to": kind,
            "n": int(clean.sum()),
            "evaded": int((clean & ~stands).sum()),
        }


if __name__ == "__main__":
    sys.exit(main())
