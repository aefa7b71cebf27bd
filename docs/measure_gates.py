"""Measure what alpha and beta buy: one trained device under other intervals.

    python -m docs.measure_gates runs/RUN cam-01 --out results/robust/demo-gates.json

Choices are made on validation images, the default. Of a network that has bounds the rows hold its
certificates too.

Exit codes: 0 done; 2 the run cannot be read, or the device has another head than `softmax`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from docs.measuring import subject, written
from fleet.audit.certify.coverage import coverage_curve, gate_curve
from fleet.models.convolutional import ConvNet

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99)
"""beta / (alpha + beta)."""


def main(arguments: list[str] | None = None) -> int:
    """Measure and write; returns the exit code."""
    parser = argparse.ArgumentParser(description="What alpha and beta buy of one trained device.")
    parser.add_argument("run", type=Path, help="a finished run")
    parser.add_argument("device", help="a device of it with the head softmax")
    parser.add_argument("--eps", type=float, default=0.1, help="largest change of a pixel")
    parser.add_argument("--images", type=int, default=5000, help="images, at most")
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args(arguments)
    return written(options.out, lambda: measured(options))


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """One row for each share of beta.

    Raises:
        FleetError: The run cannot be read, or the device has another head.
    """
    family, member, sample = subject(
        options.run, options.device, split=options.split, images=options.images
    )
    encoding = family.device(options.device).encoding
    pitch = 0.0 if encoding is None else encoding.pitch
    lengths = [round(share * pitch, 6) for share in SHARES]
    found = (
        gate_curve(member, sample, options.eps, lengths)
        if isinstance(member.classifier.backbone, ConvNet)
        else coverage_curve(member, sample, SHARES)
    )
    return {
        "device": member.name,
        "weights_sha256": member.weights_sha256,
        "profile_sha256": family.digest(),
        "split": options.split,
        "eps": options.eps,
        "encoding": None if encoding is None else encoding.to_dict(),
        "rows": [asdict(row) for row in found],
    }


if __name__ == "__main__":
    sys.exit(main())
