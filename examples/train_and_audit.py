"""Train a family and audit it: what does breaking one device give against the others?

The same as `fleet train` and `fleet audit transfer`, for a program of your own. A run directory
under `runs/` holds everything that is made; an interrupted training goes on where it stopped.
`--quick` takes one epoch of few images: it shows the way, not a figure to rely on.

    python examples/train_and_audit.py --quick
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import fleet
from fleet.profiles import FamilySpec
from fleet.reports import render_run_reports
from fleet.reports.views import summary_lines

PROFILE = Path(__file__).resolve().parents[1] / "profiles" / "devices.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description="Train and audit a family of devices.")
    parser.add_argument("--profile", type=Path, default=PROFILE, help="profile (YAML)")
    parser.add_argument("--images", type=int, default=500, help="test images to attack")
    parser.add_argument("--jobs", type=int, default=2, help="worker processes")
    parser.add_argument("--quick", action="store_true", help="one epoch of few images")
    options = parser.parse_args()
    family = fleet.load_profile(options.profile)
    if options.quick:
        family = shortened(family)

    executor = fleet.Processes(options.jobs)
    trained = fleet.train_family(family, executor=executor)
    for name, result in trained.results.items():
        test = result["test"]
        print(f"{name}: test accuracy {test['correct'] / test['n']:.3f}, None counted as wrong")

    steps = 5 if options.quick else 15
    audit = fleet.audit_transfer(
        trained.run, eps=0.1, steps=steps, images=options.images, executor=executor
    )
    for path in render_run_reports(trained.run.audits):
        print(f"wrote {path}")
    print(*summary_lines(audit), sep="\n")


def shortened(family: FamilySpec) -> FamilySpec:
    """A resolved profile is a plain value: change it with `replace`."""
    data = replace(family.data, train_limit=6000, validation=500)
    devices, controls = (
        tuple(replace(d, training=replace(d.training, epochs=1, batch_size=32)) for d in some)
        for some in (family.devices, family.controls)
    )
    return replace(family, data=data, devices=devices, controls=controls)


if __name__ == "__main__":  # worker processes import this file
    main()
