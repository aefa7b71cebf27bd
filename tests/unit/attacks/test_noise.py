"""The noise floor's noise."""

import pytest
import torch

from fleet.attacks import SampleKeys, SignNoise
from fleet.errors import AuditError


def test_every_pixel_goes_to_an_edge_of_the_box() -> None:
    x = torch.tensor([0.5, 0.05, 0.98, 0.0]).reshape(1, 1, 2, 2).repeat(200, 1, 1, 1)
    attack = SignNoise(0.1, 3)
    assert attack.variants == 3
    noisy = attack(None, x, torch.zeros(200), SampleKeys(0, "", torch.arange(200)))
    assert noisy.shape == (3, 200, 1, 2, 2)
    pixels = noisy.flatten(0, 1).flatten(1)
    for pixel, edges in enumerate([(0.4, 0.6), (0.0, 0.15), (0.88, 1.0), (0.0, 0.1)]):
        values = pixels[:, pixel].unique()
        torch.testing.assert_close(values, torch.tensor(edges))
        assert 0.4 < (pixels[:, pixel] == values[0]).float().mean() < 0.6


def test_draws_are_independent() -> None:
    x = torch.full((1, 1, 10, 10), 0.5)
    first, second = SignNoise(0.1, 2)(None, x, torch.zeros(1), SampleKeys(0, "", torch.arange(1)))
    assert 0.3 < (first == second).float().mean() < 0.7


def test_bad_hyper_parameters_are_refused() -> None:
    with pytest.raises(AuditError, match="0 draws"):
        SignNoise(0.1, 0)
    with pytest.raises(AuditError, match=r"not in \(0, 1\]"):
        SignNoise(1.5)
