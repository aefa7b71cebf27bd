"""Square and RayS: what they promise on every query, and what they find where it is known."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fleet.attacks import Directions, SampleKeys, attackable, decide
from fleet.attacks.exits import Outside
from fleet.attacks.outcomes import FLIP, flips
from fleet.attacks.rays import RayS
from fleet.attacks.square import Square, moves
from fleet.encoding import IntervalEncoding
from fleet.errors import AuditError
from fleet.models import Classifier

Make = Callable[..., Classifier]
W = [3.0, -2.0, 1.0, 4.0]
SHAPE = (2, 12, 10)


class Seen(nn.Module):
    """``o = 25 + w . (x - 1/2)``, and every image that was asked about."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w)
        self.asked: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.asked.append(x.clone())
        return 25 + (x.flatten(1) - 0.5) @ self.w


def plane(scale: float, seed: int = 0) -> tuple[Classifier, Seen]:
    w = torch.randn(240, generator=torch.Generator().manual_seed(seed)) * scale
    network = Seen(w)
    encoding = IntervalEncoding(3, alpha=10.0, beta=10.0)
    return Classifier.from_module(network, encoding, SHAPE), network


def greys(count: int) -> tuple[Tensor, Tensor, SampleKeys]:
    x = torch.full((count, *SHAPE), 128 / 255)
    return x, torch.ones(count).long(), SampleKeys(0, "a", torch.arange(count))


def rand(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *SHAPE), generator=generator).float() / 255


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 1.0)])
def test_every_query_is_an_8_bit_image_in_the_ball(norm: str, eps: float) -> None:
    classifier, network = plane(0.1)
    _, y, keys = greys(3)
    x = rand(3)
    made = Square(eps, 60, norm=norm)(classifier, x, y, keys)
    assert len(network.asked) == 60
    for asked in network.asked:
        levels = asked * 255
        torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)
        difference = (asked - x).flatten(1).double()
        order = torch.inf if norm == "linf" else 2
        assert torch.linalg.vector_norm(difference, ord=order, dim=1).max() <= eps + 1e-6
        assert asked.min() >= 0
        assert asked.max() <= 1
    assert made.shape == (1, *x.shape)
    values = torch.stack([(classifier(a) - 25).abs() for a in network.asked[:60]]).amax(0)
    torch.testing.assert_close((classifier(made[0]) - 25).abs(), values)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 1.0)])
def test_the_search_comes_near_the_best_of_a_linear_model(norm: str, eps: float) -> None:
    classifier, _ = plane(0.01)  # never leaves the interval
    x, y, keys = greys(4)
    made = Square(eps, 400, norm=norm)(classifier, x, y, keys)[0]
    w = classifier.backbone.module.w
    best = 25 / 255 * w.abs().sum() if norm == "linf" else w.norm()
    reached = (classifier(made) - classifier(x)).abs() / best
    assert reached.min() > (0.6 if norm == "linf" else 0.3)
    assert reached.max() <= 1.001


@pytest.mark.parametrize(
    "attack", [Square(0.1, 60), Square(0.1, 60, Directions()), Square(1.6, 60, norm="l2")]
)
def test_queries_are_counted_to_the_first_success(attack: Square) -> None:
    classifier, network = plane(1.2)
    x, y, keys = greys(6)
    found = attack.run(classifier, x, y, keys)
    assert found.queries.unique().numel() > 2, "images differ in what they cost"
    assert found.success.any()
    assert (found.queries[~found.success] == 60).all()
    with attackable(classifier):
        assert torch.equal(decide(classifier, found.images, y).outcomes > 0, found.success)
    for row in range(6):
        network.asked.clear()
        alone = attack.run(classifier, x[[row]], y[[row]], SampleKeys(0, "a", torch.tensor([row])))
        assert alone.queries[0] == found.queries[row], "batches change nothing"
        assert torch.equal(alone.images[0], found.images[row])
        # Queries in turn: each forward pass holds one image of each variant.
        asked = torch.cat(network.asked)
        evading = classifier.decode(classifier(asked)) != 1
        first = evading.int().argmax() + 1 if evading.any() else 60
        assert first == alone.queries[0]


