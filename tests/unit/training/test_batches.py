"""Any step of a training can be replayed from names and numbers."""

from pathlib import Path

import pytest
import torch

from fleet.assembly import load_images
from fleet.data import Split
from fleet.profiles.spec import DataSpec
from fleet.training.batches import epoch_order, training_batch


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
