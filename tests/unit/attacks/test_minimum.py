"""C&W and elastic net on intervals, against closed forms; and their images as 8-bit images."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fleet.attacks.minimum import DeepFool, first_order_margins, round_to_bytes
from fleet.attacks.penalty import CarliniWagner, ElasticNet
from fleet.encoding import IntervalEncoding
from fleet.errors import AuditError
from fleet.models import Classifier

Make = Callable[..., Classifier]
W = [3.0, -2.0, 1.0, 4.0]
LEVEL = 1 / 255


def images(count: int = 1) -> Tensor:
    return torch.full((count, 1, 2, 2), 128 / 255)


class Plane(nn.Module):
    """``o = 25 + w . (x - 1/2)``."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, x: Tensor) -> Tensor:
        return 25 + (x.flatten(1) - 0.5) @ self.w


def plane(w: Tensor, shape: tuple[int, int, int]) -> Classifier:
    encoding = IntervalEncoding(3, alpha=10.0, beta=10.0, order=(2, 1, 0))
    return Classifier.from_module(Plane(w), encoding, shape)


def spread(w: Tensor, outputs: Tensor) -> Tensor:
    """Images of these outputs, none at the limits of the pixels."""
    return 0.5 + (outputs - 25).unsqueeze(1) * w / w.square().sum()


def test_cw_finds_the_closed_form_distance_to_both_edges() -> None:
    """The paper says that C&W cannot be applied; on a linear model it is exact to 2 %."""
    w = torch.randn(64, generator=torch.Generator().manual_seed(0)) * 2
    outputs = torch.tensor([20.5, 22.0, 24.9, 25.1, 28.0, 29.5])
    x, y = spread(w, outputs).reshape(-1, 1, 8, 8), torch.ones(6).long()
    classifier = plane(w, (1, 8, 8))
    exact = torch.minimum(outputs - 20, 30 - outputs) / w.norm()
    torch.testing.assert_close(
        first_order_margins(classifier, x, y, "l2"), exact, rtol=1e-3, atol=0
    )
    for attack in (CarliniWagner(3), ElasticNet(0.0, searches=3), DeepFool()):
        found = attack(classifier, x, y)
        assert found.success.all()
        assert (found.l2 >= exact * 0.9999).all(), "nothing is nearer than the closed form"
        assert (found.l2 <= exact * 1.02).all()
        decoded = classifier.decode(classifier(found.images))
        assert (decoded == -1).all(), "just past an edge lies the gap"
        assert torch.equal(classifier(found.images) < 25, outputs < 25), "by the nearer edge"


@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_the_elastic_net_finds_the_closed_form(beta: float) -> None:
    """``d_i = max(0, t a_i - beta) / 2``: found here by bisection over t."""
    w = torch.randn(64, generator=torch.Generator().manual_seed(1)) * 2
    x, y = spread(w, torch.tensor([23.0])).reshape(1, 1, 8, 8), torch.tensor([1])

    def shape(t: float) -> Tensor:
        return (t * w.abs() - beta).clamp(min=0) / 2

    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (shape(middle) * w.abs()).sum() < 3 else (low, middle)
    best = shape(high)
    wanted = best.square().sum() + beta * best.sum()
    found = ElasticNet(beta, steps=200)(plane(w, (1, 8, 8)), x, y)
    reached = found.l2.square() + beta * found.l1
    assert wanted * 0.999 <= reached.item() <= wanted * 1.02
    changed = ((found.images - x).abs() > 1e-6).sum()
    assert changed <= 2 * (best > 0).sum(), "most pixels without a share are left alone"


def test_the_l1_rule_keeps_the_image_of_least_l1() -> None:
    w = torch.randn(64, generator=torch.Generator().manual_seed(2)) * 2
    x, y = spread(w, torch.tensor([23.0, 28.0])).reshape(2, 1, 8, 8), torch.ones(2).long()
    classifier = plane(w, (1, 8, 8))
    elastic = ElasticNet(1.0, "elastic")(classifier, x, y)
    l1 = ElasticNet(1.0, "l1")(classifier, x, y)
    assert (l1.l1 <= elastic.l1 * 1.02).all()
    assert (l1.l1 < DeepFool()(classifier, x, y).l1).all()