def test_directions_share_the_budget_and_keep_their_own_best() -> None:
    classifier, network = plane(0.05)
    x, y, keys = greys(2)
    attack = Square(0.1, 41, Directions())
    up, down = attack(classifier, x, y, keys)
    assert sum(len(asked) for asked in network.asked) == 2 * 40
    assert (classifier(up) > 25).all()
    assert (classifier(down) < 25).all()


def test_flips_can_be_what_is_looked_for() -> None:
    classifier, _ = plane(1.5)
    x, y, keys = greys(6)
    attack = Square(0.1, 300)
    evaded, flipped = (
        attack.run(classifier, x, y, keys),
        attack.run(classifier, x, y, keys, flips),
    )
    assert flipped.success.any()
    assert (flipped.queries >= evaded.queries).all()
    with attackable(classifier):
        outcomes = decide(classifier, flipped.images, y).outcomes
    assert (outcomes[flipped.success] == FLIP).all()


def test_logits_are_attacked_by_their_margin(logits: Make) -> None:
    rows = [[1.0, 0.0, 0.0, 0.0], [0.0, 0.9, 0.0, 0.0], [0.0, 0.0, 0.8, 0.0]]
    x = torch.full((5, 1, 2, 2), 128 / 255)
    y = torch.zeros(5).long()
    for norm, eps in (("linf", 0.1), ("l2", 0.2)):
        keys = SampleKeys(0, "a", torch.arange(5))
        found = Square(eps, 60, norm=norm).run(logits(rows), x, y, keys)
        assert found.success.all()


def test_ties_are_kept_so_that_a_flat_output_does_not_stop_the_search() -> None:
    classifier, network = plane(0.0)
    x, y, keys = greys(1)
    made = Square(0.1, 30)(classifier, x, y, keys)
    torch.testing.assert_close(made[0], network.asked[29])


def test_outside_is_above_0_exactly_where_the_image_evades(linear: Make) -> None:
    y = torch.tensor([1])
    x = torch.full((1, 1, 2, 2), 128 / 255)
    for o, value in ((25.0, -0.25), (20.0, 0.0), (18.0, 0.1), (30.0, 0.0), (50.0, 1.0)):
        classifier = linear([0.0] * 4, o)
        got = Outside().bind(classifier, y)(classifier.raw(x))
        torch.testing.assert_close(got, torch.tensor([value]))
        assert (got > 0).item() == (classifier.decode(classifier(x)) != 1).item()


def test_a_proposal_changes_one_square_and_never_nothing() -> None:
    clean = (rand(50) * 255).round().to(torch.uint8).clamp(30, 220)
    around = moves(clean, 0.1, "linf")
    keys = SampleKeys(0, "a", torch.arange(50))
    shape = torch.Size((around.numbers,))
    best = around.start(keys.uniform(shape, "start"))
    assert (best == best[:, :, :1]).flatten(1).float().mean() < 1
    for step, share in ((1, 0.3), (2, 0.05), (3, 1e-9)):
        tried = around.propose(best, share, keys.uniform(shape, step))
        changed = (tried != best).any(1)
        assert changed.flatten(1).any(1).all()
        side = max(round((share * 120) ** 0.5), 1)
        assert (changed.any(2).sum(1) <= side).all()
        assert (changed.any(1).sum(1) <= side).all()


def test_l2_moves_spend_the_whole_ball_where_pixels_have_room() -> None:
    clean = torch.full((20, *SHAPE), 128, dtype=torch.uint8)
    around = moves(clean, 1.0, "l2")
    keys = SampleKeys(0, "a", torch.arange(20))
    shape = torch.Size((around.numbers,))
    best = around.start(keys.uniform(shape, "start"))
    for step in range(6):
        length = ((best.double() - 128) / 255).flatten(1).norm(dim=1)
        assert (length <= 1 + 1e-9).all()
        assert (length > 0.95).all()
        best = around.propose(best, 0.5 * 0.5**step, keys.uniform(shape, step))


