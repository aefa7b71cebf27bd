"""Attacks against other libraries and against the bare gradient, in one run on one machine.

    .venv-crosscheck/bin/python -m pytest -m benchmark tests/benchmarks/test_attack_speed.py -s

Each test writes its own part of results/benchmarks/attacks.json: a record, not a timed test.
FLEET_BENCH_SCALE=0.02 tries the whole with 2 % of the images, and writes nothing.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.attack_work import (
    Task,
    Timed,
    bare_gradient,
    best_batch,
    floor,
    library,
    library_images,
    ours,
    race,
    random_sample,
    seeded,
)
from fleet import load_profile, train_family
from fleet.assembly import load_images
from fleet.attacks import attackable, decide
from fleet.audit.core.members import Sample, load_member
from fleet.audit.crosscheck.tools import TOOLS, Tool
from fleet.data import to_unit
from fleet.files import write_json
from fleet.models import Classifier
from fleet.provenance import environment, package_version
from fleet.rundir import RunDirectory

# The libraries warn about their own dependencies.
pytestmark = [pytest.mark.benchmark, pytest.mark.filterwarnings("ignore")]
SCALE = float(os.environ.get("FLEET_BENCH_SCALE", "1"))
PEERS = [t for t in TOOLS if "pgd" in t.attacks and package_version(t.package) is not None]
LEVELS, STEPS, REPEATS = 26, 40, 2
SIZES = (100, 250, 500)
RACES = 3
OUR_BUDGETS = ((1, 0), (2, 0), (3, 1), (5, 2), (10, 4), (15, 4), (20, 8))
"""Steps of a run, and how often images that still stand get another."""
PEER_STEPS = (5, 10, 20, 40)
Contender = Callable[[Task], Timed]


@pytest.fixture(autouse=True)
def _peers() -> None:
    if not PEERS:
        pytest.skip("no other library is installed: `make bench` uses .venv-crosscheck")


def test_transfer_matrix(project: Path, tmp_path: Path) -> None:
    """8 devices of the paper's NN on MNIST; repetitions interleave, each with its own images."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))  # torch's default; our conftest says 1
    models, sample = _trained(project, tmp_path)
    pilot = Task(models[:1], _rows(sample, 0, REPEATS), LEVELS, 4)
    batches = _batches(pilot)
    halves = [Task(models, _rows(sample, part, REPEATS), LEVELS, STEPS) for part in range(REPEATS)]
    timed = _interleave(halves, batches)
    correct = _correct(models, sample)
    record = {
        "what": "8 devices of the paper's NN (width 1, linear head; 2 epochs of 10,000 images), "
        f"{len(sample.images)} MNIST test images, eps {LEVELS}/255, PGD-{STEPS}: attack of every "
        "device and evaluation on all 8. Ours: up and down, half of the steps each, so that an "
        "image takes as many gradients as with the others.",
        "gradients": sum(task.gradients for task in halves),
        "batches": batches,
        "clean": float(correct.mean()),
        "success": {
            name: _success(parts, correct) for name, parts in timed.items() if name != "floor"
        },
    }
    _write(project, "matrix", {**record, **_rates(timed, record["gradients"])})


