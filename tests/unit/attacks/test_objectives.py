"""What attacks ascend, against hand-made values."""

from collections.abc import Callable

import pytest
import torch

from fleet.attacks import (
    CrossEntropy,
    Directions,
    LogitRatio,
    Margin,
    OutputValue,
    Targets,
    TaskLoss,
    gradient_faults,
)
from fleet.errors import AuditError
from fleet.models import Classifier

Make = Callable[..., Classifier]


def test_paper_loss_is_eq_3_and_flat_inside_the_interval(linear: Make) -> None:
    value = TaskLoss().bind(linear([0.0] * 4, 0.0), torch.tensor([1, 1, 1, 1]))
    raw = torch.tensor([[20.0], [25.0], [33.0], [16.0]], requires_grad=True)
    losses = value(raw)
    assert losses.tolist() == [0.0, 0.0, 9.0, 16.0]
    (gradient,) = torch.autograd.grad(losses.sum(), raw)
    assert gradient.flatten().tolist() == [0.0, 0.0, 6.0, -8.0]


def test_logit_losses(logits: Make) -> None:
    raw = torch.tensor([[2.0, 0.5, 1.5]])
    label = torch.tensor([0])
    cross_entropy = torch.logsumexp(raw, 1) - 2.0
    for task, objective, wanted in (
        ("tra", TaskLoss(), cross_entropy),
        ("hin", TaskLoss(), torch.tensor([0.5])),
        ("hin", CrossEntropy(), cross_entropy),
        ("tra", Margin(), torch.tensor([-0.5])),
        ("tra", OutputValue(), torch.tensor([2.0])),
    ):
        value = objective.bind(logits([[0.0] * 4] * 3, task), label)
        torch.testing.assert_close(value(raw), wanted)


def test_directions_are_plus_and_minus_the_scalar(linear: Make) -> None:
    value = Directions().bind(linear([0.0] * 4, 0.0), torch.tensor([0, 2]))
    raw = torch.tensor([[5.0], [45.0], [6.0], [46.0]])
    assert value(raw).tolist() == [5.0, 45.0, -6.0, -46.0]


def test_directions_reach_through_the_clip_of_an_ordinal_head(ordinal: Make) -> None:
    """Saturated units: the scalar has no gradient, the next unit before its clip has."""
    classifier = ordinal([[0.0] * 4] * 3, [0.0] * 3)
    labels = torch.tensor([0, 1, 2, 3])
    raw = torch.tensor([[-9.0, -9, -9], [9, -9, -9], [9, 9, -9], [9, 9, 9]]).repeat(2, 1)
    raw.requires_grad_()
    (plain,) = torch.autograd.grad(OutputValue().bind(classifier, labels)(raw).sum(), raw)
    assert not plain.any()
    (gradient,) = torch.autograd.grad(Directions().bind(classifier, labels)(raw).sum(), raw)
    up, down = gradient.sign().chunk(2)
    assert up.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]
    assert down.tolist() == [[-1, 0, 0], [-1, 0, 0], [0, -1, 0], [0, 0, -1]]


def test_neighbour_targets_lie_on_both_sides_or_are_the_two_nearest(linear: Make) -> None:
    value = Targets().bind(linear([0.0] * 4, 0.0, classes=5), torch.tensor([0, 2, 4]))
    centers = torch.tensor([[45.0], [25.0], [65.0], [25.0], [65.0], [45.0]])
    assert value(centers).tolist() == [0.0] * 6
    assert value(centers + 5).tolist() == [-0.25] * 6


def test_with_two_classes_both_targets_are_the_other_one(linear: Make) -> None:
    value = Targets().bind(linear([0.0] * 4, 0.0, classes=2), torch.tensor([0, 1]))
    assert value(torch.tensor([[25.0], [5.0], [25.0], [5.0]])).tolist() == [0.0] * 4


def test_named_slots_are_targets_of_every_image(linear: Make) -> None:
    objective = Targets((0, 2))
    assert objective.variants == 2
    value = objective.bind(linear([0.0] * 4, 0.0), torch.tensor([1, 1]))
    assert value(torch.tensor([[5.0], [25.0], [45.0], [25.0]])).tolist() == [0.0, -1.0, 0.0, -1.0]


