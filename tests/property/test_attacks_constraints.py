"""Whatever goes in: adversarial images stay in the ball, in [0, 1] and on the 8-bit grid."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fleet.attacks import (
    FGSM,
    PGD,
    Directions,
    HalvingStep,
    InputDiversity,
    Momentum,
    Norm,
    SampleKeys,
    SegmentSearch,
    SignNoise,
    SignStep,
    StepRule,
    Targets,
    TaskLoss,
    attackable,
    decide,
    distance,
    exact_eps,
    quantise,
    radius,
    reproject,
    settle,
    to_bytes,
)
from fleet.attacks.outcomes import FLIP
from fleet.encoding import IntervalEncoding
from fleet.models import Classifier

PIXELS = 6
levels = st.integers(0, 255)
images = st.lists(st.lists(levels, min_size=PIXELS, max_size=PIXELS), min_size=1, max_size=4)
weights = st.lists(st.integers(-20, 20), min_size=PIXELS, max_size=PIXELS)
radii = st.one_of(st.floats(1 / 255, 6 / 255), st.floats(1 / 255, 1.0))


class Wave(nn.Module):
    """A smooth scalar that rises and falls."""

    def __init__(self, w: list[int]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        t = x.flatten(1) @ self.w
        return 20 * t + 30 * torch.sin(3 * t) + 60


def classifier(w: list[int]) -> Classifier:
    encoding = IntervalEncoding(4, alpha=10.0, beta=20.0, order=(2, 0, 3, 1))
    return Classifier.from_module(Wave(w), encoding, (1, 2, 3))


def batch(rows: list[list[int]]) -> tuple[Tensor, Tensor, SampleKeys]:
    clean = torch.tensor(rows, dtype=torch.uint8).reshape(-1, 1, 2, 3)
    return clean, torch.arange(len(rows)) % 4, SampleKeys(0, "a", torch.arange(len(rows)))


@settings(deadline=None, max_examples=40)
@given(
    rows=images,
    w=weights,
    eps=radii,
    objective=st.sampled_from([TaskLoss(), Directions(), Targets(), Targets((0, 3))]),
    share=st.floats(0.01, 3.0),
    random_start=st.booleans(),
)
def test_gradient_attacks_keep_their_promises(
    *,
    rows: list[list[int]],
    w: list[int],
    eps: float,
    objective: TaskLoss | Directions | Targets,
    share: float,
    random_start: bool,
) -> None:
    clean, labels, keys = batch(rows)
    x = clean.float() / 255
    model = classifier(w)
    pgd = PGD(objective, eps, 3, SignStep(share), 2, random_start)
    for attack in (FGSM(objective, eps), pgd):
        made = attack(model, x, labels, keys)
        assert made.shape == (objective.variants, *x.shape)
        assert made.dtype == torch.float32
        assert made.min() >= 0
        assert made.max() <= 1
        assert (made - x).abs().max() <= eps + 1e-6


@settings(deadline=None, max_examples=40)
@given(rows=images, w=weights, eps=radii)
def test_8_bit_images_stay_within_the_whole_levels_inside_eps(
    rows: list[list[int]], w: list[int], eps: float
) -> None:
    clean, labels, keys = batch(rows)
    x, exact = clean.float() / 255, exact_eps(eps)
    attacks = (PGD(Directions(), exact, 2, SignStep(0.7)), SignNoise(exact, 2))
    for attack in attacks:
        rounded = to_bytes(attack(classifier(w), x, labels, keys))
        inside = reproject(rounded, clean, radius(eps))
        assert torch.equal(rounded, inside), "inside before the projection already"
        assert (inside.int() - clean.int()).abs().max() <= radius(eps) <= eps * 255 + 1e-4


@settings(deadline=None, max_examples=40)
@given(
    rows=images,
    w=weights,
    norm=st.sampled_from(["linf", "l2"]),
    eps=radii,
    rule=st.sampled_from([SignStep(0.7), HalvingStep(), Momentum(SignStep(0.5))]),
    view=st.sampled_from([None, InputDiversity(0.5)]),
    crossed=st.booleans(),
)
def test_every_rule_view_and_norm_keeps_its_promises(
    *,
    rows: list[list[int]],
    w: list[int],
    norm: Norm,
    eps: float,
    rule: StepRule,
    view: InputDiversity | None,
    crossed: bool,
) -> None:
    clean, labels, keys = batch(rows)
    exact = exact_eps(eps, norm)
    attack = PGD(Directions(), exact, 4, rule, 2, norm=norm, crossed=crossed, pursuit=3, view=view)
    made = attack(classifier(w), clean.float() / 255, labels, keys)
    assert made.shape == (2, *clean.shape)
    assert made.min() >= 0
    assert made.max() <= 1
    assert distance(quantise(made, clean, eps, norm), clean, norm).max() <= eps + 1e-8


@settings(deadline=None, max_examples=100)
@given(
    rows=images,
    made=images,
    eps=st.one_of(st.floats(1 / 255, 6 / 255), st.floats(1 / 255, math.sqrt(PIXELS))),
    scale=st.floats(0, 1),
)
def test_l2_images_are_inside_exactly_and_as_near_as_rounding_allows(
    rows: list[list[int]], made: list[list[int]], eps: float, scale: float
) -> None:
    count = min(len(rows), len(made))
    clean, _, _ = batch(rows[:count])
    far, _, _ = batch(made[:count])
    wanted = torch.lerp(clean.double(), far.double(), scale) / 255
    images = quantise(wanted, clean, eps, "l2")
    assert distance(images, clean, "l2").max() <= eps * (1 + 1e-9)
    inside = distance(far, clean, "l2") * scale < eps
    shift = (images.double() - wanted * 255)[inside]
    assert bool((shift.abs() < 1).all()), "up or down to a neighbouring level, never further"
    assert torch.equal(quantise(images.double() / 255, clean, eps, "l2"), images)


@settings(deadline=None, max_examples=40)
@given(rows=images, ends=images, w=weights)
def test_segment_points_lie_between_the_ends_and_success_is_real(
    rows: list[list[int]], ends: list[list[int]], w: list[int]
) -> None:
    count = min(len(rows), len(ends))
    clean, labels, _ = batch(rows[:count])
    far, _, _ = batch(ends[:count])
    model = classifier(w)
    with attackable(model):
        points, found = SegmentSearch(points=9)(model, clean, far, labels)
        outcomes = decide(model, points, labels).outcomes
    assert bool((torch.minimum(clean, far) <= points).all())
    assert bool((points <= torch.maximum(clean, far)).all())
    assert bool((outcomes[found] == FLIP).all())
    assert torch.equal(points[~found], far[~found])


@settings(deadline=None, max_examples=40)
@given(rows=images, w=weights, eps=radii)
def test_the_settled_image_is_as_bad_as_the_worst_candidate(
    rows: list[list[int]], w: list[int], eps: float
) -> None:
    clean, labels, keys = batch(rows)
    model, exact = classifier(w), exact_eps(eps)
    made = PGD(Directions(), exact, 3, SignStep(0.5))(model, clean.float() / 255, labels, keys)
    candidates = reproject(to_bytes(made), clean, radius(eps))
    best = settle(model, clean, candidates, labels)
    with attackable(model):
        worst = torch.stack([decide(model, part, labels).outcomes for part in candidates]).amax(0)
        settled = decide(model, best, labels).outcomes
    assert bool((settled >= worst).all())
    assert (best.int() - clean.int()).abs().max() <= radius(eps)
