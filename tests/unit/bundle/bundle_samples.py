"""Small bundles, good and bad, for the tests of several directories."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from fleet.bundle import archive
from fleet.bundle.manifest import (
    AuditRow,
    AuditSummary,
    Manifest,
    Metrics,
    ModelSection,
    Payload,
    Preprocessing,
    Provenance,
)
from fleet.bundle.package import bundle_bytes
from fleet.bundle.reader import version_value
from fleet.encoding import IntervalEncoding
from fleet.files import canonical_json, write_bytes, write_json
from fleet.profiles.spec import DataSpec, DeviceSpec, FamilySpec
from fleet.rundir import RunDirectory
from fleet.vocabulary import ModelSpec, TrainingSpec

NAMES = ("cat", "dog", "bird")


def safetensors(header: Any, buffer: bytes) -> bytes:
    """A safetensors file from its parts; ``header`` is JSON values or raw bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + buffer


def tensor(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def tiny_model(seed: int = 0) -> bytes:
    """Three tensors; a valid safetensors file that fits no network."""
    header = {
        "__metadata__": {"format": "pt"},
        "a": tensor([2, 3], 0, 24),
        "b": tensor([], 24, 28),
        "n": tensor([], 28, 36, "I64"),
    }
    return safetensors(header, bytes((seed + i) % 251 for i in range(36)))


def manifest(model: bytes, /, **changes: Any) -> Manifest:
    """A manifest that belongs to ``model``."""
    base = Manifest(
        device="cam-01",
        release="2026.11.1",
        created="2026-11-22T21:31:00Z",
        task="int",
        encoding=IntervalEncoding(3, 4.0, 16.0, order=(2, 0, 1)),
        model=ModelSection(head="linear", num_classes=3, input_shape=(1, 28, 28)),
        preprocessing=Preprocessing(
            channels=1, image_size=28, mean=(0.13,), std=(0.3,), fit="squash"
        ),
        class_names=NAMES,
        payload=Payload(hashlib.sha256(model).hexdigest(), len(model)),
        metrics=Metrics("test", 10_000, 0.97, 0.01),
        audit=AuditSummary("a" * 64, 0, (AuditRow(0.1, 500, 0.9, 0.3),)),
        provenance=Provenance("mnist", "b" * 64, "c" * 64, 0, "0.1.0", "2.15.0"),
    )
    return dataclasses.replace(base, **changes)


def tiny_bundle() -> bytes:
    model = tiny_model()
    return bundle_bytes(manifest(model), model)


def smallest_bundle() -> bytes:
    """Nothing optional in the manifest, and names of one letter."""
    model = safetensors({"__metadata__": {"format": "pt"}, "w": tensor([], 0, 4)}, b"\x3f\x80\1\2")
    small = manifest(
        model,
        device="d",
        release="1",
        created=None,
        task="tra",
        encoding=None,
        model=ModelSection(head="logits", num_classes=2, input_shape=(1, 28, 28)),
        class_names=("a", "b"),
        audit=None,
    )
    return bundle_bytes(small, model)


def assemble(value: Any, model: bytes) -> bytes:
    """A bundle with consistent digests around any manifest: JSON values or raw bytes."""
    text = value if isinstance(value, bytes) else canonical_json(value).encode()
    return archive.pack(
        {
            "version": canonical_json(version_value(text)).encode(),
            "manifest.json": text,
            "model.safetensors": model,
        }
    )


def family(*names: str) -> FamilySpec:
    training = TrainingSpec(
        "scaled", 0.3, 1, 64, "adam", 3e-3, 0.0, "one-cycle", "fp32", 0, False, None, 7
    )
    model = ModelSpec(head="linear", width=0.25)
    devices = tuple(
        DeviceSpec(name, "int", IntervalEncoding(3, 4.0, 16.0 + i), model, training)
        for i, name in enumerate(names)
    )
    data = DataSpec("mnist", Path("/data"), 3, 1, 28, 100, None, 0)
    return FamilySpec("demo", data, devices)


def finished_run(root: Path, *names: str) -> RunDirectory:
    """A run directory as ``fleet train`` leaves it, with tiny weights."""
    run, spec = RunDirectory(root), family(*names)
    write_json(run.profile, spec.to_dict())
    dataset = {
        "dataset": "mnist",
        "sha256": "d" * 64,
        "class_names": list(NAMES),
        "mean": [0.13],
        "std": [0.3],
        "fit": "squash",
    }
    write_json(run.dataset, dataset)
    for seed, name in enumerate(names):
        write_bytes(run.model(name), tiny_model(seed))
        write_json(run.result(name), result(name, tiny_model(seed), spec))
    return run


def result(name: str, model: bytes, spec: FamilySpec) -> dict[str, Any]:
    return {
        "schema": "fleet.result/1",
        "device": name,
        "status": "complete",
        "weights_sha256": hashlib.sha256(model).hexdigest(),
        "weights_bytes": len(model),
        "validation": {"n": 100, "correct": 95, "rejected": 2},
        "test": {"n": 1000, "correct": 970, "rejected": 12},
        "epochs": 1,
        "seconds": 1.5,
        "finished": "2026-11-22T21:31:00+00:00",
        "fleet_version": "0.1.0",
        "torch_version": "2.15.0",
        "profile_digest": spec.digest(),
    }
