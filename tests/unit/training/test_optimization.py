"""Schedules are pure functions of the step, and agree with torch's where torch has them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from fleet.profiles.spec import FamilySpec, TrainingSpec
from fleet.training.optimization import build_optimizer, learning_rate

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
