"""Whatever goes in: minimum-norm and gradient-free attacks keep their promises."""

import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fleet.attacks import SampleKeys, attackable, decide
from fleet.attacks.ball import distance
from fleet.attacks.minimum import DeepFool, first_order_margins, round_to_bytes, shortest_step
from fleet.attacks.penalty import CarliniWagner, ElasticNet
from fleet.attacks.rays import RayS
from fleet.attacks.square import Square
from fleet.encoding import IntervalEncoding
from fleet.models import Classifier

PIXELS = 6
levels = st.integers(0, 255)
images = st.lists(st.lists(levels, min_size=PIXELS, max_size=PIXELS), min_size=1, max_size=4)
weights = st.lists(st.integers(-20, 20), min_size=PIXELS, max_size=PIXELS)


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


def batch(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    return torch.tensor(rows, dtype=torch.uint8).reshape(-1, 1, 2, 3), torch.arange(len(rows)) % 4


@settings(deadline=None, max_examples=25)
@given(
    rows=images,
    w=weights,
    attack=st.sampled_from(
        [
            DeepFool("l2", 3),
            DeepFool("linf", 3),
            CarliniWagner(2, 4),
            ElasticNet(0.5, "l1", searches=2, steps=4),
        ]
    ),
)
def test_success_is_real_and_distances_are_those_of_the_images(
    rows: list[list[int]], w: list[int], attack: DeepFool | CarliniWagner | ElasticNet
) -> None:
    clean, labels = batch(rows)
    x, model = clean.float() / 255, classifier(w)
    found = attack(model, x, labels)
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    difference = (found.images - x).flatten(1)
    for order, lengths in ((1, found.l1), (2, found.l2), (torch.inf, found.linf)):
        own = torch.linalg.vector_norm(difference, ord=order, dim=1)
        torch.testing.assert_close(lengths[found.success], own[found.success])
        assert lengths[~found.success].isinf().all()
    assert (difference[~found.success] == 0).all()
    wrong = model.decode(model(x)) != labels
    assert found.success[wrong].all()
    assert (found.l2[wrong] == 0).all()
    assert (first_order_margins(model, x, labels)[wrong] == 0).all()
    rounded = round_to_bytes(model, x, labels, found)
    whole = (rounded.minimum.images * 255).round().to(torch.uint8)
    with attackable(model):
        evades = decide(model, whole, labels).outcomes > 0
    assert bool(evades[rounded.minimum.success].all())
    assert not (rounded.minimum.success & ~found.success).any()


@settings(deadline=None, max_examples=60)
@given(
    x=st.lists(st.floats(0, 1, width=32), min_size=PIXELS, max_size=PIXELS),
    g=st.lists(st.floats(-1e3, 1e3, width=32), min_size=PIXELS, max_size=PIXELS),
    need=st.floats(0, 1e4),
    norm=st.sampled_from(["linf", "l2"]),
)
@example([0.0] * 6, [0.0, 0.0, 0.0, 0.0, 888.578125, 1.401298464324817e-45], 888.578125, "l2")
def test_the_shortest_step_rises_by_what_is_needed_or_by_all_there_is(
    x: list[float], g: list[float], need: float, norm: str
) -> None:
    image = torch.tensor(x).reshape(1, 1, 2, 3)
    slope = torch.tensor(g).reshape(1, 1, 2, 3)
    d = shortest_step(image, slope, torch.tensor([need]), norm)
    reach = torch.where(slope > 0, slope * (1 - image), -slope * image).double().sum().item()
    rise = (slope.double() * d.double()).sum().item()
    assert abs(rise - min(need, reach)) <= 1e-4 * (1 + min(need, reach))
    assert (image + d).min() >= -1e-6
    assert (image + d).max() <= 1 + 1e-6


@settings(deadline=None, max_examples=25)
@given(
    rows=images,
    w=weights,
    attack=st.sampled_from(
        [Square(0.05, 7), Square(0.3, 7), Square(0.05, 7, norm="l2"), Square(1.2, 7, norm="l2")]
    ),
)
def test_square_images_are_in_the_ball_and_success_is_real(
    rows: list[list[int]], w: list[int], attack: Square
) -> None:
    clean, labels = batch(rows)
    x, model = clean.float() / 255, classifier(w)
    keys = SampleKeys(0, "a", torch.arange(len(rows)))
    found = attack.run(model, x, labels, keys)
    assert (distance(found.images, clean, attack.norm) <= attack.eps + 1e-9).all()
    with attackable(model):
        evades = decide(model, found.images, labels).outcomes > 0
    assert torch.equal(evades, found.success)
    assert ((found.queries >= 1) & (found.queries <= 7)).all()


@settings(deadline=None, max_examples=25)
@given(rows=images, w=weights, eps=st.floats(1 / 255, 1.0), queries=st.integers(1, 30))
def test_rays_images_are_in_the_ball_and_success_is_real(
    rows: list[list[int]], w: list[int], eps: float, queries: int
) -> None:
    clean, labels = batch(rows)
    model = classifier(w)
    found = RayS(eps, queries).run(model, clean.float() / 255, labels)
    assert (distance(found.images, clean) <= eps + 1e-6).all()
    with attackable(model):
        evades = decide(model, found.images, labels).outcomes > 0
    assert bool(evades[found.success].all())
    assert torch.equal(found.images[~found.success], clean[~found.success])
