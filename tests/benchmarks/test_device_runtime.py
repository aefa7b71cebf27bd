"""What a device pays: from command to label, for each image, on its disk and in its memory.

``python -m pytest -m benchmark tests/benchmarks/test_device_runtime.py -s`` writes
``results/rollout/device.json``.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from packaging.requirements import Requirement
from PIL import Image
from safetensors.numpy import load

from fleet.bundle import Bundle, pack_second
from fleet.provenance import environment
from fleet.runtime import DeviceClassifier, load_engine
from fleet.runtime.export import export_graph
from unit.runtime.test_edge import made

RESULT = Path(__file__).resolve().parents[2] / "results" / "rollout" / "device.json"
STARTS = 7
ROUNDS = 400

LOAD = """
import sys
import numpy as np
import fleet
fleet.load_bundle(sys.argv[1], engine=sys.argv[2]).predict(np.zeros((1, 1, 28, 28), np.uint8))
"""

# Of a small process: the peak of a child counts the pages of the parent that it is forked from.
WATCH = """
import json, resource, subprocess, sys, time
begun = time.perf_counter()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
spent = time.perf_counter() - begun
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([spent, used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""


@pytest.mark.benchmark
def test_a_device(tmp_path: Path) -> None:
    bundle = made("ordinal", 0)
    bundle = Bundle(bundle.manifest, bundle.model, export_graph(bundle))
    path, picture = tmp_path / "a.fleet", tmp_path / "digit.png"
    assert bundle.graph is not None
    path.write_bytes(pack_second(bundle.manifest, bundle.model, counter=1, graph=bundle.graph))
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(picture)
    predict = [sys.executable, "-m", "fleet", "predict", str(path), str(picture)]
    found = {
        "predict": start(predict),
        "engines": {
            name: start([sys.executable, "-c", LOAD, str(path), name]) for name in ("edge", "torch")
        },
        "images": images(bundle),
        "install_mb": {
            "base": size_mb(installed("interval-fleet")),
            "edge": size_mb(installed("interval-fleet", "edge")),
            "train": size_mb(installed("interval-fleet", "train")),
        },
        "load_average": os.getloadavg()[0],
        "environment": environment(),
    }
    RESULT.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
    print(json.dumps({k: found[k] for k in ("predict", "engines", "images", "install_mb")}))


def start(command: list[str]) -> dict[str, float]:
    """Seconds and memory of a process, from its start to its end; medians and the best."""
    runs = []
    for _ in range(STARTS):
        done = subprocess.run(
            [sys.executable, "-c", WATCH, *command], capture_output=True, text=True, check=True
        )
        runs.append(json.loads(done.stdout))
    wall, work, memory = zip(*runs, strict=True)
    return {
        "seconds": round(min(wall), 3),
        "seconds_median": round(statistics.median(wall), 3),
        "processor_seconds": round(min(work), 3),
        "memory_mb": round(max(memory) / 1024, 1),
    }


def images(bundle: Bundle) -> dict[str, dict[str, float]]:
    """Microseconds an image: a bare session, our engine, and a whole decision, taken in turns."""
    engine = load_engine("edge", bundle)
    classifier = DeviceClassifier(bundle.manifest, engine)
    bare = session(bundle)
    found = {}
    for batch in (1, 64):
        pictures = np.random.default_rng(0).random((batch, 1, 28, 28), dtype=np.float32)
        ways: dict[str, Callable[[], Any]] = {
            "bare": lambda pictures=pictures: bare.run(["outputs"], {"images": pictures}),
            "engine": lambda pictures=pictures: engine.outputs(pictures),
            "decision": lambda pictures=pictures: classifier.predict(pictures),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                begun = time.perf_counter()
                way()
                times[name].append((time.perf_counter() - begun) / batch * 1e6)
        medians = {name: statistics.median(values) for name, values in times.items()}
        ratios = {
            f"{name}_ratio": medians[name] / medians["bare"] for name in ("engine", "decision")
        }
        found[f"batch_{batch}"] = {k: round(v, 3) for k, v in {**medians, **ratios}.items()}
    return found


def session(bundle: Bundle) -> onnxruntime.InferenceSession:
    """ONNX Runtime as its documentation shows it, one thread."""
    assert bundle.graph is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    weights = {k: v for k, v in load(bundle.model).items() if k.encode() in bundle.graph}
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in weights.values()]
    options.add_external_initializers(list(weights), values)
    return onnxruntime.InferenceSession(bundle.graph, options, providers=["CPUExecutionProvider"])


def installed(name: str, extra: str = "") -> set[str]:
    """A distribution and all that it needs, by name, as they are installed here."""
    names: set[str] = set()
    waiting = [(name, extra)]
    while waiting:
        name, extra = waiting.pop()
        try:
            found: Distribution = distribution(name)
        except PackageNotFoundError:  # for another system
            continue
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in names and not extra:
            continue
        names.add(key)
        for text in found.requires or ():
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                waiting += [(need.name, e) for e in ("", *need.extras)]
    return names


def size_mb(names: set[str]) -> float:
    """MB of the files of distributions; of ours, those of the package alone."""
    total = 0
    for name in names - {"interval-fleet"}:
        paths = {Path(str(f.locate())) for f in distribution(name).files or ()}
        total += sum(path.stat().st_size for path in paths if path.is_file())
    ours = Path(__file__).resolve().parents[2] / "fleet"
    total += sum(path.stat().st_size for path in ours.rglob("*") if path.is_file())
    return round(total / 1e6, 1)
