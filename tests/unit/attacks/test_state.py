"""A network comes out of an attack as it went in."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fleet.attacks import FGSM, PGD, Directions, SampleKeys, attackable
from fleet.encoding import IntervalEncoding
from fleet.models import Classifier


def network() -> Classifier:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 1)
    )
    return Classifier.from_module(layers, IntervalEncoding(3), (1, 8, 8))


def snapshot(classifier: Classifier) -> list[object]:
    parameters = list(classifier.parameters())
    return [
        [part.training for part in classifier.modules()],
        [p.requires_grad for p in parameters],
        [p.data_ptr() for p in parameters],
        [p.stride() for p in parameters],
        [None if p.grad is None else p.grad.tolist() for p in parameters],
        {name: value.tolist() for name, value in classifier.state_dict().items()},
    ]


def mixed() -> Classifier:
    """In training mode, but with a BatchNorm in eval mode and one frozen weight."""
    classifier = network().train()
    layers = list(classifier.modules())
    next(part for part in layers if isinstance(part, nn.BatchNorm2d)).eval()
    weights = list(classifier.parameters())
    weights[0].requires_grad_(False)
    weights[1].grad = torch.ones_like(weights[1])
    return classifier


@pytest.mark.parametrize(
    "attack", [FGSM(Directions(), 0.1), PGD(Directions(), 0.1, 3, restarts=2, precision="bf16")]
)
def test_attacks_leave_modes_flags_statistics_gradients_and_storage(
    attack: Callable[..., Tensor],
) -> None:
    classifier = mixed()
    before = snapshot(classifier)
    attack(
        classifier,
        torch.rand(5, 1, 8, 8),
        torch.ones(5).long(),
        SampleKeys(0, "a", torch.arange(5)),
    )
    assert snapshot(classifier) == before


def test_state_is_restored_after_an_error_too() -> None:
    classifier = mixed()
    before = snapshot(classifier)
    with pytest.raises(RuntimeError, match="stop"), attackable(classifier):
        raise RuntimeError("stop")
    assert snapshot(classifier) == before


def test_inside_nothing_is_random_and_no_weight_asks_for_a_gradient() -> None:
    classifier = mixed()
    x = torch.rand(2, 1, 8, 8)
    with attackable(classifier):
        assert not any(part.training for part in classifier.modules())
        assert not any(p.requires_grad for p in classifier.parameters())
        assert torch.equal(classifier(x), classifier(x))


def test_random_state_of_torch_is_left_alone() -> None:
    classifier, x = network(), torch.rand(2, 1, 8, 8)
    before = torch.get_rng_state()
    attack = PGD(Directions(), 0.1, 2, restarts=2, random_start=True)
    attack(classifier, x, torch.ones(2).long(), SampleKeys(0, "a", torch.arange(2)))
    assert torch.equal(torch.get_rng_state(), before)
