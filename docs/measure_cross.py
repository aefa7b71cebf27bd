"""Measure training against images made on other networks, beside training against one's own.

    python -m docs.measure_cross runs/RUN --pool plain-01 plain-02 --out runs/RUN-cross
    fleet audit transfer runs/RUN-cross --eps 4/255

The adversarial devices of a finished run are trained again, with the same encodings, steps and
attack, but on images that PGD makes on the pool: finished devices of any run (`DEVICE`, or
`RUN:DEVICE`). A second generation takes those of the first into its pool.

`fleet` does not offer this as a `training.method`; docs/robust-fleets.md says what it brought. The
new run's profile calls the method `adversarial`, because a profile cannot name this one.

Exit codes: 0 done; 2 a run cannot be read, or a device of the pool is not finished.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

from docs.measuring import subject
from fleet.errors import FleetError
from fleet.execution.jobs import Progress, Serial
from fleet.models import Classifier
from fleet.profiles.spec import FamilySpec, read_family
from fleet.rundir import RunDirectory
from fleet.training.adversarial import Adversarial
from fleet.training.family import train_family
from fleet.training.fit import METHODS
from fleet.training.method import Verdict


class Cross(Adversarial):
    """Half of each batch's loss is that of images made on a network of the pool, drawn by batch."""

    rolls_back = False
    pool: tuple[Classifier, ...] = ()

    def attacked(self) -> Classifier:
        """One network of the pool; the generator is seeded by device and step."""
        return self.pool[int(torch.randint(len(self.pool), ()))]

    def end_epoch(self, epoch: int) -> Verdict:  # noqa: ARG002
        """Keep every epoch: there is no gradient of its own that it could learn to hide."""
        return Verdict(metrics={"probe": self.probe()})


def main(arguments: list[str] | None = None) -> int:
    """Train; returns the exit code."""
    parser = argparse.ArgumentParser(description="Adversarial training against other networks.")
    parser.add_argument("run", type=Path, help="a finished run with adversarial devices")
    parser.add_argument("--pool", nargs="+", required=True, help="DEVICE or RUN:DEVICE")
    parser.add_argument("--out", type=Path, required=True, help="run directory to make")
    options = parser.parse_args(arguments)
    try:
        family = read_family(RunDirectory(options.run))
        Cross.pool = tuple(pooled(name, options.run) for name in options.pool)
        METHODS["adversarial"] = Cross
        train_family(crossed(family), run=options.out, executor=Serial(on_event=tell))
    except FleetError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stderr.write(f"trained {options.out}\n")
    return 0


def crossed(family: FamilySpec) -> FamilySpec:
    """Take the adversarial devices of a family, and let them be called after what they are."""
    devices = tuple(
        replace(device, name=f"cross-{place:02}")
        for place, device in enumerate(
            (known for known in family.devices if known.training.method == "adversarial"), 1
        )
    )
    return replace(family, name=f"{family.name}-cross", devices=devices)


def pooled(name: str, run: Path) -> Classifier:
    """Load one network of the pool.

    Raises:
        FleetError: It cannot be read, or is not there.
    """
    root, _, device = name.rpartition(":")
    where = Path(root) if root else run
    return subject(where, device, split="validation", images=1)[1].classifier


def tell(progress: Progress) -> None:
    """Say how far a device is."""
    if progress.text:
        sys.stderr.write(f"{progress.job}: {progress.text}\n")


if __name__ == "__main__":
    sys.exit(main())
