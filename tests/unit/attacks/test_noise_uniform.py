"""Uniform noise, beside sign noise."""

import pytest
import torch

from fleet.attacks import SampleKeys
from fleet.attacks.noise import UniformNoise
from fleet.errors import AuditError


def test_linf_noise_fills_the_box() -> None:
    x = torch.tensor([0.5, 0.05, 0.98, 0.0]).reshape(1, 1, 2, 2).repeat(500, 1, 1, 1)
    attack = UniformNoise(0.1, 2)
    noisy = attack(None, x, torch.zeros(500), SampleKeys(0, "", torch.arange(500)))
    assert attack.variants == 2
    assert noisy.shape == (2, 500, 1, 2, 2)
    first = noisy[..., 0, 0].flatten()
    assert 0.4 <= first.min() < 0.405
    assert 0.595 < first.max() <= 0.6
    assert abs(first.mean() - 0.5) < 0.01
    assert noisy.min() >= 0
    assert noisy.max() <= 1


def test_l2_noise_is_uniform_in_the_ball() -> None:
    """Half of the ball's volume lies within 2^(-1/n) of the radius."""
    x = torch.full((1000, 1, 2, 2), 0.5)
    noisy = UniformNoise(0.4, norm="l2")(
        None, x, torch.zeros(1000), SampleKeys(0, "", torch.arange(1000))
    )[0]
    length = (noisy - x).flatten(1).norm(dim=1)
    assert length.max() <= 0.4 + 1e-6
    assert abs((length < 0.4 * 0.5**0.25).float().mean() - 0.5) < 0.06
    assert ((noisy - x).flatten(1).mean(0).abs() < 0.02).all()


def test_draws_differ_and_batches_change_nothing() -> None:
    x = torch.full((4, 1, 3, 3), 0.5)
    attack = UniformNoise(0.1, 2)
    whole = attack(None, x, torch.zeros(4), SampleKeys(0, "a", torch.arange(4)))
    assert not torch.equal(whole[0], whole[1])
    part = attack(None, x[2:], torch.zeros(2), SampleKeys(0, "a", torch.tensor([2, 3])))
    assert torch.equal(whole[:, 2:], part)


def test_bad_hyper_parameters_are_refused() -> None:
    with pytest.raises(AuditError, match="0 draws"):
        UniformNoise(0.1, 0)
    with pytest.raises(AuditError, match=r"not in \(0, 1\]"):
        UniformNoise(1.5)
    with pytest.raises(AuditError, match="l2"):
        UniformNoise(0.0, norm="l2")