@pytest.mark.parametrize("attack", [CarliniWagner(3, 60), ElasticNet(0.0, searches=3, steps=60)])
def test_logits_and_ordinal_heads_are_attacked_the_same_way(
    attack: CarliniWagner, logits: Make, ordinal: Make
) -> None:
    rows = [[0.04, 0.0, 0.0, 0.0], [0.0, 0.03, 0.0, 0.0], [0.0, 0.0, 0.039, 0.0]]
    units = [[0.0, 0.0, 0.0, 0.1], [0.0, 0.1, 0.1, 0.0]]
    for classifier, label in ((logits(rows), 0), (ordinal(units, [-2.8, -35.6]), 1)):
        y = torch.tensor([label])
        assert classifier.decode(classifier(images())).item() == label
        exact = first_order_margins(classifier, images(), y, "l2")
        assert torch.isfinite(exact).all()
        found = attack(classifier, images(), y)
        assert found.success.all()
        assert classifier.decode(classifier(found.images)).item() != label
        torch.testing.assert_close(found.l2, exact, rtol=0.02, atol=0)


def test_confidence_aims_beyond_the_edge() -> None:
    w = torch.randn(64, generator=torch.Generator().manual_seed(3)) * 2
    x, y = spread(w, torch.tensor([23.0])).reshape(1, 1, 8, 8), torch.tensor([1])
    classifier = plane(w, (1, 8, 8))
    plain = CarliniWagner()(classifier, x, y)
    sure = CarliniWagner(confidence=0.2)(classifier, x, y)
    assert 19.9 < classifier(plain.images).item() < 20
    assert 15.9 < classifier(sure.images).item() < 16.01
    torch.testing.assert_close(sure.l2 / plain.l2, torch.tensor([7 / 3]), rtol=0.02, atol=0)


@pytest.mark.parametrize("attack", [CarliniWagner(2, 5), ElasticNet(searches=2, steps=5)])
def test_what_cannot_be_found_is_infinitely_far(linear: Make, attack: CarliniWagner) -> None:
    for w in ([0.0] * 4, [float("nan"), 1.0, 1.0, 1.0]):
        classifier = linear(w, 25.0)
        found = attack(classifier, images(), torch.tensor([1]))
        nan = bool(classifier(images()).isnan())
        assert found.success.item() is nan, "None on the clean image is an evasion at distance 0"
        assert found.l1.item() == found.l2.item() == found.linf.item()
        assert found.l2.item() == (0 if nan else float("inf"))
        assert torch.equal(found.images, images())


def test_distances_are_those_of_the_images_and_the_box_is_kept(linear: Make) -> None:
    x = torch.tensor([0.0, 1.0, 0.002, 0.999]).reshape(1, 1, 2, 2)
    classifier = linear(W, 0.0)
    classifier = linear(W, 25.0 - classifier(x).item())
    for attack in (CarliniWagner(2, 30), ElasticNet(searches=2), DeepFool(), DeepFool("linf")):
        found = attack(classifier, x, torch.tensor([1]))
        difference = (found.images - x).flatten()
        assert found.success.all()
        assert found.images.min() >= 0
        assert found.images.max() <= 1
        torch.testing.assert_close(found.l1[0], difference.abs().sum())
        torch.testing.assert_close(found.l2[0], difference.norm())
        torch.testing.assert_close(found.linf[0], difference.abs().max())


def test_rounding_undoes_a_success_and_a_push_restores_it(linear: Make) -> None:
    """o = 20.4 with 1 a level: 0.4 levels are enough, which round to nothing; 0.5 do not."""
    classifier, y = linear([1.0, 0.0, 0.0, 0.0], -107.6), torch.tensor([1])
    found = DeepFool()(classifier, images(), y)
    torch.testing.assert_close(found.l2, torch.tensor([0.4 * LEVEL]), rtol=0.01, atol=0)
    rounded = round_to_bytes(classifier, images(), y, found)
    assert not rounded.kept.any()
    assert rounded.minimum.success.all()
    torch.testing.assert_close(rounded.minimum.linf, torch.tensor([LEVEL]))
    assert classifier.decode(classifier(rounded.minimum.images)).item() != 1
    levels = rounded.minimum.images * 255
    torch.testing.assert_close(levels, levels.round())


