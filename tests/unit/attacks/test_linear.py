"""Closed forms: margins, the shortest step in the box, and DeepFool on models that are linear."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from fleet.attacks.minimum import DeepFool, first_order_margins, shortest_step
from fleet.errors import AuditError
from fleet.models import Classifier

Make = Callable[..., Classifier]
W = [3.0, -2.0, 1.0, 4.0]
LENGTH = 30.0**0.5
MIDDLE = 128 / 255


def images(count: int = 1) -> Tensor:
    return torch.full((count, 1, 2, 2), MIDDLE)


def test_margins_are_the_way_to_the_nearer_edge_over_the_dual_norm(linear: Make) -> None:
    y = torch.tensor([1])
    for b, room in ((-743.0, 5.0), (-746.0, 2.0), (-739.0, 1.0)):  # o = 25, 22, 29
        classifier = linear(W, b)
        linf = first_order_margins(classifier, images(), y, "linf")
        l2 = first_order_margins(classifier, images(), y, "l2")
        torch.testing.assert_close(linf, torch.tensor([room / (10 * 255)]), rtol=1e-3, atol=0)
        torch.testing.assert_close(l2, torch.tensor([room / (LENGTH * 255)]), rtol=1e-3, atol=0)


def test_margins_of_wrong_rejected_and_flat_images(linear: Make) -> None:
    assert first_order_margins(linear(W, -743.0), images(), torch.tensor([2])).item() == 0
    assert first_order_margins(linear(W, -733.0), images(), torch.tensor([1])).item() == 0
    flat = linear([0.0] * 4, 25.0)
    assert first_order_margins(flat, images(), torch.tensor([1])).item() == float("inf")
    broken = linear([float("nan"), 1.0, 1.0, 1.0], 25.0)
    assert first_order_margins(broken, images(), torch.tensor([1])).item() == 0  # decodes to None


def test_margins_survive_gradients_whose_squares_vanish_in_float32(linear: Make) -> None:
    classifier = linear([1e-27] * 4, 25.0)
    margin = first_order_margins(classifier, images(), torch.tensor([1]), "l2")
    torch.testing.assert_close(margin.double(), torch.tensor([5 / (2e-27 * 255)]).double())


def test_an_ordinal_margin_looks_through_the_clip(ordinal: Make) -> None:
    """Slot 1 of 3, both units saturated: o is flat, but unit 2 turns after 2 levels of g."""
    rows = [[0.0, 0.0, 0.0, 1.0], [0.0, 2.0, 0.0, 0.0]]
    classifier = ordinal(rows, [-118.0, -258.0])  # g = 10 and -2 at level 128
    y = torch.tensor([1])
    assert classifier(images()).item() == 25.0
    # Up: 20 * (g + 1/2) > 5 at g = -1/4, 1.75 / 2 levels away. Down: from 10 to 1/4, 9.75 levels.
    margin = first_order_margins(classifier, images(), y, "linf")
    torch.testing.assert_close(margin, torch.tensor([1.75 / 2 / 255]), rtol=1e-3, atol=0)
    found = DeepFool("linf")(classifier, images(), y)
    assert found.success.all()
    torch.testing.assert_close(found.linf, margin, rtol=1e-3, atol=0)


@pytest.mark.parametrize(("slot", "levels"), [(0, 0.75), (2, 0.75)])
def test_the_end_slots_of_an_ordinal_head_have_one_way_out(
    ordinal: Make, slot: int, levels: float
) -> None:
    g = -1.0 if slot == 0 else 1.0
    rows = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]
    classifier = ordinal(rows, [g - 128.0, g - 128.0])
    y = torch.tensor([slot])
    margin = first_order_margins(classifier, images(), y, "linf")
    torch.testing.assert_close(margin, torch.tensor([levels / 255]), rtol=1e-3, atol=0)


def test_margins_of_logits_are_to_the_nearest_rival(logits: Make) -> None:
    rows = [[4.0, 0.0, 0.0, 0.0], [0.0, 3.0, 0.0, 0.0], [0.0, 0.0, 3.9, 0.0]]
    classifier = logits(rows)  # z = 512, 384, 499.2
    y = torch.tensor([0])
    linf, l2 = (first_order_margins(classifier, images(), y, norm) for norm in ("linf", "l2"))
    torch.testing.assert_close(linf, torch.tensor([12.8 / 7.9 / 255]), rtol=1e-3, atol=0)
    length = (16 + 3.9**2) ** 0.5
    torch.testing.assert_close(l2, torch.tensor([12.8 / length / 255]), rtol=1e-3, atol=0)
    for norm, margin in (("linf", linf), ("l2", l2)):
        found = DeepFool(norm)(classifier, images(), y)
        torch.testing.assert_close(getattr(found, norm), margin, rtol=1e-3, atol=0)
        assert classifier.decode(classifier(found.images)).item() == 2


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_deepfool_is_exact_for_a_linear_scalar(linear: Make, norm: str) -> None:
    classifier, y = linear(W, -745.0), torch.tensor([1])  # o = 23: 3 down, 7 up
    found = DeepFool(norm, steps=1)(classifier, images(), y)
    dual = 10 if norm == "linf" else LENGTH
    assert found.success.all()
    assert classifier(found.images).item() < 20
    distance = getattr(found, norm)
    torch.testing.assert_close(distance, torch.tensor([3 / dual / 255]), rtol=1e-3, atol=0)


def test_the_step_is_exact_where_the_box_cuts() -> None:
    """The steepest pixel has one level of room, so the others pay: 4 + (3 + 2 + 1) t = 16."""
    x = torch.tensor([128.0, 128.0, 128.0, 254.0]).reshape(1, 1, 2, 2) / 255
    up = shortest_step(x, torch.tensor(W).reshape(1, 1, 2, 2) * 255, torch.tensor([10.0]), "linf")
    torch.testing.assert_close(up.abs().flatten() * 255, torch.tensor([1.0, 1.0, 1.0, 1.0]))
    more = shortest_step(x, torch.tensor(W).reshape(1, 1, 2, 2) * 255, torch.tensor([16.0]), "linf")
    torch.testing.assert_close(more.abs().flatten() * 255, torch.tensor([2.0, 2.0, 2.0, 1.0]))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_no_other_step_in_the_box_is_shorter(norm: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(200, 1, 2, 3, generator=generator)
    g = torch.randn(x.shape, generator=generator)
    g[:, 0, 0, 0] = 0
    need = torch.rand(200, generator=generator)
    d = shortest_step(x, g, need, norm)
    reach = torch.where(g > 0, g * (1 - x), -g * x).flatten(1).sum(1)
    gained = (g * d).flatten(1).sum(1)
    torch.testing.assert_close(gained, torch.minimum(need, reach), rtol=1e-4, atol=1e-6)
    assert (x + d).min() >= -1e-6
    assert (x + d).max() <= 1 + 1e-6
    order = torch.inf if norm == "linf" else 2
    best = torch.linalg.vector_norm(d.flatten(1), ord=order, dim=1)
    tried = 0
    for _ in range(200):
        other = (x + torch.randn(x.shape, generator=generator) * 0.3).clamp(0, 1) - x
        enough = (g * other).flatten(1).sum(1) >= need
        tried += int(enough.sum())
        length = torch.linalg.vector_norm(other.flatten(1), ord=order, dim=1)
        assert (length[enough] >= best[enough] - 1e-5).all()
    assert tried > 1000


def test_the_distance_grows_with_the_way_and_an_exit_out_of_reach_fails(linear: Make) -> None:
    y = torch.tensor([1])
    lengths = [DeepFool()(linear(W, b), images(), y).l2.item() for b in (-739.5, -741.0, -743.0)]
    assert all(a < b for a, b in pairwise(lengths))
    found = DeepFool()(linear([1e-4] * 4, 25.0), images(), y)
    assert not found.success.any()
    assert found.l2.item() == float("inf")
    assert torch.equal(found.images, images())


def test_an_image_on_the_edge_moves_on(linear: Make) -> None:
    """The interval is closed: at o = 20 exactly the value is 0 and the label still holds."""
    classifier = linear([1.0, 0.0, 0.0, 0.0], -108.0)
    assert classifier(images()).item() == 20
    found = DeepFool()(classifier, images(), torch.tensor([1]))
    assert found.success.all()
    assert 0 < found.l2.item() * 255 < 0.01


def test_a_wrong_image_is_its_own_adversarial_image(linear: Make) -> None:
    found = DeepFool()(linear(W, -743.0), images(2), torch.tensor([2, 1]))
    assert found.success.all()
    assert found.l2[0] == 0
    assert torch.equal(found.images[0], images()[0])
    assert found.l2[1] > 0


def test_bad_hyper_parameters_and_images_are_refused(linear: Make) -> None:
    with pytest.raises(AuditError, match="steps is 0"):
        DeepFool(steps=0)
    with pytest.raises(AuditError, match="overshoot"):
        DeepFool(overshoot=0.0)
    for call in (DeepFool(), first_order_margins):
        with pytest.raises(AuditError, match="not within"):
            call(linear(W, 0.0), images() * 255, torch.tensor([1]))