@pytest.mark.parametrize(("side", "channels"), [(28, 1), (64, 3)])
def test_resnet18(project: Path, side: int, channels: int) -> None:
    """Untrained weights, random pixels, few of both: times only."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    shape = (channels, side, side)
    count = max(4, round(32 * SCALE))
    models = seeded(2, "resnet18", shape)
    task = Task(models, random_sample(count, shape), LEVELS, 8)
    batches = dict.fromkeys(("fleet", "floor", *(tool.name for tool in PEERS)), 16)
    timed = _interleave([task, task], batches)
    record = {
        "what": f"2 devices, ResNet-18 at {side} pixels, untrained, {count} random images, 8 steps",
        "gradients": 2 * task.gradients,
    }
    _write(project, f"resnet18-{side}", {**record, **_rates(timed, record["gradients"])})


def test_race(project: Path, tmp_path: Path) -> None:
    """Success against the processor's seconds: one thread, every budget in turn, interleaved."""
    torch.set_num_threads(1)
    models, sample = _trained(project, tmp_path, devices=2)
    sample = _rows(sample, 0, 10)
    task = Task(models, sample, LEVELS, STEPS)
    correct = _correct(models, sample)
    budgets: dict[str, tuple[tuple[int, int], ...]] = {
        "fleet": OUR_BUDGETS,
        **{tool.name: tuple((steps, 0) for steps in PEER_STEPS) for tool in PEERS},
    }
    seconds: dict[tuple[str, tuple[int, int]], list[float]] = {}
    success: dict[tuple[str, tuple[int, int]], float] = {}
    lanes = [(name, budget) for name, chosen in budgets.items() for budget in chosen]
    for name, chosen in budgets.items():  # warm up
        race(task, chosen[0], _peer(name))
    for turn in range(RACES):
        for name, budget in lanes if turn % 2 else reversed(lanes):
            taken, evaded = race(task, budget, _peer(name))
            seconds.setdefault((name, budget), []).append(taken)
            success[name, budget] = float((evaded & correct).sum() / correct.sum())
    curves = {
        name: [
            {
                "steps": budget[0],
                "pursuit": budget[1],
                "seconds": statistics.median(seconds[name, budget]),
                "success": success[name, budget],
            }
            for budget in chosen
        ]
        for name, chosen in budgets.items()
    }
    for name, curve in curves.items():
        print(name, [(round(p["seconds"], 2), round(p["success"], 3)) for p in curve], flush=True)
    record = {
        "what": f"2 devices of the paper's NN as above, {len(sample.images)} MNIST test images, "
        f"eps {LEVELS}/255, white-box; one process, one thread, seconds of the processor, median "
        f"of {RACES} rounds that go through all budgets forwards and backwards in turn",
        "steps": STEPS,
        "rounds": RACES,
        "curves": curves,
        "against": {tool.name: _against(curves["fleet"], curves[tool.name]) for tool in PEERS},
        "load_average": os.getloadavg()[0],
    }
    _write(project, "race", record)


def _peer(name: str) -> Tool | None:
    return next((tool for tool in PEERS if tool.name == name), None)


def _against(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> dict[str, Any]:
    """Our seconds to a peer's success at PGD-40, and our success in its seconds."""
    end = next(point for point in theirs if point["steps"] == STEPS)
    there = [p["seconds"] for p in ours if p["success"] >= end["success"]]
    within = [p["success"] for p in ours if p["seconds"] <= end["seconds"]]
    return {
        "seconds": end["seconds"],
        "success": end["success"],
        "our_seconds": min(there) if there else None,
        "share_of_time": min(there) / end["seconds"] if there else None,
        "our_success": max(within) if within else None,
    }


def test_growth(project: Path) -> None:
    """The cost of the whole matrix, one thread, in a fresh process for each size."""
    images, steps = max(4, round(32 * SCALE)), 8
    rows = []
    for devices in (4, 8, 16, 32, 64):
        command = [
            sys.executable,
            "-m",
            "benchmarks.attack_work",
            str(devices),
            str(images),
            str(steps),
        ]
        path = os.pathsep.join([str(project / "tests"), str(project)])
        env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout))
        print(rows[-1])
    what = f"the paper's NN, untrained, {images} random images, {steps} gradients each, one thread"
    _write(project, "growth", {"what": what, "images": images, "steps": steps, "rows": rows})


def _interleave(tasks: list[Task], batches: dict[str, int]) -> dict[str, list[Timed]]:
    """Run every contender once for each task, the order turned by one each time."""
    contenders = _contenders(batches)
    names = list(contenders)
    found: dict[str, list[Timed]] = {name: [] for name in names}
    for turn, task in enumerate(tasks):
        for name in names[turn:] + names[:turn]:
            timed = contenders[name](task)
            found[name].append(timed)
            rate, work = task.gradients / timed.seconds, task.gradients / timed.work
            print(f"{name}: {rate:,.0f} gradient-images/s, without start {work:,.0f}", flush=True)
    return found


def _contenders(batches: dict[str, int]) -> dict[str, Contender]:
    peers = {tool.name: partial(library, batch=batches[tool.name], tool=tool) for tool in PEERS}
    return {
        "fleet": partial(ours, batch=batches["fleet"]),
        "floor": partial(floor, batch=batches["floor"]),
        **peers,
    }


def _batches(pilot: Task) -> dict[str, int]:
    """The best of three batch sizes for everybody; ours makes two rows of each image."""

    def seconds(work: Callable[[], object]) -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    count = len(pilot.sample.images)
    images = to_unit(pilot.sample.images).to(memory_format=torch.channels_last)
    model = pilot.models[0]

    def bare(size: int) -> float:
        with attackable(model):
            return seconds(
                lambda: [bare_gradient(model, x, torch.bfloat16) for x in images.split(size)]
            )

    found = {"floor": best_batch(bare, SIZES)}
    found["fleet"] = found["floor"] // 2
    for tool in PEERS:

        def peer(size: int, tool: Any = tool) -> float:
            batches = torch.arange(count).split(size)
            return seconds(lambda: [library_images(pilot, model, x, tool) for x in batches])

        found[tool.name] = best_batch(peer, SIZES)
    return found


