"""Schedules are pure functions of the step, and agree with torch's where torch has them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from fleet.profiles.spec import FamilySpec
from fleet.training.method import build_optimizer, learning_rate
from fleet.vocabulary import TrainingSpec

Family = Callable[..., FamilySpec]


def spec_of(family: Family, **changes: Any) -> TrainingSpec:
    return family(**changes).devices[0].training


def test_one_cycle_is_torchs(family: Family) -> None:
    spec, total = spec_of(family, schedule="one-cycle", learning_rate=0.01), 101
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.01, total_steps=total, final_div_factor=1e4, cycle_momentum=False
    )
    for step in range(total):
        # torch counts the turning point as 0.3 * total - 1 steps, we as 0.3 * (total - 1)
        assert learning_rate(spec, step, total) == pytest.approx(
            schedule.get_last_lr()[0], rel=0.05, abs=1e-4
        )
        optimizer.step()
        if step < total - 1:
            schedule.step()


@pytest.mark.parametrize("total", [1, 2, 50])
def test_cosine_falls_from_the_peak_to_zero(family: Family, total: int) -> None:
    spec = spec_of(family, schedule="cosine", learning_rate=0.1)
    rates = [learning_rate(spec, step, total) for step in range(total)]
    assert rates[0] == pytest.approx(0.1)
    assert rates == sorted(rates, reverse=True)
    assert total == 1 or rates[-1] == pytest.approx(0, abs=1e-12)


def test_constant_is_constant(family: Family) -> None:
    spec = spec_of(family, schedule="constant", learning_rate=0.1)
    assert {learning_rate(spec, step, 10) for step in range(10)} == {0.1}


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_fused_step_is_the_plain_one(family: Family, name: str) -> None:
    spec = spec_of(family, optimizer=name, weight_decay=0.01, learning_rate=0.01)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(8, 4, 5, 5, generator=generator)
    gradients = torch.randn(3, 8, 4, 5, 5, generator=generator)
    ends = []
    for fused in (True, False):
        weights = nn.Parameter(start.clone(memory_format=torch.channels_last))
        optimizer = build_optimizer(spec, [weights])
        assert optimizer.param_groups[0]["fused"] is True
        optimizer.param_groups[0]["fused"] = fused
        steps = []
        for gradient in gradients:
            weights.grad = gradient.clone(memory_format=torch.channels_last)
            optimizer.step()
            steps.append(weights.detach().clone())
        ends.append(torch.stack(steps))
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)],
)
def test_the_profile_names_the_optimiser(family: Family, name: str, kind: type) -> None:
    spec = spec_of(family, optimizer=name, weight_decay=0.25, learning_rate=0.5)
    optimizer = build_optimizer(spec, [nn.Parameter(torch.zeros(1))])
    assert type(optimizer) is kind
    assert optimizer.param_groups[0]["weight_decay"] == 0.25
    assert optimizer.param_groups[0]["lr"] == 0.5
