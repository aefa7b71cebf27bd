"""Family training against the plain loop, in one run on one machine; a record, not a timed test.

    python -m pytest -m benchmark tests/benchmarks/test_training_speed.py -s

writes results/benchmarks/training.json.
"""

from __future__ import annotations

import gzip
import os
import shutil
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from benchmarks.plain_loop import plain_family
from fleet import load_profile, train_family
from fleet.files import write_json
from fleet.profiles import FamilySpec
from fleet.provenance import environment
from fleet.training.batches import Tally


@pytest.mark.benchmark
def test_family_training_against_the_plain_loop(project: Path, tmp_path: Path) -> None:
    spec = load_profile(project / "profiles" / "paper-demo.yaml")
    root = _unpacked_mnist(project / "examples" / "data", tmp_path)

    start = time.perf_counter()
    family = train_family(spec, run=tmp_path / "run")
    ours_seconds = time.perf_counter() - start
    torch.set_num_threads(len(os.sched_getaffinity(0)))  # torch's default; our conftest says 1
    plain = plain_family(spec, root)

    images = sum(
        device.training.epochs * _whole_batches(spec, device.training.batch_size)
        for device in spec.devices
    )
    ours = {name: Tally(**result["validation"]) for name, result in family.results.items()}
    gaps = {name: ours[name].accuracy - plain.validation[name].accuracy for name in ours}
    ours_rate, plain_rate = images / ours_seconds, plain.images / plain.seconds
    record = {
        "what": "the demo family: train_family as a whole (worker start, validation and test "
        "scoring included) against the training time of the plain loop alone",
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment(),
        "devices": len(spec.devices),
        "epochs": [device.training.epochs for device in spec.devices],
        "fleet": {
            "images": images,
            "seconds": ours_seconds,
            "images_per_second": ours_rate,
            "validation": {name: asdict(tally) for name, tally in ours.items()},
        },
        "plain": {
            "images": plain.images,
            "seconds": plain.seconds,
            "images_per_second": plain_rate,
            "threads": torch.get_num_threads(),
            "validation": {name: asdict(tally) for name, tally in plain.validation.items()},
        },
        "ratio": ours_rate / plain_rate,
        "accuracy_gap": gaps,
        "mean_accuracy_gap": sum(gaps.values()) / len(gaps),
    }
    write_json(project / "results" / "benchmarks" / "training.json", record)
    print(f"\nratio {record['ratio']:.2f}, mean accuracy gap {record['mean_accuracy_gap']:+.4f}")
    assert not family.errors


def _whole_batches(spec: FamilySpec, batch_size: int) -> int:
    return (60_000 - spec.data.validation) // batch_size * batch_size


def _unpacked_mnist(source: Path, target: Path) -> str:
    raw = target / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for packed in (source / "MNIST" / "raw").glob("*.gz"):
        with gzip.open(packed) as stream, (raw / packed.stem).open("wb") as unpacked:
            shutil.copyfileobj(stream, unpacked)
    return str(target)
