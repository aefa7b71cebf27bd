"""Any step of a training can be replayed from names and numbers."""

from pathlib import Path

import pytest
import torch

from fleet.assembly import load_images
from fleet.data import Split
from fleet.data.dataset import MemoryImages
from fleet.encoding import IntervalEncoding
from fleet.models import Classifier
from fleet.profiles.spec import DataSpec
from fleet.training.batches import epoch_order, evaluate, training_batch


@pytest.fixture(scope="module")
def split(mnist_root: Path) -> Split:
    return load_images(DataSpec("mnist", mnist_root, 10, 1, 28, 200, 512, 0)).train


def test_an_epoch_visits_every_image_once_but_for_the_last_partial_batch() -> None:
    order = epoch_order(100, 16, 0, "a", 0)
    assert order.shape == (6, 16)
    assert len(order.flatten().unique()) == 96


def test_a_set_smaller_than_a_batch_is_one_batch() -> None:
    assert epoch_order(10, 64, 0, "a", 0).shape == (1, 10)


def test_order_depends_on_seed_device_and_epoch_and_on_nothing_else() -> None:
    first = epoch_order(100, 10, 0, "a", 0)
    torch.manual_seed(123)
    assert torch.equal(first, epoch_order(100, 10, 0, "a", 0))
    for keys in [(1, "a", 0), (0, "b", 0), (0, "a", 1)]:
        assert not torch.equal(first, epoch_order(100, 10, *keys))


def test_without_augmentation_a_batch_is_the_images_themselves(split: Split) -> None:
    indices = torch.tensor([5, 1, 7])
    x, y = training_batch(split, indices, 0, "a", 0, 0, shift=0, mirror=False)
    torch.testing.assert_close(x, split.images(indices).float() / 255)
    assert torch.equal(y, split.labels[indices])
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_each_image_moves_by_its_own_shift_and_the_border_is_black(split: Split) -> None:
    indices = torch.arange(64)
    original = split.images(indices).float() / 255
    moved, _ = training_batch(split, indices, 0, "a", 0, 0, shift=2, mirror=False)
    padded = torch.nn.functional.pad(original, (2, 2, 2, 2))
    seen = set()
    for image, source in zip(moved, padded, strict=True):
        places = [
            (down, right)
            for down in range(5)
            for right in range(5)
            if torch.equal(image, source[:, down : down + 28, right : right + 28])
        ]
        assert places, "an image is no translation of its source"
        seen.add(places[0])
    assert len(seen) > 10


def test_a_mirrored_batch_holds_images_and_their_mirror_images_only(split: Split) -> None:
    indices = torch.arange(64)
    original = split.images(indices).float() / 255
    mirrored, _ = training_batch(split, indices, 0, "a", 0, 0, shift=0, mirror=True)
    same = (mirrored == original).flatten(1).all(1)
    flipped = (mirrored == original.flip(3)).flatten(1).all(1)
    assert bool((same | flipped).all())
    assert 10 < int(flipped.sum()) < 54


def test_a_step_replays_to_the_same_batch_and_differs_from_its_neighbour(split: Split) -> None:
    indices = torch.arange(32)
    first, _ = training_batch(split, indices, 0, "a", 3, 4, shift=2, mirror=True)
    again, _ = training_batch(split, indices, 0, "a", 3, 4, shift=2, mirror=True)
    other, _ = training_batch(split, indices, 0, "a", 3, 5, shift=2, mirror=True)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_evaluation_counts_right_answers_and_none_exactly(batch_size: int) -> None:
    """The output is the first pixel in levels, minus 100: class 0 up to 20, then None up to 25."""
    images = torch.full((24, 1, 2, 2), 128, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(100, 124)
    labels = torch.zeros(24, dtype=torch.int64)
    labels[:2] = 1
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 1))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[255.0, 0.0, 0.0, 0.0]]))
        network[1].bias.fill_(-100.0)
    encoding = IntervalEncoding(2, alpha=10.0, beta=20.0)
    classifier = Classifier.from_module(network, encoding, (1, 2, 2))
    classifier.train()
    tally = evaluate(classifier, Split(labels, MemoryImages(images)), batch_size=batch_size)
    assert (tally.n, tally.correct, tally.rejected) == (24, 19, 3)
    assert classifier.training
