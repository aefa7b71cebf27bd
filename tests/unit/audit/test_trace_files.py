"""Image files of unknown origin, in order and out of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from fleet.audit.trace.unknown import read_images, read_labels
from fleet.errors import DataError

GREY, COLOUR = (1, 4, 5), (3, 4, 5)
PIXELS = np.arange(2 * 20, dtype=np.uint8).reshape(2, 1, 4, 5)


def test_arrays_are_read_with_or_without_the_channel(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", PIXELS)
    np.save(tmp_path / "flat.npy", PIXELS[:, 0])
    for name in ("a.npy", "flat.npy"):
        assert torch.equal(read_images(tmp_path / name, GREY), torch.from_numpy(PIXELS))


def test_safetensors_may_hold_one_tensor_or_one_called_images(tmp_path: Path) -> None:
    save_file({"x": PIXELS}, tmp_path / "one.safetensors")
    two = {"images": PIXELS, "labels": np.array([3, 4])}
    save_file(two, tmp_path / "two.safetensors")
    for name in ("one", "two"):
        found = read_images(tmp_path / f"{name}.safetensors", GREY)
        assert torch.equal(found, torch.from_numpy(PIXELS))
    assert read_labels(tmp_path / "two.safetensors").tolist() == [3, 4]


def test_pictures_are_taken_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, pixels in (("b", PIXELS[1, 0]), ("a", PIXELS[0, 0])):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    assert torch.equal(read_images(tmp_path, GREY), torch.from_numpy(PIXELS))
    assert read_images(tmp_path, COLOUR).shape == (2, *COLOUR)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (PIXELS.astype(np.float32), "float32"),
        (PIXELS[:, :, :3], r"\(2, 1, 3, 5\)"),
        (PIXELS[:0], r"\(0, 1, 4, 5\)"),
        (PIXELS[0, 0], r"\(4, 5\)"),
        (np.array(["a", "b"]), "<U1"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, array: np.ndarray, words: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=words):
        read_images(tmp_path / "a.npy", GREY)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*gone\.npy"):
        read_images(tmp_path / "gone.npy", GREY)
    for name in ("a.npy", "a.safetensors"):
        (tmp_path / name).write_bytes(b"\x00damaged")
        with pytest.raises(DataError, match="cannot read"):
            read_images(tmp_path / name, GREY)
    (tmp_path / "empty.npy").write_bytes(b"")
    with pytest.raises(DataError, match="cannot read"):
        read_images(tmp_path / "empty.npy", GREY)
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot read"):
        read_images(tmp_path / "object.npy", GREY)
    save_file({"a": PIXELS, "b": PIXELS}, tmp_path / "two.safetensors")
    with pytest.raises(DataError, match="KeyError"):
        read_images(tmp_path / "two.safetensors", GREY)
    with pytest.raises(DataError, match=r"neither \.npy"):
        read_images(tmp_path / "a.jpg", GREY)


def test_directories_of_nothing_or_of_two_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no PNG files"):
        read_images(tmp_path, GREY)
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"cannot read .*a\.png"):
        read_images(tmp_path, GREY)
    Image.fromarray(PIXELS[0, 0]).save(tmp_path / "a.png")
    Image.fromarray(PIXELS[0, 0, :2]).save(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"b\.png has shape \(1, 2, 5\), a\.png \(1, 4, 5\)"):
        read_images(tmp_path, GREY)


@pytest.mark.parametrize("array", [np.array([1.5]), np.array([[1]]), np.array([True])])
def test_labels_are_whole_numbers(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "y.npy", array)
    with pytest.raises(DataError, match="holds"):
        read_labels(tmp_path / "y.npy")
