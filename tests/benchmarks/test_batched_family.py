"""One batched job of eight devices against the same eight one after another, on this machine.

    python -m pytest -m benchmark tests/benchmarks/test_batched_family.py -s

writes results/benchmarks/batched.json: gradients of one step of standard training, by
``torch.func.stack_module_state`` and ``vmap``, and how far they are from the ordinary ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, replace_all_batch_norm_modules_, stack_module_state
from torch.nn.functional import cross_entropy

from fleet.files import write_json
from fleet.models import build_classifier
from fleet.provenance import environment

DEVICES, BATCH, STEPS, ROUNDS = 8, 64, 10, 5
WIDTHS = (0.125, 0.25, 1.0)


def seconds(work: Callable[[], Any]) -> float:
    work()
    began = time.process_time()
    for _ in range(STEPS):
        work()
    return (time.process_time() - began) / STEPS


def measured(width: float) -> dict[str, Any]:
    networks = [
        build_classifier(
            architecture="cnn", task="tra", head="logits", encoding=None, num_classes=10,
            input_shape=(1, 28, 28), mean=(0.0,), std=(1.0,), width=width, seed=seed,
        ).train()
        for seed in range(DEVICES)
    ]  # fmt: skip
    for network in networks:
        replace_all_batch_norm_modules_(network)  # running statistics have no place under vmap
    images, labels = torch.rand(BATCH, 1, 28, 28), torch.randint(10, (BATCH,))
    stacked, buffers = stack_module_state(networks)

    def loss(parameters: dict[str, Tensor], kept: dict[str, Tensor]) -> Tensor:
        return cross_entropy(functional_call(networks[0], (parameters, kept), (images,)), labels)

    batched = torch.vmap(grad(loss))

    def one_after_another() -> None:
        for network in networks:
            network.zero_grad()
            cross_entropy(network(images), labels).backward()

    one_after_another()
    found = batched(stacked, buffers)
    distance = max(
        ((found[name][place] - parameter.grad).norm() / parameter.grad.norm()).item()
        for place, network in enumerate(networks)
        for name, parameter in network.named_parameters()
        if parameter.grad is not None and parameter.grad.norm() > 1e-6
    )
    pairs = [
        (seconds(one_after_another), seconds(lambda: batched(stacked, buffers)))
        for _ in range(ROUNDS)
    ]
    ratios = sorted(together / alone for alone, together in pairs)
    return {
        "width": width,
        "one_after_another_seconds": min(alone for alone, _ in pairs),
        "batched_seconds": min(together for _, together in pairs),
        "ratio_median": ratios[ROUNDS // 2],
        "ratio_range": [ratios[0], ratios[-1]],
        "relative_distance": distance,
    }


@pytest.mark.benchmark
def test_batched_family(project: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = [measured(width) for width in WIDTHS]
    for row in rows:
        print(row)
        assert row["relative_distance"] < 1e-3
    result = {
        "what": "one step's gradients of 8 networks `cnn`, batch 64, one thread, processor seconds",
        "devices": DEVICES,
        "rows": rows,
        "environment": environment(),
    }
    write_json(project / "results" / "benchmarks" / "batched.json", result)
