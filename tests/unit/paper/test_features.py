"""Measures of features against answers known on paper."""

import numpy as np
import pytest
import torch
from torch import nn

from fleet.encoding import IntervalEncoding
from fleet.errors import AuditError, BackendError, DataError
from fleet.models import Classifier, build_classifier
from fleet.paper import features
from fleet.paper.features import (
    decided,
    effective_dimension,
    embed,
    penultimate,
    probe_accuracy,
    purity,
    silhouette,
    standardised,
)


def simplex(classes: int, each: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes as points that are equally far from each other."""
    labels = np.repeat(np.arange(classes), each)
    return np.eye(classes)[labels], labels


def blobs(seed: int = 0, spread: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    points, labels = simplex(4, 40)
    noise = np.random.default_rng(seed).normal(scale=spread, size=points.shape)
    return points + noise, labels


def test_dimensions_of_a_line_a_simplex_and_a_point():
    line = np.outer(np.linspace(-3, 8, 50), [1.0, -2.0, 0.5]) + 7
    assert effective_dimension(line) == pytest.approx(1)
    assert effective_dimension(simplex(10, 5)[0]) == pytest.approx(9)
    assert effective_dimension(np.full((5, 3), 0.1)) == 0
    corners = np.array([[x, y] for x in (-1, 1) for y in (-2, 2)])
    assert effective_dimension(corners) == pytest.approx((1 + 4) ** 2 / (1 + 16))


def test_silhouette_by_hand():
    # 0 and 1 against 4 and 6; inner distances 1 and 2.
    points, labels = np.array([[0.0], [1], [4], [6]]), np.array([0, 0, 1, 1])
    by_hand = [1 - 1 / 5, 1 - 1 / 4, 1 - 2 / 3.5, 1 - 2 / 5.5]
    assert silhouette(points, labels) == pytest.approx(np.mean(by_hand))
    assert silhouette(points * 1000 - 5, labels) == pytest.approx(np.mean(by_hand))
    assert silhouette(*simplex(3, 4)) == 1


def test_a_silhouette_depends_on_the_scale_of_one_dimension_unless_standardised():
    points, labels = blobs()
    stretched = points * np.array([100.0, 1, 1, 1])
    assert silhouette(stretched, labels) < silhouette(points, labels) - 0.1
    same = [silhouette(standardised(given), labels) for given in (points, stretched)]
    assert same[0] == pytest.approx(same[1])


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_without_two_classes_or_company_there_is_no_silhouette(labels):
    with pytest.raises(AuditError, match="have no silhouette"):
        silhouette(np.eye(3), np.array(labels))


def test_standardised_keeps_a_dimension_that_never_varies_finite():
    # The mean of 0.1 is not 0.1 in floating point: its spread is then 1e-17 and not 0.
    points = np.column_stack([np.full(10, 0.1), np.arange(10)]).astype(np.float32)
    found = standardised(points)
    assert (found[:, 0] == 0).all()
    assert (found[:, 1].mean(), found[:, 1].std()) == (pytest.approx(0), pytest.approx(1))
    assert standardised(np.array([[0.1, 4.5]]), points)[0, 1] == pytest.approx(0)


def test_purity_leaves_an_image_itself_out():
    # Pairs that lie on each other: the nearest other one is the twin, never the image itself.
    points, labels = np.array([[0.0], [0], [5], [5], [9], [9]]), np.array([0, 1, 2, 2, 3, 3])
    assert purity(points, labels, neighbours=1) == pytest.approx(4 / 6)
    with pytest.raises(AuditError, match="6 images have no 6 neighbours"):
        purity(points, labels, neighbours=6)


def test_purity_of_noise_is_the_share_of_the_own_class():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 800)
    assert purity(rng.normal(size=(800, 5)), labels) == pytest.approx(0.25, abs=0.02)


def test_a_probe_is_scored_on_images_that_it_never_saw():
    points, labels = blobs()
    others, theirs = blobs(seed=1)
    # A dimension's unit says nothing, not even one of 1e-6.
    unit = np.array([1e-6, 1, 1e3, 1])
    found = probe_accuracy(points * unit, labels, fit_features=others * unit, fit_labels=theirs)
    assert found == 1
    shuffled = np.random.default_rng(2).permutation(theirs)
    assert probe_accuracy(points, labels, fit_features=others, fit_labels=shuffled) < 0.6
    with pytest.raises(AuditError, match="two classes"):
        probe_accuracy(points, labels, fit_features=others, fit_labels=theirs * 0)


def test_a_picture_keeps_clusters_apart_and_can_be_repeated():
    points, labels = blobs()
    first, second = embed(points, seed=0), embed(points, seed=0)
    assert first.shape == (160, 2)
    assert (first == second).all()
    assert purity(first, labels) == 1


def test_nothing_is_embedded_that_has_no_picture():
    for given in (blobs()[0][:99], np.full((200, 3), 0.1)):
        with pytest.raises(AuditError, match="t-SNE needs 100 images or more"):
            embed(given, seed=0)


def test_without_scikit_learn_there_is_a_hint(monkeypatch):
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(features, "import_module", absent)
    with pytest.raises(BackendError, match="need scikit-learn") as caught:
        silhouette(*simplex(3, 4))
    assert "interval-fleet[train]" in caught.value.hint


@pytest.fixture
def network() -> Classifier:
    return build_classifier(
        architecture="nn",
        head="linear",
        task="int",
        encoding=IntervalEncoding(10, alpha=4, beta=16),
        num_classes=10,
        input_shape=(1, 28, 28),
        mean=(0.1,),
        std=(0.3,),
        width=0.125,
        seed=0,
    )


def test_penultimate_is_what_the_last_layer_gets(network):
    images = torch.randint(0, 256, (7, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    images = images.to(torch.uint8)
    seen = []
    network.train()
    network.backbone.layers[1].eval()
    modes = [part.training for part in network.modules()]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    hook = network.head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    found = penultimate(network, images, batch_size=3)
    assert (found.dtype, found.shape) == (np.float32, (7, 32))
    assert [part.training for part in network.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert not seen
    network.eval()
    with torch.inference_mode():
        expected = network.decode(network(images / 255))
    assert np.allclose(found, seen[0].numpy(), atol=1e-5)
    hook.remove()
    assert (decided(network, found) == expected.numpy()).all()
    with pytest.raises(DataError, match="images have shape"):
        penultimate(network, images[:, :, :20])


def test_a_rejected_output_is_no_decision(network):
    nn.init.zeros_(network.head.linear.weight)
    network.head.linear.bias.data.fill_(-100.0)
    assert decided(network, np.ones((2, 32), dtype=np.float32)).tolist() == [-1, -1]