def test_what_was_not_found_is_not_found_after_rounding_either(linear: Make) -> None:
    classifier, y = linear([1e-6] * 4, 25.0), torch.tensor([1])
    rounded = round_to_bytes(classifier, images(), y, DeepFool()(classifier, images(), y))
    assert not rounded.kept.any()
    assert not rounded.minimum.success.any()
    assert torch.equal(rounded.minimum.images, images())


def test_results_do_not_depend_on_the_batch() -> None:
    w = torch.randn(16, generator=torch.Generator().manual_seed(4)) * 4
    x = spread(w, torch.tensor([21.0, 25.0, 29.0, 26.0])).reshape(-1, 1, 4, 4)
    y, classifier = torch.ones(4).long(), plane(w, (1, 4, 4))
    for attack in (CarliniWagner(2, 20), ElasticNet(searches=2, steps=20), DeepFool()):
        whole = attack(classifier, x, y)
        parts = [attack(classifier, x[[i]], y[[i]]).images for i in range(4)]
        torch.testing.assert_close(whole.images, torch.cat(parts), rtol=0, atol=1e-5)


def test_the_classifier_is_left_as_it_was(linear: Make) -> None:
    classifier = linear(W, -743.0).train()
    for attack in (CarliniWagner(1, 2), ElasticNet(searches=1, steps=2), DeepFool()):
        attack(classifier, images(), torch.tensor([1]))
        assert classifier.training
        assert all(p.requires_grad and p.grad is None for p in classifier.parameters())


def test_bad_hyper_parameters_are_refused() -> None:
    for bad in ({"searches": 0}, {"steps": 0}, {"rate": 0.0}, {"rate": float("inf")}):
        for kind in (CarliniWagner, ElasticNet):
            with pytest.raises(AuditError, match="searches is"):
                kind(**bad)
    with pytest.raises(AuditError, match="confidence"):
        CarliniWagner(confidence=-1.0)
    with pytest.raises(AuditError, match="beta"):
        ElasticNet(beta=float("nan"))


def test_carlini_and_wagners_steps_are_those_of_adam_with_a_rate_that_falls_to_0() -> None:
    generator = torch.Generator().manual_seed(0)
    origin = torch.full((2, 1, 2, 2), 0.5)
    leaf = origin.clone().requires_grad_()
    optimizer = torch.optim.Adam([leaf], lr=0.05)
    move, images = CarliniWagner(steps=4).begin(origin), origin.clone()
    for step in range(4):
        penalty = torch.randn(origin.shape, generator=generator)
        leaf.grad = penalty + 2 * (leaf.detach() - origin)
        optimizer.param_groups[0]["lr"] = 0.05 * (4 - step) / 4
        optimizer.step()
        images = move(images, penalty, step)
        torch.testing.assert_close(images, leaf.detach())


def test_the_elastic_nets_steps_shrink_and_go_on_with_momentum() -> None:
    """FISTA on one pixel, by hand: rates 0.1 sqrt(1 - k/4), momentum k / (k + 3)."""
    origin = torch.full((1, 1, 1, 1), 0.5)
    move, images = ElasticNet(0.1, steps=4, rate=0.1).begin(origin), origin.clone()
    last = image = 0.0  # differences from the original
    for step, penalty in enumerate([-1.0, -1.0, 0.5, -0.3]):
        rate = 0.1 * (1 - step / 4) ** 0.5
        down = image - rate * (penalty + 2 * image)
        shrunk = max(down - rate * 0.1, 0.0) if down > 0 else min(down + rate * 0.1, 0.0)
        image, last = shrunk + step / (step + 3) * (shrunk - last), shrunk
        images = move(images, torch.full_like(origin, penalty), step)
        assert images.item() - 0.5 == pytest.approx(image, abs=1e-6)


def test_the_elastic_nets_momentum_does_not_leave_black_and_white() -> None:
    origin = torch.tensor([0.02, 0.98]).reshape(1, 1, 1, 2)
    move, images = ElasticNet(0.0, steps=9, rate=0.1).begin(origin), origin.clone()
    for step in range(9):
        images = move(images, torch.tensor([0.1, -0.1]).reshape(origin.shape), step)
        assert images.min() >= 0
        assert images.max() <= 1