def _success(parts: list[Timed], correct: np.ndarray) -> dict[str, float]:
    """Mean evade rate of the cells on the diagonal and off it, over the originally correct."""
    evaded = np.concatenate([part.evaded for part in parts if part.evaded is not None], axis=2)
    rates = (evaded & correct).sum(2) / correct.sum(1)
    off = ~np.eye(len(rates), dtype=bool)
    return {"whitebox": float(rates.diagonal().mean()), "transfer": float(rates[off].mean())}


def _correct(models: tuple[Classifier, ...], sample: Sample) -> np.ndarray:
    """bool (victims, N)."""
    found = []
    for model in models:
        with attackable(model):
            found.append(decide(model, sample.images, sample.labels).outcomes.numpy() == 0)
    return np.stack(found)


def _rates(timed: dict[str, list[Timed]], gradients: int) -> dict[str, Any]:
    """Gradient-images a second; the floor and small tasks are compared without process starts."""
    seconds = {name: sum(part.seconds for part in parts) for name, parts in timed.items()}
    work = {name: sum(part.work for part in parts) for name, parts in timed.items()}
    fastest = min((tool.name for tool in PEERS), key=lambda name: seconds[name])
    return {
        "repetitions": {name: [part.seconds for part in parts] for name, parts in timed.items()},
        "seconds": seconds,
        "work_seconds": work,
        "rates": {name: gradients / value for name, value in seconds.items()},
        "work_rates": {name: gradients / value for name, value in work.items()},
        "fastest_peer": fastest,
        "ratio": seconds[fastest] / seconds["fleet"],
        "work_ratio": work[fastest] / work["fleet"],
        "share_of_floor": work["floor"] / work["fleet"],
    }


def _trained(project: Path, place: Path, devices: int = 8) -> tuple[tuple[Classifier, ...], Sample]:
    """Devices, trained briefly with permuted orders, and the first test images."""
    orders = _orders(devices)
    listed = "\n".join(
        f"  - {{name: cam-{n}, encoding: {{alpha: 4, beta: 16, order: {order}}}}}"
        for n, order in enumerate(orders)
    )
    profile = place / "bench.yaml"
    profile.write_text(
        "version: 1\nname: bench\ntwin: false\n"
        f"data: {{dataset: mnist, root: {project / 'examples' / 'data'}, validation: 500, "
        f"train_limit: {max(1000, round(10_000 * SCALE))}}}\n"
        "defaults:\n  model: {architecture: nn, width: 1.0, head: linear}\n"
        "  training: {loss: scaled, margin: 0.4, epochs: 2, batch_size: 128, learning_rate: 6e-3}\n"
        f"devices:\n{listed}\n",
        encoding="utf-8",
    )
    family = load_profile(profile)
    result = train_family(family, run=place / "run")
    assert not result.errors
    run = RunDirectory(place / "run")
    models = tuple(load_member(run, family, d).classifier.eval() for d in family.devices)
    test = load_images(family.data).test
    rows = torch.arange(max(8, round(1000 * SCALE)))
    return models, Sample(test.images(rows), test.labels[rows], rows)


def _orders(count: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randperm(10, generator=generator).tolist() for _ in range(count)]


def _rows(sample: Sample, part: int, parts: int) -> Sample:
    rows = torch.arange(len(sample.images)).tensor_split(parts)[part]
    return Sample(sample.images[rows], sample.labels[rows], sample.indices[rows])


def _write(project: Path, part: str, record: dict[str, Any]) -> None:
    """Put one part into the record, beside the parts of other tests."""
    shown = {
        key: record[key]
        for key in ("rates", "ratio", "work_ratio", "share_of_floor", "success", "against")
        if key in record
    }
    print(f"\n{part}: {json.dumps(shown, indent=1)}")
    if SCALE != 1:
        return
    path = project / "results" / "benchmarks" / "attacks.json"
    whole = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    peers = {tool.name: package_version(tool.package) for tool in PEERS}
    whole[part] = {
        **record,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)),
        "peers": peers,
        "environment": environment(),
    }
    write_json(path, whole)
