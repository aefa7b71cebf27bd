"""The multi-class hinge against its formula."""

from __future__ import annotations

import pytest
import torch

from fleet.models.heads import multiclass_hinge


@pytest.mark.parametrize(
    ("logits", "loss"),
    [
        ([3.0, 1.0, 0.0], 0.0),  # the true class leads by 2
        ([2.0, 1.0, 0.0], 0.0),  # exactly by the margin
        ([2.0, 1.5, 1.4], 0.5),  # only the nearest rival counts
        ([0.0, 4.0, 4.0], 5.0),
    ],
)
def test_it_is_one_plus_the_best_rival_less_the_true_logit(
    logits: list[float], loss: float
) -> None:
    assert multiclass_hinge(torch.tensor([logits]), torch.tensor([0])).tolist() == [loss]


def test_its_gradient_is_zero_once_the_margin_is_met_and_one_rival_s_otherwise() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0], [0.0, 4.0, 3.0]], requires_grad=True)
    multiclass_hinge(logits, torch.tensor([0, 0])).sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0.0, 0.0, 0.0], [-1.0, 1.0, 0.0]]
