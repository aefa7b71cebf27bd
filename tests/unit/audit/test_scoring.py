"""What is decided for each image, eps, draw and label; every expected value is made another way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fleet.attacks import (
    SampleKeys,
    SignNoise,
    UniformNoise,
    attackable,
    decide,
    exact_eps,
    quantise,
)
from fleet.audit.core.members import Member, Sample, TransferSettings
from fleet.audit.core.scoring import score_baseline, score_sets
from fleet.encoding import IntervalEncoding
from fleet.errors import AuditError
from fleet.models import Classifier
from fleet.vocabulary import Norm

Linear = Callable[..., Member]
SETTINGS = TransferSettings(eps=(2 / 255, 6 / 255), noise_draws=3, batch_size=4, seed=5)


def pictures(levels: list[int], labels: list[int], first: int = 0) -> Sample:
    """Grey 2x2 images of these levels, numbered from ``first`` on."""
    images = torch.tensor(levels, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    return Sample(images.clone(), torch.tensor(labels), torch.arange(first, first + len(levels)))


SAMPLE = pictures([2, 4, 6, 22, 24, 26, 44, 46, 48, 28], [0, 0, 0, 1, 1, 1, 2, 2, 2, 1], first=70)
"""On a device whose output is the mean level: every label, near and far from the edges."""


@pytest.fixture
def mean(linear: Linear) -> Member:
    """A device with slots [20 p, 20 p + 10] whose output is the mean of the levels."""
    return linear("mean", [0.25] * 4, 0.0)


def by_hand(member: Member, noisy: Tensor, sample: Sample, eps: float, norm: Norm) -> np.ndarray:
    """Outcomes of each draw, (D, N), from images of all draws, float32 (D, N, C, H, W)."""
    images = quantise(noisy, sample.images, eps, norm)
    with attackable(member.classifier):
        found = [decide(member.classifier, draw, sample.labels).outcomes for draw in images]
    return torch.stack(found).cpu().numpy()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_noise_is_the_worst_of_all_draws_at_each_eps(mean: Member, norm: Norm) -> None:
    eps = (2 / 255, 6 / 255) if norm == "linf" else (4 / 255, 12 / 255)
    settings = replace(SETTINGS, eps=eps, norm=norm)
    keys = SampleKeys(settings.seed, "", SAMPLE.indices)
    clean = SAMPLE.images.float() / 255
    draws = []
    for radius in eps:
        exact = exact_eps(radius, norm)
        attack = SignNoise(exact, 3) if norm == "linf" else UniformNoise(exact, 3, norm)
        noisy = attack(None, clean, SAMPLE.labels, keys)
        draws.append(by_hand(mean, noisy, SAMPLE, radius, norm))
    worst = np.stack([found.max(axis=0) for found in draws])
    baseline = score_baseline(mean, SAMPLE, settings)
    assert baseline.noise.tolist() == worst.tolist()
    assert baseline.clean.tolist() == [0] * len(SAMPLE.labels)
    assert all((found.max(axis=0) != draw).any() for found in draws[1:] for draw in found)
    assert (worst[0] != worst[1]).any(), "the sample tells the two eps apart"
    other = score_baseline(mean, SAMPLE, replace(settings, seed=6))
    assert other.noise.tolist() != baseline.noise.tolist()


def test_every_set_of_every_eps_is_held_against_each_images_own_label(mean: Member) -> None:
    sample = pictures([5, 25, 45], [0, 1, 2])
    levels = torch.tensor(
        [[[5, 25, 45], [25, 5, 45]], [[15, 35, 25], [0, 45, 61]]], dtype=torch.uint8
    )
    images = levels.reshape(2, 2, 3, 1, 1, 1).expand(2, 2, 3, 1, 2, 2)
    trial = score_sets(mean, sample, images, SETTINGS)
    assert trial.outcomes.tolist() == [[[0, 0, 0], [2, 2, 0]], [[1, 1, 2], [0, 2, 1]]]
    assert trial.floor.tolist() == [[[0, 0, 0], [2, 2, 0]], [[0, 0, 2], [0, 2, 1]]]
    assert trial.nonfinite == 0


class Breaks(nn.Module):
    """The mean level, and NaN or infinite beyond some levels."""

    def forward(self, x: Tensor) -> Tensor:
        level = x.flatten(1).mean(1) * 255
        level = torch.where(level > 55.5, torch.nan, level)
        return torch.where(level < -0.5, torch.inf, level)


def broken() -> Member:
    encoding = IntervalEncoding(3, alpha=10.0, beta=10.0)
    return Member("broken", Classifier.from_module(Breaks(), encoding, (1, 2, 2)))


def test_images_without_a_finite_output_are_counted_at_every_eps() -> None:
    sample = pictures([50] * 40, [2] * 40)
    reach = {
        eps: score_baseline(broken(), sample, replace(SETTINGS, eps=eps)).nonfinite
        for eps in ((2 / 255,), (6 / 255,), (12 / 255,), (2 / 255, 6 / 255, 12 / 255))
    }
    assert reach[(2 / 255,)] == 0
    assert 0 < reach[(6 / 255,)] < reach[(12 / 255,)]  # all four pixels up; three of four too
    assert reach[(2 / 255, 6 / 255, 12 / 255)] == reach[(6 / 255,)] + reach[(12 / 255,)]


def test_an_image_with_several_broken_outputs_counts_once(logits: Callable[..., Member]) -> None:
    member = logits("control", [[1.0] * 4, [0.0] * 4, [-1.0] * 4])
    member.classifier.head.linear.bias.data[:2] = torch.nan  # type: ignore[union-attr, operator]
    sample = pictures([5, 25], [0, 1])
    trial = score_sets(member, sample, sample.images.expand(1, 3, 2, 1, 2, 2), SETTINGS)
    assert trial.nonfinite == 6
    with pytest.raises(AuditError, match="outputs for 2 of 2 clean images"):
        score_baseline(member, sample, SETTINGS)


class Wavers(nn.Module):
    """Gives another output in one pass of all."""

    def __init__(self, odd: int) -> None:
        super().__init__()
        self.passes, self.odd = 0, odd

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        level = x.flatten(1).mean(1) * 255
        return level + 1 if self.passes == self.odd else level


@pytest.mark.parametrize(("odd", "repeatable"), [(1, False), (2, False), (3, False), (4, True)])
def test_three_passes_must_agree(odd: int, repeatable: bool) -> None:
    encoding = IntervalEncoding(3, alpha=10.0, beta=10.0)
    member = Member("waverer", Classifier.from_module(Wavers(odd), encoding, (1, 2, 2)))
    assert score_baseline(member, pictures([5], [0]), SETTINGS).repeatable is repeatable
