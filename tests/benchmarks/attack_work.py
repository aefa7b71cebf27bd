"""What the attack benchmark times: our matrix, the floor, and the libraries' matrices."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from fleet.attacks import (
    PGD,
    Directions,
    PseudoLogits,
    SampleKeys,
    attackable,
    decide,
    reproject,
    to_bytes,
)
from fleet.attacks.portfolio import ADAPTIVE_STEPS
from fleet.audit.core.members import Sample
from fleet.audit.crosscheck.tools import Assignment, Tool
from fleet.data import to_unit
from fleet.encoding import IntervalEncoding
from fleet.execution import Job, Processes, ProgressReporter
from fleet.models import Classifier, build_classifier

SCORING_BATCH = 500


@dataclass(frozen=True, eq=False)
class Task:
    """A matrix to make: every model attacked, every image tried on all.

    Attributes:
        models: In eval mode.
        sample: The clean images.
        levels: Radius in 8-bit levels.
        steps: Gradients taken for each image.
    """

    models: tuple[Classifier, ...]
    sample: Sample
    levels: int
    steps: int

    @property
    def gradients(self) -> int:
        """Gradient-images: devices times images times steps."""
        return len(self.models) * len(self.sample.images) * self.steps


@dataclass(frozen=True, eq=False)
class Timed:
    """What it took, and which examples were evaded.

    Attributes:
        seconds: Wall time, the start of worker processes included.
        work: The same without their start.
        evaded: bool (surrogates, victims, N); None where only the time counts.
    """

    seconds: float
    work: float
    evaded: np.ndarray | None = None


def ours(task: Task, batch: int) -> Timed:
    """UP and DOWN, half of the steps each, one process a core; the start of processes counts."""
    return _jobs(task, partial(_our_row, batch=batch))


def floor(task: Task, batch: int) -> Timed:
    """As many bare forward passes and input gradients, on every core, at the best we found.

    That is bf16 and channels-last, and with the quicker gradient of the first convolution.
    """
    return _jobs(task, partial(_floor_row, batch=batch))


def library(task: Task, batch: int, *, tool: Tool) -> Timed:
    """The matrix as a user of a library writes it: fp32, torch's default threads."""
    start = time.perf_counter()
    evaded = []
    for model in task.models:
        parts = []
        for rows in torch.arange(len(task.sample.images)).split(batch):
            parts.append(library_images(task, model, rows, tool))
        evaded.append(_on_all(task, torch.cat(parts)))
    seconds = time.perf_counter() - start
    return Timed(seconds, seconds, np.stack(evaded))


def library_images(task: Task, model: Classifier, rows: Tensor, tool: Tool) -> Tensor:
    """What a library's PGD makes of one batch, scored as ours: 8 bits, inside the ball."""
    clean, adapter = task.sample.images[rows], PseudoLogits(model).eval()
    made = tool.attacks["pgd"](
        Assignment(
            model=adapter,
            images=to_unit(clean),
            labels=task.sample.labels[rows],
            columns=adapter.num_columns,
            eps=task.levels / 255,
            steps=task.steps,
            restarts=1,
            queries=1,
            seed=0,
        )
    )
    return reproject(to_bytes(made.detach()), clean, task.levels)


def race(task: Task, budget: tuple[int, int], tool: Tool | None) -> tuple[float, np.ndarray]:
    """Attack every model with a budget, ``(steps, pursuit)``; a library knows steps alone.

    Returns:
        The processor's seconds of the attack, and what evades the attacked model, bool (M, N).
    """
    taken, evaded = 0.0, []
    for row, model in enumerate(task.models):
        start = time.process_time()
        if tool is None:
            images = _raced(model, task.sample, task.levels, budget, row)
        else:
            rows = torch.arange(len(task.sample.images))
            images = library_images(replace(task, steps=budget[0]), model, rows, tool).unsqueeze(0)
        taken += time.process_time() - start
        with attackable(model):
            found = [decide(model, x, task.sample.labels).outcomes > 0 for x in images]
        evaded.append(torch.stack(found).any(0).numpy())
    return taken, np.stack(evaded)


def _raced(
    model: Classifier, sample: Sample, levels: int, budget: tuple[int, int], seed: int
) -> Tensor:
    """UP and DOWN as an audit runs them, (2, N, C, H, W): what has fallen leaves the batch."""
    steps, pursuit = budget
    attack = PGD(
        Directions(),
        levels / 255,
        steps,
        ADAPTIVE_STEPS,
        precision="bf16",
        crossed=True,
        pursuit=pursuit,
    )
    keys = SampleKeys(seed, "bench", sample.indices)
    made = attack(model, to_unit(sample.images), sample.labels, keys)
    return reproject(to_bytes(made), sample.images, levels)


