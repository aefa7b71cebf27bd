"""Family training against the plain loop, in one run on one machine; a record, not a timed test.

    python -m pytest -m benchmark tests/benchmarks/test_training_speed.py -s

writes results/benchmarks/training.json and certified.json.
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
from fleet.assembly import load_images, new_classifier
from fleet.audit.certify.audit import CertifySettings, prove
from fleet.audit.core.members import Member, Sample
from fleet.files import write_json
from fleet.profiles import FamilySpec
from fleet.provenance import environment
from fleet.training.batches import Tally, training_batch
from fleet.training.certified import Certified
from fleet.training.method import Batch, Method, Standard, build_optimizer

CERTIFIED_STEPS, BLOCK = 120, 10


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


@pytest.mark.benchmark
def test_certified_training_against_standard(project: Path) -> None:
    """The demo's first device: both methods in turn, by blocks of steps, one thread."""
    spec = load_profile(project / "profiles" / "devices.yaml")
    device, data = spec.devices[0], load_images(spec.data)
    methods: dict[str, Method] = {}
    for name, kind in (("standard", Standard), ("certified", Certified)):
        classifier = new_classifier(device, spec.data, data.mean, data.std)
        methods[name] = kind(device, data, classifier.to(memory_format=torch.channels_last))
        methods[name].begin()
    seconds = {name: [0.0, 0.0] for name in methods}  # of steps, of the end of an epoch
    optimizers = {
        name: build_optimizer(device.training, method.parameter_groups())
        for name, method in methods.items()
    }
    for first in range(0, CERTIFIED_STEPS, BLOCK):
        for name, method in methods.items():
            start = time.process_time()
            for step in range(first, first + BLOCK):
                _certified_step(method, optimizers[name], step)
            seconds[name][0] += time.process_time() - start
    for name, method in methods.items():
        start = time.process_time()
        method.end_epoch(0)
        seconds[name][1] = time.process_time() - start
    epoch = _whole_batches(spec, device.training.batch_size) // device.training.batch_size
    epochs = {name: epoch * a / CERTIFIED_STEPS + b for name, (a, b) in seconds.items()}
    methods["certified"].before_evaluation(final=True)
    member = Member("cam-01", methods["certified"].classifier.eval())
    rows = torch.arange(10_000)
    sample = Sample(data.test.images(rows), data.test.labels[rows], rows)
    start = time.process_time()
    proof = prove(member, sample, CertifySettings((device.training.eps,)))
    record = {
        "what": f"the demo's first device, {CERTIFIED_STEPS} steps of {device.training.batch_size} "
        "images through the whole schedule, in turn with standard training of the same network "
        f"by blocks of {BLOCK} steps; one thread, seconds of the processor",
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment(),
        "load_average": os.getloadavg()[0],
        "step_ms": {name: 1000 * a / CERTIFIED_STEPS for name, (a, _) in seconds.items()},
        "epoch_end_seconds": {name: b for name, (_, b) in seconds.items()},
        "epoch_seconds": epochs,
        "ratio": epochs["certified"] / epochs["standard"],
        "certify": {
            "images": len(rows),
            "seconds": time.process_time() - start,
            "proven": int((proof.proven[0] == 0).sum()),
        },
    }
    print({key: record[key] for key in ("step_ms", "epoch_seconds", "ratio", "certify")})
    write_json(project / "results" / "benchmarks" / "certified.json", record)


def _certified_step(method: Method, optimizer: torch.optim.Optimizer, step: int) -> None:
    training, train = method.device.training, method.images.train
    rows = torch.arange(training.batch_size) + step * training.batch_size
    x, y = training_batch(
        train, rows, training.seed, "bench", step, shift=training.shift, mirror=training.mirror
    )
    rate = method.learning_rate(step, CERTIFIED_STEPS)
    for group in optimizer.param_groups:
        group["lr"] = rate
    method.classifier.train()
    loss = method.loss(Batch(x, y, step, CERTIFIED_STEPS, 0))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    assert training.gradient_clip is not None
    torch.nn.utils.clip_grad_norm_(method.classifier.parameters(), training.gradient_clip)
    optimizer.step()


def _whole_batches(spec: FamilySpec, batch_size: int) -> int:
    return (60_000 - spec.data.validation) // batch_size * batch_size


def _unpacked_mnist(source: Path, target: Path) -> str:
    raw = target / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for packed in (source / "MNIST" / "raw").glob("*.gz"):
        with gzip.open(packed) as stream, (raw / packed.stem).open("wb") as unpacked:
            shutil.copyfileobj(stream, unpacked)
    return str(target)
