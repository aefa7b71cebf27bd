"""Attacks on several linear devices, whose best joint image is known on paper."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

from fleet.attacks import L2Ball, SampleKeys, attackable, decide, quantise
from fleet.attacks.joint import (
    CAP,
    REWEIGH,
    ArcAttack,
    Best,
    JointAscent,
    JointAttack,
    joint_gradient,
    min_max,
    project_to_simplex,
    rank,
    reweighed,
    uniform,
)
from fleet.attacks.joint_members import Standing, bind, look_all
from fleet.attacks.steps import Momentum, SignStep
from fleet.data import to_unit
from fleet.errors import AuditError
from fleet.models import Classifier

EPS = 8 / 255
"""8 levels of each pixel."""

Make = Callable[..., Classifier]
Grey = Callable[..., Tensor]

ATTACKS: list[JointAttack] = [
    *(JointAscent(EPS, weighting, steps=4) for weighting in REWEIGH),
    ArcAttack(EPS, steps=4),
]


def keys(count: int = 1) -> SampleKeys:
    return SampleKeys(0, "coalition", torch.arange(count))


def stand(reach: list[float], fooled: list[bool]) -> Standing:
    """One image with several networks."""
    values = torch.tensor(reach).unsqueeze(1)
    return Standing(values, torch.tensor(fooled).unsqueeze(1), torch.zeros_like(values).long())


def attack(
    joint: JointAttack, classifiers: list[Classifier], images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Levels added to each pixel (B, 4), and outcomes (M, B), after rounding to 8 bits."""
    made = joint(classifiers, to_unit(images), labels, keys(len(images)))
    rounded = quantise(made, images, EPS)
    outcomes = []
    for classifier in classifiers:
        with attackable(classifier):
            outcomes.append(decide(classifier, rounded, labels).outcomes)
    return (rounded.int() - images.int()).flatten(1), torch.stack(outcomes)


@pytest.mark.parametrize("joint", ATTACKS, ids=lambda a: getattr(a, "weighting", "arc"))
def test_devices_that_look_at_different_pixels_all_reach_their_own_optimum(
    joint: JointAttack, linear: Make, grey: Grey
) -> None:
    # Outputs 26 in [20, 30]: nearer to the upper edge, so both go up, to 26 + 8.
    first = linear([1.0, 0.0, 0.0, 0.0], -102.0)
    second = linear([0.0, -1.0, 0.0, 0.0], 154.0)
    moved, outcomes = attack(joint, [first, second], grey(128), torch.tensor([1]))
    assert moved[0, :2].tolist() == [8, -8]
    assert (outcomes > 0).all()


@pytest.mark.parametrize("joint", ATTACKS, ids=lambda a: getattr(a, "weighting", "arc"))
def test_each_device_leaves_by_its_own_side(joint: JointAttack, linear: Make, grey: Grey) -> None:
    # The same pixel raises the first to its upper edge and lowers the second to its lower edge.
    first = linear([1.0, 0.0, 0.0, 0.0], -102.0)
    second = linear([-1.0, 0.0, 0.0, 0.0], 128.0 + 24.0)
    moved, outcomes = attack(joint, [first, second], grey(128), torch.tensor([1]))
    assert moved[0, 0] == 8
    assert (outcomes > 0).all()


