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
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from docs.measure_gates import subject
from fleet.attacks import CORRECT, SampleKeys, attackable, decide, quantise
from fleet.attacks.portfolio import portfolio
from fleet.audit.core.members import Member, Sample
from fleet.data import to_unit
from fleet.errors import FleetError
from fleet.files import write_json
from fleet.profiles.spec import read_family
from fleet.provenance import environment
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
    try:
        members, sample = gathered(options.groups, options.split, options.images)
        cells = [
            cell
            for levels in options.levels
            for group, member in members
            for cell in Trial(sample, levels / 255, options.steps).row(group, member, members)
        ]
        result = {
            "split": options.split,
            "images": len(sample.labels),
            "steps": options.steps,
            "eps": [levels / 255 for levels in options.levels],
            "cells": cells,
            "environment": environment(),
        }
        write_json(options.out, result)
    except FleetError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stderr.write(f"wrote {options.out}\n")
    return 0


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


@dataclass(frozen=True, eq=False)
class Trial:
    """Images, eps on the scale from 0 to 1, and steps of each run."""

    sample: Sample
    eps: float
    steps: int

    def row(
        self, group: str, surrogate: Member, members: list[tuple[str, Member]]
    ) -> list[dict[str, object]]:
        """Attack one device and try its images on all: evaded of those that each gets right."""
        sys.stderr.write(f"{surrogate.name} at {self.eps:.4g}\n")
        right, fooled = (torch.zeros(len(members), dtype=torch.int64) for _ in range(2))
        for rows in torch.arange(len(self.sample.labels)).split(BATCH):
            clean, labels = self.sample.images[rows], self.sample.labels[rows]
            made = self.made(surrogate, rows)
            for place, (_, victim) in enumerate(members):
                with attackable(victim.classifier):
                    stands = decide(victim.classifier, clean, labels).outcomes == CORRECT
                    held = stands.clone()
                    for images in made:
                        held &= decide(victim.classifier, images, labels).outcomes == CORRECT
                right[place] += stands.sum()
                fooled[place] += (stands & ~held).sum()
        return [
            {
                "eps": self.eps,
                "surrogate": surrogate.name,
                "from": group,
                "victim": victim.name,
                "to": kind,
                "n": int(right[place]),
                "evaded": int(fooled[place]),
            }
            for place, (kind, victim) in enumerate(members)
        ]

    def made(self, member: Member, rows: Tensor) -> Tensor:
        """8-bit images of the portfolio's adaptive entries, (sets, B, C, H, W)."""
        clean, labels = self.sample.images[rows], self.sample.labels[rows]
        keys = SampleKeys(0, member.name, self.sample.indices[rows])
        entries = portfolio(
            member.classifier,
            self.eps,
            steps=self.steps,
            restarts=1,
            targets="none",
            precision="fp32",
        )
        made = [
            entry.attack(member.classifier, to_unit(clean), labels, keys)
            for entry in entries
            if entry.protocol == "adaptive"
        ]
        return quantise(torch.cat(made), clean, self.eps)


if __name__ == "__main__":
    sys.exit(main())