def _jobs(task: Task, work: Callable[[Task, int], np.ndarray | None]) -> Timed:
    names = range(len(task.models))
    jobs = [Job(f"device {row}", _clocked, (work, task, row)) for row in names]
    workers, start = min(len(jobs), len(os.sched_getaffinity(0))), time.perf_counter()
    values = Processes(workers).values(jobs)
    seconds = time.perf_counter() - start
    clocks, rows = zip(*values, strict=True)
    return Timed(seconds, sum(clocks) / workers, None if rows[0] is None else np.stack(rows))


def _clocked(
    work: Callable[[Task, int], np.ndarray | None],
    task: Task,
    row: int,
    *,
    progress: ProgressReporter,
) -> tuple[float, np.ndarray | None]:
    start = time.perf_counter()
    value = work(task, row)
    return time.perf_counter() - start, value


def _our_row(task: Task, row: int, *, batch: int) -> np.ndarray:
    model, parts = task.models[row], []
    for rows in torch.arange(len(task.sample.images)).split(batch):
        parts.append(our_images(model, task.sample.part(rows), task.levels, task.steps // 2, row))
    return _on_all(task, torch.cat(parts))


def our_images(model: Classifier, part: Sample, levels: int, steps: int, seed: int) -> Tensor:
    """The better of UP and DOWN for each image, judged on the surrogate; uint8 (B, C, H, W)."""
    attack = PGD(Directions(), levels / 255, steps, ADAPTIVE_STEPS, precision="bf16")
    keys = SampleKeys(seed, "bench", part.indices)
    made = attack(model, to_unit(part.images), part.labels, keys)
    images = reproject(to_bytes(made), part.images, levels)
    encoding = model.encoding
    assert encoding is not None
    centers = torch.tensor([encoding.center(y) for y in part.labels.tolist()])
    with attackable(model):
        reach = [(decide(model, x, part.labels).outputs - centers).abs() for x in images]
    return torch.where((reach[0] >= reach[1]).view(-1, 1, 1, 1), images[0], images[1])


def _floor_row(task: Task, row: int, *, batch: int) -> None:
    model = task.models[row]
    images = to_unit(task.sample.images).contiguous(memory_format=torch.channels_last)
    with attackable(model):
        for _ in range(task.steps):
            for part in images.split(batch):
                bare_gradient(model, part, torch.bfloat16)


def bare_gradient(model: Classifier, images: Tensor, dtype: torch.dtype) -> None:
    """One forward pass and the gradient of the outputs' sum by the images."""
    leaf = images.detach().requires_grad_()
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        outputs = model(leaf)
    torch.autograd.grad(outputs.sum(), leaf)


def _on_all(task: Task, images: Tensor) -> np.ndarray:
    """Try one surrogate's images on every victim, bool (victims, N)."""
    found = []
    for victim in task.models:
        with attackable(victim):
            parts = [
                decide(victim, x, y).outcomes
                for x, y in zip(
                    images.split(SCORING_BATCH),
                    task.sample.labels.split(SCORING_BATCH),
                    strict=True,
                )
            ]
        found.append(torch.cat(parts).numpy() > 0)
    return np.stack(found)


def seeded(
    count: int, architecture: str = "nn", shape: tuple[int, int, int] = (1, 28, 28)
) -> tuple[Classifier, ...]:
    """Untrained networks, for timings only."""
    return tuple(
        build_classifier(
            architecture=architecture,  # type: ignore[arg-type]
            head="linear",
            task="int",
            encoding=IntervalEncoding(10, alpha=4, beta=16),
            num_classes=10,
            input_shape=shape,
            mean=(0.5,) * shape[0],
            std=(0.25,) * shape[0],
            seed=seed,
        ).eval()
        for seed in range(count)
    )


def random_sample(count: int, shape: tuple[int, int, int]) -> Sample:
    """Random pixels, for timings only."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)
    return Sample(images, torch.arange(count) % 10, torch.arange(count))


def growth(devices: int, images: int, steps: int) -> dict[str, float]:
    """Attack a fleet one device after another, then try all images on one victim after another.

    One process, one thread. Held in memory: the networks, and 8-bit images of every surrogate.
    """
    torch.set_num_threads(1)
    before = _peak_mib()
    models, sample = seeded(devices), random_sample(images, (1, 28, 28))
    start = time.perf_counter()
    sets = torch.cat([our_images(m, sample, 26, steps // 2, row) for row, m in enumerate(models)])
    attacked = time.perf_counter()
    labels = sample.labels.repeat(devices)
    for victim in models:
        with attackable(victim):
            for x, y in zip(sets.split(SCORING_BATCH), labels.split(SCORING_BATCH), strict=True):
                decide(victim, x, y)
    return {
        "devices": devices,
        "attack_seconds": attacked - start,
        "evaluation_seconds": time.perf_counter() - attacked,
        "imports_mib": before,
        "peak_mib": _peak_mib(),
    }


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def best_batch(time_of: Callable[[int], float], sizes: Sequence[int]) -> int:
    """The batch size with the least time; the first call warms up and does not count."""
    time_of(sizes[0])
    return min(sizes, key=time_of)


if __name__ == "__main__":
    print(json.dumps(growth(*map(int, sys.argv[1:]))))