@pytest.mark.parametrize("weighting", ["min-max", "reweighed"])
def test_a_device_outvoted_by_two_falls_to_weights_and_not_to_equal_ones(
    weighting: str, linear: Make, grey: Grey
) -> None:
    """Exact optimum of a conflict over one pixel, against all 17 values it may take.

    ``a`` and ``b`` (equal) rise with pixel 0 and with pixel 1; ``c`` falls with pixel 0. Up to
    pixel values (0, 8) all three can be evaded, because a and b need one pixel only.
    """
    a = linear([1.0, 1.0, 0.0, 0.0], 26.0 - 256.0)
    c = linear([-2.0, 0.0, 0.0, 0.0], 26.0 + 256.0)
    labels, images = torch.tensor([1]), grey(128)
    members = bind([a, a, c], labels, "fp32")
    reachable = []
    for levels in product(range(-8, 9), repeat=2):
        tried = images.clone().int()
        tried[0, 0, 0] += torch.tensor(levels)
        with attackable(a), attackable(c):
            standing = look_all(members, to_unit(tried.to(torch.uint8)))
        reachable.append(int(standing.fooled.sum()))
    assert max(reachable) == 3
    strong = JointAscent(EPS, weighting, steps=40, rule=SignStep(1.0, 0.02))  # type: ignore[arg-type]
    _, outcomes = attack(strong, [a, a, c], images, labels)
    assert int((outcomes > 0).sum()) == 3
    _, outcomes = attack(ArcAttack(EPS, steps=20), [a, a, c], images, labels)
    assert int((outcomes > 0).sum()) == 3


def test_the_reach_is_the_distance_beyond_the_nearer_edge_in_slots(
    linear: Make, grey: Grey
) -> None:
    # Slots of [20, 30], pitch 20: outputs 26 and 45 are 4 short of the edge and 15 beyond it.
    inside, outside = linear([0.0] * 4, 26.0), linear([0.0] * 4, 45.0)
    standing = look_all(bind([inside, outside], torch.tensor([1]), "fp32"), to_unit(grey(9)))
    torch.testing.assert_close(standing.reach, torch.tensor([[-4 / 20], [15 / 20]]))
    assert standing.fooled.tolist() == [[False], [True]]


def test_at_the_centre_up_and_down_do_not_cancel(linear: Make, grey: Grey) -> None:
    device = linear([1.0, 0.0, 0.0, 0.0], 25.0 - 128.0)
    (member,) = bind([device], torch.tensor([1]), "fp32")
    gradient, standing = member.ascend(to_unit(grey(128)))
    assert gradient.abs().sum() > 0
    torch.testing.assert_close(standing.reach, torch.tensor([-0.25]))


def test_a_saturated_ordinal_device_still_has_a_direction(ordinal: Make, grey: Grey) -> None:
    # Unit 1 is far below its clip and unit 0 far above: the scalar itself is flat.
    device = ordinal([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]], [-118.0, -132.0])
    (member,) = bind([device], torch.tensor([1]), "fp32")
    gradient, standing = member.ascend(to_unit(grey(128)))
    assert not standing.fooled.any()
    assert gradient[0, 0].flatten().tolist() == [0.0, 4.0, 0.0, 0.0]  # mean size 1


def test_a_device_that_held_is_sent_to_its_other_edge(linear: Make, grey: Grey) -> None:
    """Black pixels cannot go down: output 22 of [20, 30] is nearer to the edge it cannot reach."""
    stuck = linear([2.0, 0.0, 0.0, 0.0], 22.0)
    labels, images = torch.tensor([1]), grey(0)
    _, outcomes = attack(JointAscent(EPS, steps=4), [stuck], images, labels)
    assert outcomes.tolist() == [[0]]
    for joint in (JointAscent(EPS, steps=4, restarts=2), ArcAttack(EPS, steps=8, restarts=2)):
        moved, outcomes = attack(joint, [stuck], images, labels)
        assert moved[0, 0] == 8  # 22 + 16 is beyond 30
        assert outcomes.tolist() == [[1]]


def test_only_devices_that_held_change_sides(linear: Make, logits: Make, grey: Grey) -> None:
    held, fell = linear([0.0] * 4, 21.0), linear([0.0] * 4, 35.0)
    control = logits([[1.0, 0.0, 0.0, 0.0], [0.0] * 4])
    members = bind([held, fell, control], torch.tensor([1]), "fp32")
    best = Best(to_unit(grey(0)))
    assert best.next_sides(members) == [None, None, None]
    best.update(to_unit(grey(0)), look_all(members, to_unit(grey(0))))
    sides = best.next_sides(members)
    assert [int(side) for side in sides if side is not None] == [0, 0, 0]
    assert best.standing is not None
    assert best.standing.side.squeeze(1).tolist() == [1, 0, 0]


