"""Datasets and pictures that are damaged, or made to do harm."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fleet.data import load_data
from fleet.data.pictures import Frame, read_picture
from fleet.data.read import read_idx
from fleet.errors import DataError


def idx(count: int, *shape: int, body: bytes | None = None, magic: bytes | None = None) -> bytes:
    head = magic or bytes((0, 0, 8, 1 + len(shape)))
    content = bytes(count * int(np.prod(shape, dtype=int))) if body is None else body
    return head + struct.pack(f">{1 + len(shape)}I", count, *shape) + content


def flipped(data: bytes, position: int) -> bytes:
    damaged = bytearray(data)
    damaged[position] ^= 0xFF
    return bytes(damaged)


WHOLE = gzip.compress(idx(4, 28, 28, body=np.random.default_rng(0).bytes(4 * 784)), mtime=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(WHOLE[: len(WHOLE) // 2], "ended before", id="truncated"),
        pytest.param(WHOLE[:-4], "ended before", id="checksum cut off"),
        pytest.param(flipped(WHOLE, -6), "CRC check failed", id="checksum wrong"),
        pytest.param(flipped(WHOLE, 30), "", id="one byte of the stream changed"),
        pytest.param(b"<html>404</html>", "Not a gzipped file", id="not gzip"),
        pytest.param(b"", "begins with nothing", id="empty"),
        pytest.param(gzip.compress(idx(4, 28, 28)[:9]), "begins with 00000803", id="short header"),
        pytest.param(gzip.compress(idx(4)), "begins with 00000801", id="labels for images"),
        pytest.param(gzip.compress(idx(4, 32, 32)), r"shape \(32, 32\)", id="other shape"),
        pytest.param(gzip.compress(idx(4, 28, 28)[:-1]), "3136 bytes .* 3135", id="one byte short"),
        pytest.param(gzip.compress(idx(4, 28, 28) + b"x"), "3136 .* more", id="one byte long"),
        pytest.param(gzip.compress(idx(0, 28, 28)), "hold 0 items", id="no items"),
        pytest.param(
            gzip.compress(idx(2**32 - 1, 28, 28, body=b"")), "hold 4294967295", id="absurd count"
        ),
    ],
)
def test_a_damaged_idx_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{path.name} is damaged: .*{message}") as caught:
        read_idx(path, (28, 28))
    assert caught.value.hint is not None
    assert "delete the file" in caught.value.hint


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """128 MiB of zeros behind a header that promises four images."""
    path = tmp_path / "images.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(idx(4, 28, 28))
        zeros = bytes(2**20)
        for _ in range(128):
            stream.write(zeros)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="more found"):
            read_idx(path, (28, 28))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (bytes(3), "3 labels for 4 images"),
        (bytes((0, 1, 10, 2)), "holds the label 10"),
    ],
)
def test_labels_that_do_not_fit_the_images_are_refused(
    tmp_path: Path, labels: bytes, message: str
) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte.gz").write_bytes(WHOLE)
        packed = gzip.compress(idx(len(labels), body=labels))
        (raw / f"{part}-labels-idx1-ubyte.gz").write_bytes(packed)
    with pytest.raises(DataError, match=f"train-labels-idx1-ubyte.gz is damaged: .*{message}"):
        load_data("mnist", tmp_path, channels=1, image_size=28, num_classes=10, validation=1)


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunk(*c) for c in chunks) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8_001, 12_000, 60_000], ids=["ours", "warning", "error"])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(side, side, (b"IDAT", zlib.compress(bytes(10_000)))))
    with pytest.raises(DataError, match=r"bomb\.png is too large"):
        read_picture(path, Frame(1, 28))


def test_a_thread_of_pixels_does_not_become_a_bomb_when_its_short_side_is_scaled(
    tmp_path: Path,
) -> None:
    path = tmp_path / "thread.png"
    Image.new("L", (1_000_000, 1)).save(path)
    with pytest.raises(DataError, match=r"sides are too unequal \(1000000 x 1\)"):
        read_picture(path, Frame(3, 224, "crop"))
    assert read_picture(path, Frame(3, 224)).shape == (3, 224, 224)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "BMP", "WEBP"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_truncated_picture_is_named(tmp_path: Path, format_: str, share: float) -> None:
    path = tmp_path / "cut.img"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, format=format_)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DataError, match=r"cannot read the image .*cut\.img") as caught:
        read_picture(path, Frame(3, 28))
    assert caught.value.hint


def test_no_flipped_byte_raises_anything_but_a_data_error(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    path = tmp_path / "flipped"
    generator = np.random.default_rng(1)
    for format_ in ("JPEG", "PNG", "BMP", "WEBP"):
        Image.fromarray(pixels).save(path, format=format_)
        data = path.read_bytes()
        for position in generator.integers(0, min(len(data), 200), 60):
            path.write_bytes(flipped(data, int(position)))
            try:
                planes = read_picture(path, Frame(3, 8))
            except DataError:
                continue
            assert planes.shape == (3, 8, 8)


@pytest.mark.parametrize("suffix", ["gif", "tiff", "ppm", "eps", "svg"])
def test_formats_that_are_not_promised_are_not_opened(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    if suffix == "svg":
        path.write_text("<svg/>")
    else:
        Image.new("RGB", (8, 8)).save(path)
    with pytest.raises(DataError, match="cannot read the image"):
        read_picture(path, Frame(3, 8))


def test_a_directory_with_a_pictures_name_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(DataError, match=r"cannot read the image .*a\.png"):
        read_picture(tmp_path / "a.png", Frame(3, 8))


@pytest.mark.parametrize("budget", [0, 2**31], ids=["streamed", "in memory"])
def test_one_bad_picture_of_many_is_found_when_it_is_read(tmp_path: Path, budget: int) -> None:
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(3):
                Image.new("L", (9, 9)).save(tmp_path / part / name / f"{i}.png")
    bad = tmp_path / "test" / "b" / "1.png"
    bad.write_bytes(bad.read_bytes()[:-30])

    def read_all() -> None:
        settings = {"image_size": 28, "num_classes": 2, "validation": 1, "memory_budget": budget}
        load_data("folder", tmp_path, channels=1, **settings).test.images(torch.arange(6))

    with pytest.raises(DataError, match=r"test/b/1\.png"):
        read_all()


def test_a_picture_that_disappears_while_streaming_is_named(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / part / "a").mkdir(parents=True)
        for i in range(3):
            Image.new("L", (9, 9)).save(tmp_path / part / "a" / f"{i}.png")
    data = load_data(
        "folder",
        tmp_path,
        channels=1,
        image_size=28,
        num_classes=1,
        validation=1,
        memory_budget=0,
    )
    (tmp_path / "test" / "a" / "2.png").unlink()
    assert data.test.images(torch.tensor([0, 1])).shape == (2, 1, 28, 28)
    with pytest.raises(DataError, match=r"2\.png"):
        data.test.images(torch.tensor([0, 2]))


def test_a_dangling_link_in_a_folder_is_named(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / part / "a").mkdir(parents=True)
        Image.new("L", (9, 9)).save(tmp_path / part / "a" / "0.png")
        Image.new("L", (9, 9)).save(tmp_path / part / "a" / "1.png")
    (tmp_path / "train" / "a" / "2.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match=r"cannot read .*2\.png"):
        load_data("folder", tmp_path, channels=1, image_size=28, num_classes=1, validation=1)
