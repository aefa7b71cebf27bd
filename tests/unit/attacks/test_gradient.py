"""FGSM and PGD against the closed form: the best Linf attack moves ``w . x`` by eps * ||w||_1."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from fleet.attacks import (
    FGSM,
    PGD,
    Directions,
    InputDiversity,
    Momentum,
    SampleKeys,
    SignStep,
    Targets,
    TaskLoss,
    exact_eps,
)
from fleet.attacks.objectives import Value
from fleet.errors import AuditError
from fleet.models import Classifier
from fleet.vocabulary import Norm

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


def test_fgsm_in_l2_is_optimal_for_a_linear_model(linear: Make) -> None:
    classifier = linear(W, -743.0)
    x = torch.full((1, 1, 2, 2), 128 / 255)
    up, down = FGSM(Directions(), 0.1, norm="l2")(classifier, x, torch.tensor([1]), keys(1))
    unit = (torch.tensor(W) / torch.tensor(W).norm()).reshape(1, 1, 2, 2)
    torch.testing.assert_close(up - x, 0.1 * unit)
    torch.testing.assert_close(down - x, -0.1 * unit)


@pytest.mark.parametrize("steps", [1, 3, 40])
def test_pgd_in_l2_reaches_the_closed_form(linear: Make, steps: int) -> None:
    """The best L2 attack moves ``w . x`` by ``eps * ||w||_2``."""
    classifier = linear(W, -743.0)
    x = torch.full((2, 1, 2, 2), 128 / 255)
    attack = PGD(Directions(), 7 / 255, steps, SignStep(1.0), norm="l2")
    up, down = attack(classifier, x, torch.tensor([1, 1]), keys(2))
    reach = 7 * torch.tensor(W).norm()
    torch.testing.assert_close(classifier(up), classifier(x) + reach, rtol=0, atol=1e-2)
    torch.testing.assert_close(classifier(down), classifier(x) - reach, rtol=0, atol=1e-2)


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
        attack = PGD(Peak(), 0.001, steps, SignStep(1.0))  # o stays within 25 +- 2.6, inside
        best = attack(classifier, x, torch.tensor([1]), keys(1))[0]
        assert torch.equal(best, x)


def test_an_iterate_that_evades_is_returned_though_the_objective_prefers_another(
    linear: Make,
) -> None:
    classifier = linear(W, -743.0)
    x = torch.full((1, 1, 2, 2), 128 / 255)
    for steps in (2, 3):  # the second of these ends at the image again
        best = PGD(Peak(), 0.1, steps, SignStep(1.0))(classifier, x, torch.tensor([1]), keys(1))[0]
        assert classifier.decode(classifier(best)).item() != 1


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
    with pytest.raises(AuditError, match="restarts is 0"):
        PGD(TaskLoss(), 0.1, restarts=0)
    with pytest.raises(AuditError, match="pursuit is -1"):
        PGD(TaskLoss(), 0.1, pursuit=-1)
    with pytest.raises(AuditError, match="one variant"):
        PGD(TaskLoss(), 0.1, crossed=True)
    with pytest.raises(AuditError, match="not above 0"):
        FGSM(TaskLoss(), 0.0, norm="l2")
    assert PGD(TaskLoss(), 3.0, norm="l2").eps == 3.0


def test_an_attack_says_what_it_is() -> None:
    assert repr(PGD(Directions(), 0.1, 20, SignStep(0.5, 0.02))) == (
        "PGD(objective=Directions(), eps=0.1, steps=20, rule=SignStep(share=0.5, final=0.02), "
        "restarts=1, random_start=False, precision='fp32', norm='linf', "
        "crossed=False, pursuit=0, view=None)"
    )


def test_a_watcher_sees_every_iterate_and_changes_nothing(linear: Make) -> None:
    classifier = linear(W, -743.0)
    x = torch.full((3, 1, 2, 2), 128 / 255)
    y = torch.tensor([1, 1, 1])
    seen: list[tuple[int, torch.Tensor]] = []
    attack = PGD(Directions(), 0.1, 4, SignStep(0.25), restarts=2)
    made = attack(
        classifier, x, y, keys(3), watch=lambda images, step: seen.append((step, images.clone()))
    )
    assert [step for step, _ in seen] == [0, 1, 2, 3, 4] * 2
    assert all(images.shape == (2, 3, 1, 2, 2) for _, images in seen)
    assert torch.equal(seen[0][1], x.expand(2, 3, 1, 2, 2))
    assert torch.equal(made, attack(classifier, x, y, keys(3)))
    reached = torch.stack([classifier(images[0]) for _, images in seen]).amax(0)
    assert torch.equal(reached, classifier(made[0])), "the returned image is the best one seen"


def test_crossed_runs_start_where_the_other_direction_ended(linear: Make) -> None:
    classifier = linear(W, -743.0)
    x = torch.full((2, 1, 2, 2), 128 / 255)
    seen: list[torch.Tensor] = []
    attack = PGD(Directions(), 0.1, 1, SignStep(1.0), restarts=5, crossed=True)
    attack(
        classifier, x, torch.tensor([1, 1]), keys(2), watch=lambda z, step: seen.append(z.clone())
    )
    first, ended, second = seen[0], seen[1], seen[2]
    assert torch.equal(first, x.expand_as(first))
    assert torch.equal(second, ended.flip(0))
    assert not torch.equal(ended[0], ended[1])
    fresh, before = seen[8], seen[7]
    assert not torch.isin(fresh, torch.cat([x, before.flatten(0, 1)])).any(), "the fifth is random"


def test_a_pursuit_runs_only_what_still_stands(linear: Make) -> None:
    """Image 0 leaves its interval in the first run; image 1, at another eps, cannot."""
    classifier = linear(W, -743.0)
    x = torch.full((2, 1, 2, 2), 128 / 255)
    x[1] = 130 / 255  # o = 37: correct for no class, so it evades before any run
    eps = exact_eps(1 / 255)  # moves o by 10, from 25 to the edges 15 and 35: out both ways
    rows: list[int] = []
    handle = classifier.backbone.register_forward_hook(
        lambda module, args, out: rows.append(len(out)) if args[0].requires_grad else None
    )
    attack = PGD(Directions(), eps, 1, SignStep(0.1), pursuit=2, crossed=True)
    made = attack(classifier, x, torch.tensor([1, 1]), keys(2))
    handle.remove()
    assert rows == [4, 2, 2], "one gradient of all, then two of the image that stands"
    assert made.shape == (2, 2, 1, 2, 2)


def test_a_pursuit_finds_what_the_same_runs_of_all_images_find(linear: Make) -> None:
    classifier = linear(W, -743.0)
    x = torch.rand(20, 1, 2, 2, generator=torch.Generator().manual_seed(1)) * 0.02 + 0.49
    x = (x * 255).round() / 255
    y = torch.ones(20).long()
    eps = exact_eps(4 / 255)
    paths = [
        PGD(TaskLoss(), eps, 5, restarts=restarts, pursuit=pursuit)
        for restarts, pursuit in ((6, 0), (1, 5))
    ]
    outcomes = [
        classifier.decode(classifier((attack(classifier, x, y, keys(20))[0] * 255).round() / 255))
        for attack in paths
    ]
    assert torch.equal(outcomes[0] != 1, outcomes[1] != 1)
    assert (outcomes[0] != 1).sum() > 0


class Restless(SignStep):
    """The same steps for every image, whether it has a gradient or not."""

    rests = False


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_images_without_a_gradient_leave_a_run_and_come_out_the_same(
    linear: Make, norm: Norm
) -> None:
    """Inside the interval Eq. 3 is flat: nothing is computed again for these images."""
    classifier = linear(W, -743.0)
    x = torch.rand(20, 1, 2, 2, generator=torch.Generator().manual_seed(1)) * 0.02 + 0.49
    y = torch.ones(20).long()
    shown: dict[bool, list[Tensor]] = {True: [], False: []}
    made, rows = {}, {}
    for rule in (SignStep(0.1), Restless(0.1)):
        counts: list[int] = []
        handle = classifier.backbone.register_forward_hook(
            lambda module, args, out, counts=counts: counts.append(len(out))
        )
        attack = PGD(TaskLoss(), 0.01, 5, rule, restarts=2, random_start=True, norm=norm)
        made[rule.rests] = attack(classifier, x, y, keys(20))
        rows[rule.rests] = sum(counts)
        handle.remove()
        attack(classifier, x, y, keys(20), watch=lambda z, _, k=rule.rests: shown[k].append(z + 0))
    torch.testing.assert_close(made[True], made[False], rtol=0, atol=1e-7 * (norm == "l2"))
    assert rows[False] == 20 * 6 * 2
    assert rows[True] <= 0.7 * rows[False]
    assert {z.shape for z in shown[True]} == {(1, 20, 1, 2, 2)}
    torch.testing.assert_close(shown[True], shown[False], rtol=0, atol=1e-7 * (norm == "l2"))


@pytest.mark.parametrize(("crossed", "first"), [(False, 3), (True, 4)])
def test_runs_that_were_made_are_not_made_again(linear: Make, crossed: bool, first: int) -> None:
    """Six runs less three; where runs are crossed, from the next fresh start on."""
    classifier, x, y = linear(W, -743.0), torch.full((2, 1, 2, 2), 128 / 255), torch.ones(2).long()
    attack = PGD(Directions(), 0.01, 2, SignStep(0.1), restarts=6, crossed=crossed)
    every: list[Tensor] = []
    later: list[Tensor] = []
    attack(classifier, x, y, keys(2), watch=lambda z, _: every.append(z.clone()))
    attack(classifier, x, y, keys(2), watch=lambda z, _: later.append(z.clone()), skip=3)
    assert len(later) == 3 * 3
    assert all(map(torch.equal, every[3 * first :], later))


def test_a_whole_batch_is_pursued_as_long_as_one_stands(linear: Make) -> None:
    classifier = linear(W, -743.0)
    x = torch.full((2, 1, 2, 2), 128 / 255)
    x[1] = 130 / 255  # evades before any run
    rows: list[int] = []
    handle = classifier.backbone.register_forward_hook(
        lambda module, args, out: rows.append(len(out)) if args[0].requires_grad else None
    )
    for levels, share, runs in ((1, 0.1, 3), (2, 1.0, 1)):
        rows.clear()
        eps = exact_eps(levels / 255)
        attack = PGD(Directions(), eps, 1, SignStep(share), pursuit=2, crossed=True)
        attack(classifier, x, torch.tensor([1, 1]), keys(2), whole=True)
        assert rows == [4] * runs
    handle.remove()


def test_with_a_view_only_last_iterates_are_candidates(linear: Make) -> None:
    """Their values are those of what was shown, so they say nothing of the image."""
    classifier = linear(W, -743.0)
    x = torch.full((2, 1, 2, 2), 128 / 255)
    seen: list[torch.Tensor] = []
    attack = PGD(Peak(), 0.1, 2, SignStep(1.0), view=InputDiversity(1.0))
    made = attack(
        classifier, x, torch.tensor([1, 1]), keys(2), watch=lambda z, step: seen.append(z.clone())
    )
    assert torch.equal(made, seen[-1])


def test_the_transfer_variant_reaches_the_closed_form_of_a_linear_model(linear: Make) -> None:
    classifier = linear(W, -743.0)
    x = torch.full((2, 1, 2, 2), 128 / 255)
    attack = PGD(Directions(), 0.1, 12, Momentum(SignStep(0.1)), view=InputDiversity())
    up, _ = attack(classifier, x, torch.tensor([1, 1]), keys(2))
    torch.testing.assert_close(classifier(up) - classifier(x), torch.tensor([255.0, 255.0]))


def test_two_classes_are_enough(linear: Make) -> None:
    classifier = linear(W, -743.0, classes=2)
    x = torch.full((2, 1, 2, 2), 128 / 255)
    y = torch.tensor([0, 1])
    lower, upper = PGD(Targets(), 8 / 255, 20)(classifier, x, y, keys(2))
    both = classifier.decode(classifier(torch.cat([lower, upper])))
    assert both.tolist() == [1, 0, 1, 0]


def test_a_watched_pursuit_shows_every_image(linear: Make) -> None:
    x = torch.full((2, 1, 2, 2), 128 / 255)
    shapes: list[torch.Size] = []
    attack = PGD(Directions(), 0.1, 1, SignStep(1.0), pursuit=2, crossed=True)
    attack(
        linear(W, -743.0),
        x,
        torch.tensor([1, 1]),
        keys(2),
        watch=lambda z, _: shapes.append(z.shape),
    )
    assert shapes == [torch.Size((2, 2, 1, 2, 2))] * 6


def test_crossing_and_pursuit_do_not_depend_on_the_batch(linear: Make) -> None:
    classifier = linear(W, -743.0)
    x = torch.rand(9, 1, 2, 2, generator=torch.Generator().manual_seed(2)) * 0.02 + 0.49
    x = (x * 255).round() / 255
    y = torch.ones(9).long()
    attack = PGD(Directions(), 1 / 255, 3, SignStep(0.3), pursuit=6, crossed=True)
    whole = attack(classifier, x, y, keys(9))
    parts = [
        attack(classifier, x[rows], y[rows], SampleKeys(0, "a", rows))
        for rows in torch.arange(9).split(4)
    ]
    assert torch.equal(whole, torch.cat(parts, dim=1))
