"""FGSM and PGD against the closed form: the best Linf attack moves ``w . x`` by eps * ||w||_1."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from fleet.attacks import FGSM, PGD, Directions, SampleKeys, SignStep, TaskLoss
from fleet.attacks.objectives import Value
from fleet.errors import AuditError
from fleet.models import Classifier

Make = Callable[..., Classifier]
W = [3.0, -2.0, 1.0, 4.0]
ONE_NORM = 10.0


def keys(count: int) -> SampleKeys:
    return SampleKeys(0, "a", torch.arange(count))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("steps", [1, 3, 40])
def test_up_and_down_reach_the_closed_form(linear: Make, steps: int, precision: str) -> None:
    classifier = linear(W, -743.0)
    x = torch.full((2, 1, 2, 2), 128 / 255)
    attack = PGD(Directions(), 7 / 255, steps, SignStep(1.0), precision=precision)
    up, down = attack(classifier, x, torch.tensor([1, 1]), keys(2))
    o = classifier(x)
    torch.testing.assert_close(classifier(up), o + 7 * ONE_NORM, rtol=0, atol=1e-2)
    torch.testing.assert_close(classifier(down), o - 7 * ONE_NORM, rtol=0, atol=1e-2)


def test_fgsm_of_the_output_is_optimal_for_a_linear_model(linear: Make) -> None:
    classifier = linear(W, -743.0)
    x = torch.full((1, 1, 2, 2), 128 / 255)
    up, down = FGSM(Directions(), 0.1)(classifier, x, torch.tensor([1]), keys(1))
    torch.testing.assert_close(up - x, 0.1 * torch.tensor(W).sign().reshape(1, 1, 2, 2))
    torch.testing.assert_close(down - x, -0.1 * torch.tensor(W).sign().reshape(1, 1, 2, 2))


def test_the_box_cuts_the_ball_at_black_and_white(linear: Make) -> None:
    x = torch.tensor([0.0, 1.0, 0.95, 0.02]).reshape(1, 1, 2, 2)
    up, down = PGD(Directions(), 0.1, 3, SignStep(0.5))(
        linear(W, 0.0), x, torch.tensor([1]), keys(1)
    )
    torch.testing.assert_close(up.flatten(), torch.tensor([0.1, 0.9, 1.0, 0.12]))
    torch.testing.assert_close(down.flatten(), torch.tensor([0.0, 1.0, 0.85, 0.0]))


def test_paper_loss_moves_nothing_inside_the_interval(linear: Make) -> None:
    """Eq. 3 is flat there, so both attacks return the image itself, and the start itself."""
    classifier = linear(W, -743.0)  # o = 25, the middle of [20, 30]
    x = torch.full((3, 1, 2, 2), 128 / 255)
    y = torch.tensor([1, 1, 1])
    assert classifier.decode(classifier(x)).tolist() == [1, 1, 1]
    assert torch.equal(FGSM(TaskLoss(), 0.3)(classifier, x, y, keys(3))[0], x)
    assert torch.equal(PGD(TaskLoss(), 0.3, 10)(classifier, x, y, keys(3))[0], x)


def test_paper_loss_works_once_the_image_is_outside(linear: Make) -> None:
    classifier = linear(W, -737.0)  # o = 31, just above the interval
    x = torch.full((1, 1, 2, 2), 128 / 255)
    adversarial = FGSM(TaskLoss(), 2 / 255)(classifier, x, torch.tensor([1]), keys(1))[0]
    torch.testing.assert_close(classifier(adversarial), torch.tensor([51.0]), rtol=0, atol=1e-2)


@dataclass(frozen=True)
class Peak:
    """Largest at o = 26: full steps from 25 jump to and fro across it."""

    variants: int = 1

    def bind(self, classifier: Classifier, labels: Tensor) -> Value:
        return lambda raw: -(raw[:, 0] - 26.0).abs()


def test_the_best_iterate_is_returned_and_not_the_last(linear: Make) -> None:
    classifier = linear(W, -743.0)
    x = torch.full((1, 1, 2, 2), 128 / 255)
    for steps in (1, 2, 3):
        attack = PGD(Peak(), 0.1, steps, SignStep(1.0))
        best = attack(classifier, x, torch.tensor([1]), keys(1))[0]
        assert torch.equal(best, x)


def test_the_last_iterate_is_scored_too(linear: Make) -> None:
    classifier = linear(W, -743.0)
    x = torch.full((1, 1, 2, 2), 128 / 255)
    attack = PGD(Directions(), 0.1, 1, SignStep(0.5))
    up = attack(classifier, x, torch.tensor([1]), keys(1))[0]
    assert classifier(up) > classifier(x) + 100


def test_random_starts_stay_in_the_box_and_differ_between_restarts(linear: Make) -> None:
    classifier = linear([0.0] * 4, 25.0)  # no gradient: what comes back is the first start
    x = torch.tensor([0.0, 1.0, 0.5, 0.5]).reshape(1, 1, 2, 2).repeat(50, 1, 1, 1)
    y = torch.ones(50).long()
    start = PGD(TaskLoss(), 0.1, 1, random_start=True)(classifier, x, y, keys(50))[0]
    assert (start - x).abs().max() <= 0.1 + 1e-6
    assert start.min() >= 0
    assert start.max() <= 1
    assert start.flatten(1).unique(dim=0).shape[0] == 50


def test_restarts_begin_at_the_image_and_keep_the_best_of_all(linear: Make) -> None:
    """From the image Eq. 3 shows no way out; some random start leaves the interval and does."""
    classifier = linear(W, -743.0)
    x = torch.full((40, 1, 2, 2), 128 / 255)
    y = torch.ones(40).long()
    one = PGD(TaskLoss(), 4 / 255, 10, restarts=1)(classifier, x, y, keys(40))[0]
    four = PGD(TaskLoss(), 4 / 255, 10, restarts=4)(classifier, x, y, keys(40))[0]
    assert torch.equal(one, x)
    assert (classifier.decode(classifier(four)) != 1).sum() > 10


def test_results_do_not_depend_on_the_batch(linear: Make) -> None:
    classifier = linear(W, -743.0)
    x = torch.rand(7, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([0, 1, 2, 0, 1, 2, 1])
    attack = PGD(TaskLoss(), 0.2, 5, restarts=3, random_start=True)
    whole = attack(classifier, x, y, keys(7))
    parts = [
        attack(classifier, x[rows], y[rows], SampleKeys(0, "a", rows))
        for rows in torch.arange(7).split(3)
    ]
    assert torch.equal(whole, torch.cat(parts, dim=1))


def test_attacks_work_where_the_caller_has_switched_gradients_off(linear: Make) -> None:
    classifier = linear(W, -743.0)
    x = torch.full((1, 1, 2, 2), 128 / 255)
    with torch.no_grad():
        up = PGD(Directions(), 0.1, 1)(classifier, x, torch.tensor([1]), keys(1))[0]
    assert not up.requires_grad
    assert classifier(up) > classifier(x)


def test_the_callers_images_are_not_touched(linear: Make) -> None:
    x = torch.full((1, 1, 2, 2), 0.5)
    for attack in (FGSM(Directions(), 0.1), PGD(Directions(), 0.1, 3)):
        attack(linear(W, 0.0), x, torch.tensor([1]), keys(1))
        assert torch.equal(x, torch.full((1, 1, 2, 2), 0.5))


def test_a_nan_never_becomes_the_best(linear: Make) -> None:
    classifier = linear([float("nan"), 1.0, 1.0, 1.0], 25.0)
    x = torch.full((1, 1, 2, 2), 0.5)
    assert torch.equal(PGD(Directions(), 0.1, 2)(classifier, x, torch.tensor([1]), keys(1))[0], x)


@pytest.mark.parametrize("pixel", [-0.1, 1.1, 255.0, float("nan")])
def test_images_outside_0_to_1_are_refused(linear: Make, pixel: float) -> None:
    x = torch.full((1, 1, 2, 2), pixel)
    for attack in (FGSM(TaskLoss(), 0.1), PGD(TaskLoss(), 0.1)):
        with pytest.raises(AuditError, match=r"not within \[0, 1\]"):
            attack(linear(W, 0.0), x, torch.tensor([1]), keys(1))


def test_bad_hyper_parameters_are_refused() -> None:
    with pytest.raises(AuditError, match=r"not in \(0, 1\]"):
        FGSM(TaskLoss(), 2.0)
    with pytest.raises(AuditError, match=r"not in \(0, 1\]"):
        PGD(TaskLoss(), 0.0)
    with pytest.raises(AuditError, match="steps is"):
        PGD(TaskLoss(), 0.1, steps=0)
    with pytest.raises(AuditError, match="steps is"):
        PGD(TaskLoss(), 0.1, restarts=0)


def test_an_attack_says_what_it_is() -> None:
    assert repr(PGD(Directions(), 0.1, 20, SignStep(0.5, 0.02))) == (
        "PGD(objective=Directions(), eps=0.1, steps=20, rule=SignStep(share=0.5, final=0.02), "
        "restarts=1, random_start=False, precision='fp32')"
    )