def test_ordinal_targets_count_how_far_units_are_from_where_the_slot_has_them(
    ordinal: Make,
) -> None:
    value = Targets((2,)).bind(ordinal([[0.0] * 4] * 3, [0.0] * 3), torch.tensor([0, 0, 0]))
    raw = torch.tensor([[0.5, 0.5, -0.5], [9.0, -0.5, -9.0], [-1.0, 0.0, 0.0]])
    assert value(raw).tolist() == [0.0, -1.0, -1.5 - 0.5 - 0.5]


@pytest.mark.parametrize("objective", [Directions(), Targets()])
def test_objectives_on_intervals_refuse_logits(
    logits: Make, objective: Directions | Targets
) -> None:
    with pytest.raises(AuditError, match="no intervals"):
        objective.bind(logits([[0.0] * 4] * 2), torch.tensor([0]))


def test_faults_are_counted_over_all_variants(ordinal: Make) -> None:
    """At the only slot boundary of two classes one direction is enough to be healthy."""
    classifier = ordinal([[1.0, 0.0, 0.0, 0.0]], [-100.0])
    x, y = torch.full((2, 1, 2, 2), 10 / 255), torch.tensor([0, 0])
    assert gradient_faults(classifier, x, y, TaskLoss()).zero.tolist() == [True, True]
    assert gradient_faults(classifier, x, y, Directions()).zero.tolist() == [False, False]


def test_faults_see_nan(linear: Make) -> None:
    classifier = linear([float("nan"), 0.0, 0.0, 0.0], 25.0)
    faults = gradient_faults(classifier, torch.rand(2, 1, 2, 2), torch.tensor([1, 1]), Directions())
    assert faults.nonfinite.tolist() == [True, True]
    assert faults.zero.tolist() == [False, False]


def test_the_logit_ratio_is_the_margin_over_the_spread(logits: Make) -> None:
    """(1.5 - 2) / (2 - 0.5), whatever the scale and the shift of the logits."""
    value = LogitRatio().bind(logits([[0.0] * 4] * 4), torch.tensor([0]))
    raw = torch.tensor([[2.0, 0.5, 1.5, 0.1]])
    for same in (raw, 1e3 * raw, raw - 7.0):
        torch.testing.assert_close(value(same), torch.tensor([-1 / 3]))
    assert value(torch.zeros(1, 4)).tolist() == [0.0]


def test_the_logit_ratio_of_two_classes_is_the_margin_and_has_a_gradient(logits: Make) -> None:
    value = LogitRatio().bind(logits([[0.0] * 4] * 2), torch.tensor([0]))
    raw = torch.tensor([[2.0, 0.5]], requires_grad=True)
    assert value(raw).tolist() == [-1.5]
    (gradient,) = torch.autograd.grad(value(raw).sum(), raw)
    assert gradient.tolist() == [[-1.0, 1.0]]


def test_targets_among_logits_are_margins_over_the_true_class(logits: Make) -> None:
    value = Targets((2, 1)).bind(logits([[0.0] * 4] * 3), torch.tensor([0, 2]))
    raw = torch.tensor([[2.0, 0.5, 1.5], [1.0, 0.0, 3.0]]).repeat(2, 1)
    assert value(raw).tolist() == [-0.5, 0.0, -1.5, -3.0]


def test_logits_have_no_neighbouring_slots(logits: Make) -> None:
    with pytest.raises(AuditError, match="no intervals"):
        Targets().bind(logits([[0.0] * 4] * 3), torch.tensor([0]))


def test_each_objective_says_how_many_images_it_makes() -> None:
    ones = (TaskLoss(), CrossEntropy(), OutputValue(), Margin(), LogitRatio())
    assert {objective.variants for objective in ones} == {1}
    assert (Directions().variants, Targets().variants, Targets((0, 2, 5)).variants) == (2, 2, 3)
