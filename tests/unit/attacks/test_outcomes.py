"""What counts."""

from collections.abc import Callable

import torch
from torch import Tensor

from fleet.attacks import CORRECT, FLIP, REJECT, decide
from fleet.attacks.outcomes import evades, flips, rejects
from fleet.models import Classifier


def test_outputs_become_correct_reject_or_flip(
    linear: Callable[..., Classifier], grey: Callable[..., Tensor]
) -> None:
    images = torch.cat([grey(level) for level in (5, 15, 25, 35, 200)])
    decided = decide(linear([1.0, 0.0, 0.0, 0.0], 0.0), images, torch.ones(5).long())
    torch.testing.assert_close(decided.outputs, torch.tensor([5.0, 15, 25, 35, 200]))
    assert decided.outcomes.tolist() == [FLIP, REJECT, CORRECT, REJECT, REJECT]
    assert decided.outcomes.dtype == torch.int8


def test_scoring_ignores_a_callers_autocast(
    linear: Callable[..., Classifier], grey: Callable[..., Tensor]
) -> None:
    """In bfloat16, 201 and 200 are the same number."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        decided = decide(linear([1.0, 0, 0, 0], 0.0), grey(201), torch.ones(1).long())
    assert decided.outputs.dtype == torch.float32
    torch.testing.assert_close(decided.outputs, torch.tensor([201.0]))


def test_nan_is_a_reject(linear: Callable[..., Classifier], grey: Callable[..., Tensor]) -> None:
    decided = decide(linear([float("nan"), 0, 0, 0], 0.0), grey(1), torch.ones(1).long())
    assert decided.outcomes.tolist() == [REJECT]


def test_criteria() -> None:
    outcomes = torch.tensor([CORRECT, REJECT, FLIP])
    assert flips(outcomes).tolist() == [False, False, True]
    assert rejects(outcomes).tolist() == [False, True, False]
    assert evades(outcomes).tolist() == [False, True, True]
