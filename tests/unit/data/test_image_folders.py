"""Folders of pictures, ImageNet's ten classes, memory and streams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fleet.data import ImageData, load_data
from fleet.data.folder import IMAGENET10
from fleet.data.sources import MemoryImages, StreamedImages
from fleet.errors import DataError

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"


def write_tree(
    root: Path, classes: tuple[str, ...] = ("ant", "bee", "cat"), test: str = "test"
) -> Path:
    """Write 4 training and 2 test pictures for each class; the red plane tells them apart."""
    for part, count in (("train", 4), (test, 2)):
        for label, name in enumerate(classes):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                colour = (40 * label + 10 * i + (5 if part == test else 0), 100, 200)
                Image.new("RGB", (30, 20), colour).save(folder / f"{i}.png")
    return root


def load(root: Path, dataset: str = "folder", **changes: Any) -> ImageData:
    settings = {"channels": 3, "image_size": 16, "num_classes": 3, "validation": 3}
    return load_data(dataset, root, **{**settings, **changes})


def everything(data: ImageData) -> list[torch.Tensor]:
    parts = (data.train, data.validation, data.test)
    return [part.images(torch.arange(len(part))) for part in parts]


def test_a_folder_gives_sorted_classes_and_matching_labels(tmp_path: Path) -> None:
    data = load(write_tree(tmp_path))
    assert data.class_names == ("ant", "bee", "cat")
    assert (len(data.train), len(data.validation), len(data.test)) == (9, 3, 6)
    for part in (data.train, data.validation, data.test):
        red = part.images(torch.arange(len(part)))[:, 0, 0, 0]
        assert torch.equal(red // 40, part.labels)
    assert data.provenance["fit"] == "squash"
    assert data.mean[1:] == pytest.approx((100 / 255, 200 / 255))


def test_val_stands_in_for_test_and_test_wins_over_val(tmp_path: Path) -> None:
    write_tree(tmp_path, test="val")
    assert len(load(tmp_path).test) == 6
    for name in ("ant", "bee", "cat"):
        (tmp_path / "test" / name).mkdir(parents=True)
        Image.new("L", (9, 9), 77).save(tmp_path / "test" / name / "one.bmp")
    assert len(load(tmp_path).test) == 3


def test_hidden_directories_and_other_files_are_passed_over(tmp_path: Path) -> None:
    expected = load(write_tree(tmp_path)).provenance
    (tmp_path / "train" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "train" / "ant" / "notes.txt").write_text("not a picture")
    (tmp_path / "train" / "README").write_text("not a class")
    assert load(tmp_path).provenance == expected


def test_memory_and_stream_give_the_same_bytes(tmp_path: Path) -> None:
    write_tree(tmp_path)
    held, streamed = load(tmp_path), load(tmp_path, memory_budget=0)
    assert isinstance(held.train.source, MemoryImages)
    assert isinstance(streamed.train.source, StreamedImages)
    assert len(held.train.source) == len(streamed.train.source) == 9
    assert all(map(torch.equal, everything(held), everything(streamed)))
    assert (held.mean, held.std) == (streamed.mean, streamed.std)
    assert held.provenance == streamed.provenance
    assert streamed.train.images(torch.arange(0)).shape == (0, 3, 16, 16)


def test_the_budget_counts_all_decoded_bytes(tmp_path: Path) -> None:
    write_tree(tmp_path)
    needed = 18 * 3 * 16 * 16
    assert isinstance(load(tmp_path, memory_budget=needed).test.source, MemoryImages)
    assert isinstance(load(tmp_path, memory_budget=needed - 1).test.source, StreamedImages)


def test_digest_follows_content_and_place_but_not_the_root(tmp_path: Path) -> None:
    first = load(write_tree(tmp_path / "a")).provenance["sha256"]
    root = write_tree(tmp_path / "b")
    assert load(root).provenance["sha256"] == first
    (root / "train" / "ant" / "3.png").rename(root / "train" / "ant" / "4.png")
    moved = load(root).provenance["sha256"]
    Image.new("RGB", (30, 20), (1, 2, 3)).save(root / "test" / "cat" / "0.png")
    changed = load(root).provenance["sha256"]
    assert len({first, moved, changed}) == 3


def test_a_limited_folder_reads_only_what_it_needs(tmp_path: Path) -> None:
    write_tree(tmp_path)
    settings = {"train_limit": 2, "validation": 1}
    streamed = load(tmp_path, **settings, memory_budget=0)
    drawn: set[Path] = set()
    for part in (streamed.train, streamed.validation):
        assert isinstance(part.source, StreamedImages)
        drawn.update(part.source.split.pictures)
    for path in set((tmp_path / "train").rglob("*.png")) - drawn:
        path.write_bytes(b"not a picture")
    held = load(tmp_path, **settings)
    assert (len(held.train), len(held.validation), len(held.test)) == (2, 1, 6)


def _without_test(root: Path) -> None:
    (root / "test").rename(root / "elsewhere")


def _without_train(root: Path) -> None:
    (root / "train").rename(root / "elsewhere")


def _with_empty_class(root: Path) -> None:
    for path in (root / "train" / "bee").iterdir():
        path.unlink()


def _with_class_in_train_only(root: Path) -> None:
    (root / "train" / "dog").mkdir()


def _with_file_in_the_way(root: Path) -> None:
    _without_train(root)
    (root / "train").write_text("a file")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without_test, "no test images: there is neither"),
        (_without_train, "cannot read the directory .*train: No such file"),
        (_with_empty_class, "no images in .*bee"),
        (_with_class_in_train_only, "have different classes: dog"),
        (_with_file_in_the_way, "cannot read the directory .*train: Not a directory"),
    ],
)
def test_a_tree_that_is_not_as_it_should_be_is_refused(  # type: ignore[no-untyped-def]
    tmp_path: Path, damage, message: str
) -> None:
    damage(write_tree(tmp_path))
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path)
    assert caught.value.hint


def test_another_number_of_classes_is_refused_with_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 3 classes, not 10") as caught:
        load(write_tree(tmp_path), num_classes=10)
    assert caught.value.hint == "set `data.num_classes` to 3"


def test_imagenet10_takes_its_ten_classes_out_of_a_larger_tree(tmp_path: Path) -> None:
    write_tree(tmp_path, (*IMAGENET10, "n01530575", "n02000000"), test="val")
    data = load(tmp_path, "imagenet10", num_classes=10)
    assert data.class_names == (
        *("tench", "goldfish", "great white shark", "tiger shark", "hammerhead"),
        *("electric ray", "stingray", "cock", "hen", "ostrich"),
    )
    assert (len(data.train), len(data.validation), len(data.test)) == (37, 3, 20)
    assert data.provenance["fit"] == "crop"
    assert data.test.labels.bincount().tolist() == [2] * 10


def test_imagenet10_names_the_class_that_is_missing(tmp_path: Path) -> None:
    write_tree(tmp_path, tuple(IMAGENET10)[:9], test="val")
    with pytest.raises(DataError, match=r"cannot read the directory .*n01518878"):
        load(tmp_path, "imagenet10", num_classes=10)


@pytest.mark.skipif(
    not (SHARED / "imagenet10-samples").is_dir(), reason="ImageNet photos are not redistributable"
)
def test_real_photos_of_the_ten_classes_load(tmp_path: Path) -> None:
    for part in ("train", "val"):
        (tmp_path / part).symlink_to((SHARED / "imagenet10-samples").resolve())
    settings = {"num_classes": 10, "image_size": 64, "validation": 1}
    held = load(tmp_path, "imagenet10", **settings)
    streamed = load(tmp_path, "imagenet10", **settings, memory_budget=0)
    assert all(map(torch.equal, everything(held), everything(streamed)))
    assert held.test.labels.tolist() == list(range(10))
    photos = held.test.images(torch.arange(10))
    assert photos.shape == (10, 3, 64, 64)
    assert bool((photos.float().std((1, 2, 3)) > 20).all())
    assert np.all((np.array(held.mean) > 0.2) & (np.array(held.mean) < 0.8))


@pytest.mark.skipif(
    not (SHARED / "imagenette128").is_dir(), reason="Imagenette is not part of the project"
)
def test_real_photos_load_as_a_folder(tmp_path: Path) -> None:
    source = (SHARED / "imagenette128").resolve()
    for part in ("train", "val"):
        for folder in sorted((source / part).iterdir()):
            target = tmp_path / part / folder.name
            target.mkdir(parents=True)
            for photo in sorted(folder.iterdir())[:3]:
                (target / photo.name).symlink_to(photo)
    data = load(tmp_path, num_classes=10, image_size=64, validation=5)
    assert (len(data.train), len(data.validation), len(data.test)) == (25, 5, 30)
    assert data.class_names[0] == "n01440764"
    assert data.train.images(torch.arange(25)).shape == (25, 3, 64, 64)