def test_squares_shrink_with_the_share_of_the_budget_that_is_spent() -> None:
    long, short = Square(0.1, 10_000), Square(0.1, 1000)
    shares = [long.side_share(step) for step in (0, 11, 51, 9_999)]
    assert shares == [0.8, 0.4, 0.2, 0.8 / 2**9]
    assert short.side_share(6) == long.side_share(60)


def test_rays_finds_the_least_level_of_the_best_corner(linear: Make) -> None:
    """One pixel counts, o = 25 at 128: up leaves at 134 (o > 30), down at 122 (o < 20)."""
    classifier = linear([1.0, 0.0, 0.0, 0.0], -103.0)
    x = torch.full((2, 1, 2, 2), 128 / 255)
    y = torch.tensor([1, 1])
    near = RayS(6 / 255, 60).run(classifier, x, y)
    assert near.success.all()
    assert ((near.images.int() - 128).abs().amax((1, 2, 3)) == 6).all()
    far = RayS(5 / 255, 60).run(classifier, x, y)
    assert not far.success.any()
    assert torch.equal(far.images, torch.full_like(far.images, 128))
    assert far.queries.tolist() == [60, 60]


def test_rays_needs_both_signs_and_finds_them(linear: Make) -> None:
    """All bright moves o by 2 a level only; a way out of one level needs more than 5."""
    classifier = linear([4.0, -4.0, 1.0, 1.0], 25.0 - 2 * 128)
    x = torch.full((1, 1, 2, 2), 128 / 255)
    found = RayS(1 / 255, 200).run(classifier, x, torch.tensor([1]))
    assert found.success.all()
    assert ((found.images.int() - 128).abs() == 1).all()
    assert 2 < found.queries.item() < 60


def test_rays_looks_every_50_queries_and_stops_once_all_are_done() -> None:
    """16 stripes of alternating signs: six tenths of the full reach take 55 queries."""
    w = torch.tensor([1.0, -1.0]).repeat(8).repeat_interleave(15)
    network = Seen(w * (5 / 0.6) / (240 * 20 / 255))
    encoding = IntervalEncoding(3, alpha=10.0, beta=10.0)
    x, y, _ = greys(1)
    found = RayS(20 / 255, 300).run(Classifier.from_module(network, encoding, SHAPE), x, y)
    assert found.success.all()
    assert (found.queries.item(), len(network.asked)) == (55, 100)


def test_rays_counts_queries_and_does_not_depend_on_the_batch() -> None:
    classifier, network = plane(0.3)
    _, y, _ = greys(6)
    x = rand(6, 1)
    y = classifier.decode(classifier(x)).clamp(min=0)
    attack = RayS(0.1, 120)
    network.asked.clear()
    found = attack.run(classifier, x, y)
    assert len(network.asked) <= 120
    for asked in network.asked:
        levels = asked * 255
        torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)
    with attackable(classifier):
        assert torch.equal(decide(classifier, found.images, y).outcomes > 0, found.success)
    for row in range(6):
        alone = attack.run(classifier, x[[row]], y[[row]])
        assert torch.equal(alone.images[0], found.images[row])
        assert alone.queries[0] == found.queries[row]


def test_the_classifier_is_left_as_it_was() -> None:
    classifier, _ = plane(0.3)
    classifier.train()
    x, y, keys = greys(2)
    Square(0.1, 3).run(classifier, x, y, keys)
    RayS(0.1, 3).run(classifier, x, y)
    assert classifier.training
    assert all(p.requires_grad for p in classifier.parameters())


def test_bad_hyper_parameters_are_refused() -> None:
    classifier, _ = plane(0.3)
    x, y, keys = greys(1)
    with pytest.raises(AuditError, match="1 queries for 2 variants"):
        Square(0.1, 1, Directions())
    with pytest.raises(AuditError, match="share 0"):
        Square(0.1, share=0.0)
    with pytest.raises(AuditError, match="less than one level"):
        Square(0.001)
    with pytest.raises(AuditError, match="l2"):
        Square(-1.0, norm="l2")
    with pytest.raises(AuditError, match="0 queries"):
        RayS(0.1, 0)
    with pytest.raises(AuditError, match="not within"):
        Square(0.1).run(classifier, x * 255, y, keys)
