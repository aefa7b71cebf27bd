"""Folders of pictures, ImageNet's ten classes, memory and streams."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fleet.bundle.fields import Fields
from fleet.data import ImageData, load_data
from fleet.data.dataset import MemoryImages, StreamedImages
from fleet.data.folder import IMAGENET10
from fleet.data.load import check_training
from fleet.errors import BundleError, DataError, FleetWarning

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
    with pytest.warns(FleetWarning, match=r"left out of .*: 1 folder \(val\)$"):
        assert len(load(tmp_path).test) == 3


def test_what_is_hidden_is_skipped_in_silence(tmp_path: Path) -> None:
    expected = load(write_tree(tmp_path)).provenance
    (tmp_path / "train" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "train" / ".DS_Store").write_bytes(b"\0")
    (tmp_path / "train" / "ant" / "._0.png").write_bytes(b"what macOS leaves on other disks")
    (tmp_path / "test" / "bee" / ".thumbnails").mkdir()
    assert load(tmp_path).provenance == expected


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    expected = load(write_tree(tmp_path)).provenance
    for name in ("notes.txt", "a.gif", "b.tiff", "no-suffix"):
        (tmp_path / "train" / "ant" / name).write_text("not read")
    (tmp_path / "train" / "README").write_text("not a class")
    os.mkfifo(tmp_path / "test" / "bee" / "pipe.png")
    inner = tmp_path / "test" / "cat" / "more\x1b.png"
    inner.mkdir()
    Image.new("RGB", (9, 9)).save(inner / "0.png")
    with pytest.warns(FleetWarning) as caught:
        assert load(tmp_path).provenance == expected
    (said,) = [str(warning.message) for warning in caught]
    assert said == (
        f"left out of {tmp_path}: 6 files (train/README, train/ant/a.gif, train/ant/b.tiff, ...) "
        "and 1 folder ('test/cat/more\\x1b.png' (U+001B))"
    )


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("soft\u00adhyphen", "U+00AD SOFT HYPHEN"),
        ("no\u00a0break", "U+00A0 NO-BREAK SPACE"),
        ("joined\u200d", "U+200D ZERO WIDTH JOINER"),
        ("tab\tbed", "U+0009"),
        ("\x1b[2Jclear", "U+001B"),
        (os.fsdecode(b"latin-\xe9"), "U+DCE9"),
    ],
)
def test_a_class_name_that_no_bundle_takes_is_refused_when_images_are_read(
    tmp_path: Path, name: str, points: str
) -> None:
    with pytest.raises(DataError, match="cannot be packaged") as caught:
        load(write_tree(tmp_path, ("ant", name, "cat")))
    assert f"({points})" in caught.value.message
    assert caught.value.message.isprintable()
    caught.value.message.encode("utf-8")
    assert "rename the directory" in (caught.value.hint or "")
    with pytest.raises(BundleError, match="printable"):  # the same rule
        Fields({"class_names": ["ant", name, "cat"]}).texts("class_names")


@pytest.mark.parametrize("name", ["café", "cafe\u0301", "two words", "日本", "😀", "a'b", "[old]"])
def test_a_class_name_that_is_read_can_be_packaged(tmp_path: Path, name: str) -> None:
    data = load(write_tree(tmp_path, ("ant", name, "zoo")))
    names = list(data.class_names)
    assert name in names
    assert Fields({"class_names": names}).texts("class_names") == data.class_names


def test_names_that_look_alike_are_told_apart_by_their_code_points(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    write_tree(tmp_path, ("ant", composed, "zoo"))
    (tmp_path / "test" / composed).rename(tmp_path / "test" / decomposed)
    with pytest.raises(DataError, match="have different classes") as caught:
        load(tmp_path)
    assert f"{decomposed!r} (U+0301 COMBINING ACUTE ACCENT)" in caught.value.message
    assert f"{composed!r} (U+00E9 LATIN SMALL LETTER E WITH ACUTE)" in caught.value.message
    write_tree(tmp_path / "both", (composed, decomposed, "zoo"))
    with pytest.raises(DataError, match=r"look the same: .*U\+0301.* and .*U\+00E9"):
        load(tmp_path / "both")


def test_a_class_without_a_training_image_is_refused_for_training(tmp_path: Path) -> None:
    data = load(write_tree(tmp_path), validation=9)
    present = set(data.train.labels.tolist())
    missing = next(name for label, name in enumerate(data.class_names) if label not in present)
    with pytest.raises(DataError, match=f"no image for training is of class .*{missing}") as caught:
        check_training(data.train.labels.numpy(), data.class_names)
    assert "data.validation" in (caught.value.hint or "")
    with pytest.raises(DataError, match="there is 1 image for training; a batch needs 2"):
        check_training(np.zeros(1, dtype=np.int64), ("ant",))
    check_training(np.array([0, 1, 1]), ("ant", "bee"))


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
    assert caught.value.hint == "set `data.classes` to 3"


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