def test_controls_are_attacked_by_their_margin(logits: Make, grey: Grey) -> None:
    control = logits([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    images = grey(100)
    images[0, 0, 0, 0] = 110  # class 0 by 10 levels: 8 + 8 turn it
    moved, outcomes = attack(JointAscent(EPS, steps=4), [control], images, torch.tensor([0]))
    assert moved[0, :2].tolist() == [-8, 8]
    assert outcomes.tolist() == [[2]]


def test_gradients_of_steep_and_flat_devices_weigh_the_same(linear: Make, grey: Grey) -> None:
    steep, flat = linear([100.0, 0.0, 0.0, 0.0], 25.5), linear([0.0, 0.1, 0.0, 0.0], 25.5)
    members = bind([steep, flat], torch.tensor([1]), "fp32")
    total, _ = joint_gradient(members, to_unit(grey(0)), torch.full((2, 1), 0.5), [None, None])
    assert total.flatten().tolist() == [2.0, 2.0, 0.0, 0.0]


def test_a_device_beyond_the_cap_hardly_pulls(linear: Make, grey: Grey) -> None:
    fallen = linear([1.0, 0.0, 0.0, 0.0], 30.0 + 20 * (CAP + 0.1))
    standing_device = linear([0.0, 1.0, 0.0, 0.0], 26.0)
    members = bind([fallen, standing_device], torch.tensor([1]), "fp32")
    total, _ = joint_gradient(members, to_unit(grey(0)), torch.full((2, 1), 0.5), [None, None])
    assert total.flatten()[0] == pytest.approx(0.05 * float(total.flatten()[1]))


def test_the_best_image_fools_most_devices_before_it_has_the_largest_loss() -> None:
    two = stand([0.01, 0.01], [True, True])
    one = stand([9.0, 9.0], [True, False])
    further = stand([0.5, 0.01], [True, True])
    assert rank(further) > rank(two) > rank(one)
    best = Best(torch.zeros(1, 1, 1, 1))
    for value, standing in ((1.0, two), (2.0, one), (3.0, further), (4.0, two)):
        best.update(torch.full((1, 1, 1, 1), value), standing)
    assert best.images.item() == 3.0


def test_a_reach_that_is_nan_is_never_better() -> None:
    good = stand([0.2], [True])
    broken = stand([float("nan")], [True])
    assert rank(good) > rank(broken)


def test_weights_follow_their_rule() -> None:
    standing = stand([0.5, -0.1, -0.4], [True, False, False])
    equal = torch.full((3, 1), 1 / 3)
    assert uniform(equal, standing) is equal
    near = reweighed(equal, standing).squeeze(1)
    assert near[0] > near[1] > near[2]
    torch.testing.assert_close(near.sum(), torch.tensor(1.0))
    hard = min_max(equal, standing).squeeze(1)
    assert hard[0] < hard[1] < hard[2]
    torch.testing.assert_close(hard.sum(), torch.tensor(1.0))


@pytest.mark.parametrize(
    ("point", "nearest"),
    [
        ([0.2, 0.3, 0.5], [0.2, 0.3, 0.5]),
        ([1.2, 0.3, -0.5], [0.95, 0.05, 0.0]),
        ([9.0, 0.0, 0.0], [1.0, 0.0, 0.0]),
        ([-1.0, -1.0, -1.0], [1 / 3, 1 / 3, 1 / 3]),
    ],
)
def test_projection_to_the_simplex(point: list[float], nearest: list[float]) -> None:
    found = project_to_simplex(torch.tensor(point).unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(found, torch.tensor(nearest))


@pytest.mark.parametrize("joint", [JointAscent(EPS, steps=3, restarts=2), ArcAttack(EPS, 3, 2)])
def test_results_do_not_depend_on_the_batch(joint: JointAttack, linear: Make) -> None:
    devices = [linear([1.0, -0.5, 0.25, 0.0], -70.0), linear([-0.5, 1.0, 0.0, 0.3], -76.0)]
    images = torch.randint(60, 200, (6, 1, 2, 2), generator=torch.Generator().manual_seed(0))
    images, labels = images.to(torch.uint8), torch.tensor([0, 1, 2, 0, 1, 2])
    whole = joint(devices, to_unit(images), labels, keys(6))
    parts = [
        joint(devices, to_unit(images[i]), labels[i], SampleKeys(0, "coalition", i))
        for i in torch.arange(6).split(4)
    ]
    assert torch.equal(whole, torch.cat(parts))
    assert (whole - to_unit(images)).abs().max() <= EPS + 1e-6


def test_restarts_never_lose_what_was_found(linear: Make, grey: Grey) -> None:
    devices = [linear([1.0, 0.0, 0.0, 0.0], -105.0)]
    few, many = (JointAscent(EPS, steps=2, restarts=n) for n in (1, 4))
    images, labels = grey(128), torch.tensor([1])
    members = bind(devices, labels, "fp32")
    scores = [
        rank(look_all(members, a(devices, to_unit(images), labels, keys()))) for a in (few, many)
    ]
    assert scores[1] >= scores[0]


def test_the_l2_ball_is_kept(linear: Make, grey: Grey) -> None:
    joint = JointAscent(0.05, steps=5, rule=Momentum(SignStep(0.5)), norm="l2")
    clean = to_unit(grey(128))
    made = joint([linear([3.0, 4.0, 0.0, 0.0], -865.0)], clean, torch.tensor([1]), keys())
    difference = (made - clean).flatten()
    assert difference.norm() <= 0.05 + 1e-6
    # The steepest direction of the only device.
    torch.testing.assert_close(difference / difference.norm(), torch.tensor([0.6, 0.8, 0.0, 0.0]))
    assert isinstance(L2Ball(clean, 0.05), L2Ball)


def test_networks_are_left_as_they_were(linear: Make, grey: Grey) -> None:
    device = linear([1.0, 0.0, 0.0, 0.0], -102.0)
    device.train()
    before = {name: value.clone() for name, value in device.state_dict().items()}
    JointAscent(EPS, steps=2)([device], to_unit(grey()), torch.tensor([1]), keys())
    assert device.training
    assert all(parameter.requires_grad for parameter in device.parameters())
    assert all(parameter.grad is None for parameter in device.parameters())
    assert all(torch.equal(before[name], value) for name, value in device.state_dict().items())


@pytest.mark.parametrize("make", [JointAscent, ArcAttack])
@pytest.mark.parametrize("values", [{"steps": 0}, {"restarts": 0}])
def test_refusals(make: Callable[..., JointAttack], values: dict[str, int]) -> None:
    with pytest.raises(AuditError, match="steps is"):
        make(EPS, **values)
    with pytest.raises(AuditError, match=r"not in \(0, 1\]"):
        make(2.0)


def test_no_network_is_refused(grey: Grey) -> None:
    with pytest.raises(AuditError, match="no network"):
        JointAscent(EPS)([], to_unit(grey()), torch.tensor([1]), keys())


def test_a_gradient_that_is_not_finite_counts_as_0(linear: Make, grey: Grey) -> None:
    (member,) = bind(
        [linear([float("nan"), 1.0, float("inf"), -3.0], 25.0)], torch.tensor([1]), "fp32"
    )
    gradient, _ = member.ascend(to_unit(grey(128)), torch.tensor([0]))
    assert gradient.flatten().tolist() == [0.0, 1.0, 0.0, -3.0]
