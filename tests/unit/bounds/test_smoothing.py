"""Median smoothing: where the right radius is known, and where there is none."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import beta
from torch import nn

from fleet.bounds.smoothing import _least_share, median_radii
from fleet.encoding import IntervalEncoding
from fleet.errors import AuditError
from fleet.models import Classifier
from fleet.models.heads import LinearHead, LogitsHead

DRAWS = 4000


@pytest.fixture
def plane() -> Classifier:
    """A device whose output is a weighted sum of 16 pixels: every distance is known."""
    torch.manual_seed(0)
    encoding = IntervalEncoding(4, alpha=2, beta=18)
    head = LinearHead(16, encoding)
    return Classifier(
        backbone=nn.Flatten(), head=head, task="int", head_name="linear", encoding=encoding,
        num_classes=4, input_shape=(1, 4, 4), mean=(0.0,), std=(1.0,),
    ).eval()  # fmt: skip


def distances(plane: Classifier, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Class of each image, -1 for None, and its L2 distance to the nearer edge of the interval."""
    assert plane.encoding is not None
    encoding, labels = plane.encoding, plane.decode(plane(x))
    slope = torch.autograd.functional.jacobian(lambda v: plane(v[None])[0], x[0]).norm()
    rooms = [
        min(o - encoding.lower(c), encoding.upper(c) - o)
        for o, c in zip(plane(x).tolist(), labels.clamp(min=0).tolist(), strict=True)
    ]
    return labels, torch.tensor(rooms) / slope


def test_of_a_plane_the_radius_is_the_distance_less_what_the_sample_leaves_open(
    plane: Classifier,
) -> None:
    x = torch.rand(40, 1, 4, 4)
    labels, exact = distances(plane, x)
    kept = labels >= 0
    sigma = exact[kept].median().item()
    found = median_radii(plane, x[kept], labels[kept], sigma, draws=DRAWS)
    assert kept.sum() > 10
    assert (found <= exact[kept] + 1e-6).all()
    near = exact[kept] < 2 * sigma  # further away no draw leaves, and the sample says no more
    assert (found >= exact[kept] - 0.25 * sigma)[near].all()
    assert found.max() <= sigma * 3.0


def test_another_class_is_never_proven(plane: Classifier) -> None:
    x = torch.rand(20, 1, 4, 4)
    labels = (plane.decode(plane(x)).clamp(min=0) + 1) % 4
    assert (median_radii(plane, x, labels, 1e-3, draws=100) == 0).all()


@pytest.mark.parametrize(("hits", "draws"), [(1, 10), (7, 10), (10, 10), (950, 1000), (1000, 1000)])
def test_the_share_is_that_of_clopper_and_pearson(hits: int, draws: int) -> None:
    right = beta.ppf(0.0005, hits, draws - hits + 1)
    assert right - 1e-9 <= _least_share(hits, draws, 0.0005) + 1e-9 <= right + 2e-9


def test_nothing_is_proven_of_what_never_happened() -> None:
    assert _least_share(0, 100, 0.001) == 0


def test_logits_have_no_median() -> None:
    network = Classifier(
        backbone=nn.Flatten(), head=LogitsHead(4, 2), task="tra", head_name="logits",
        encoding=None, num_classes=2, input_shape=(1, 2, 2), mean=(0.0,), std=(1.0,),
    )  # fmt: skip
    with pytest.raises(AuditError, match="one scalar output"):
        median_radii(network, torch.rand(1, 1, 2, 2), torch.zeros(1).long(), 0.1, draws=10)
