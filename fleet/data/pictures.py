"""Picture files and arrays as 8-bit planes, and a dataset as its reader finds it, before any split.

No torch, so that a device can use it too: training and prediction must see the same bytes.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, ExifTags, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from fleet.errors import DataError
from fleet.vocabulary import Fit

Picture = NDArray[np.uint8]

_READERS = (
    JpegImagePlugin.JpegImageFile,
    PngImagePlugin.PngImageFile,
    BmpImagePlugin.BmpImageFile,
    WebPImagePlugin.WebPImageFile,
)
FORMATS = tuple(reader.format for reader in _READERS)
"""Imported by name: else the first picture loads each of Pillow's forty readers."""

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings a picture of each EXIF orientation upright."""

MAX_PIXELS = 64_000_000
"""Larger pictures are refused before they are decoded (decompression bombs)."""

BACKGROUND = 255
"""Grey level behind a transparent picture: white, as on paper and in browsers."""

THREADS = 4
"""Threads that read files. Pillow and hashlib work outside Python's global lock."""


@dataclass(frozen=True)
class Frame:
    """The form that every picture of a dataset is brought into.

    Attributes:
        channels: 1 (grey, ITU-R 601 luma) or 3 (RGB).
        size: Height and width in pixels.
        fit: ``squash`` changes the aspect ratio; ``crop`` scales the short side to 256/224 of
            ``size`` and cuts the centre, as is usual for ImageNet.
    """

    channels: int
    size: int
    fit: Fit = "squash"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return (self.channels, self.size, self.size)


def read_picture(path: Path | BinaryIO, frame: Frame) -> Picture:
    """Read a picture file.

    The file's content decides its format, not its name. An EXIF orientation is applied, what is
    transparent shows the white of :data:`BACKGROUND` behind it, and 16 bits are cut to 8.

    Args:
        path: JPEG, PNG, BMP or WebP: a file, or its content as a stream.
        frame: What to bring it into.

    Returns:
        uint8 (C, H, W).

    Raises:
        DataError: The file is absent, not a picture, damaged, or larger than :data:`MAX_PIXELS`.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height <= MAX_PIXELS:
                return fit_picture(_upright(image), frame)
            size = f"{image.width} x {image.height}"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        size = str(error)
    except MemoryError:
        raise  # of this machine, not of the picture
    except Exception as error:  # Pillow raises many types, one for each kind of damage
        raise DataError(
            f"cannot read the image {path}: {error}",
            hint="repair or remove it; JPEG, PNG, BMP and WebP are read",
        ) from error
    raise DataError(
        f"the image {path} is too large ({size}; limit {MAX_PIXELS} pixels)",
        hint="scale it down or remove it",
    )


def any_picture(picture: Any, frame: Frame) -> Picture:
    """Read a picture wherever it is.

    Args:
        picture: A file, a ``PIL.Image``, or an array, uint8 (H, W), (H, W, 1) or (H, W, 3).
        frame: What to bring it into.

    Returns:
        uint8 (C, H, W).

    Raises:
        DataError: It cannot be read, or is something else.
    """
    if isinstance(picture, (str, os.PathLike)):
        return read_picture(Path(picture), frame)
    if isinstance(picture, Image.Image):
        try:
            return fit_picture(_upright(picture), frame)
        except (OSError, ValueError) as error:
            raise DataError(
                f"cannot read the image {picture}: {error}", hint="repair it"
            ) from error
    array = np.asarray(picture)
    if (
        array.dtype != np.uint8
        or array.ndim not in (2, 3)
        or array.shape[2:] not in ((), (1,), (3,))
    ):
        raise DataError(
            f"a picture is {type(picture).__name__} of {array.dtype} and shape {array.shape}",
            hint="give a path, a PIL image, or uint8 of shape (H, W, 3) or (H, W)",
        )
    return fit_picture(Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else array), frame)


def fit_picture(image: Image.Image, frame: Frame) -> Picture:
    """Bring a picture into a frame, with Pillow's antialiased bilinear filter.

    Returns:
        uint8 (C, H, W), contiguous.

    Raises:
        ValueError: ``crop`` of a picture so long that scaling its short side would fill the memory.
    """
    plain = _eight_bits(image, "L" if frame.channels == 1 else "RGB")
    fitted = _cropped(plain, frame.size) if frame.fit == "crop" else _resized(plain, frame.size)
    planes = np.asarray(fitted, dtype=np.uint8).reshape(frame.size, frame.size, frame.channels)
    return np.ascontiguousarray(planes.transpose(2, 0, 1))


def _upright(image: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF orientation asks; unreadable EXIF data ask for nothing."""
    image.load()
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # as many types as there are kinds of damage; the pixels are whole
        return image
    return image if turn is None else image.transpose(turn)


def _eight_bits(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which convert() would clip instead of scale
        levels = np.asarray(image)
        grey = (levels.astype(np.uint32) >> 8).astype(np.uint8)
        clear = image.info.get("transparency")
        image = Image.fromarray(
            grey if clear is None else np.where(levels == clear, np.uint8(BACKGROUND), grey)
        )
    elif "transparency" in image.info or image.mode in {"LA", "PA", "La", "RGBa"}:
        image = image.convert("RGBA")
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, (BACKGROUND,) * 3)
        image = Image.alpha_composite(white, image)
    return image if image.mode == mode else image.convert(mode)


def _resized(image: Image.Image, size: int) -> Image.Image:
    if image.size == (size, size):
        return image
    return image.resize((size, size), Image.Resampling.BILINEAR)


def _cropped(image: Image.Image, size: int) -> Image.Image:
    """Scale the short side to 256/224 of ``size``, then cut the centre (torchvision's rounding)."""
    short = round(size * 256 / 224)
    scale = short / min(image.size)
    width, height = (max(short, int(side * scale)) for side in image.size)
    if width * height > MAX_PIXELS:
        raise ValueError(f"its sides are too unequal ({image.width} x {image.height})")
    left, top = round((width - size) / 2), round((height - size) / 2)
    scaled = image.resize((width, height), Image.Resampling.BILINEAR)
    return scaled.crop((left, top, left + size, top + size))


@dataclass(frozen=True, eq=False)
class RawSplit:
    """Labelled pictures.

    Attributes:
        labels: int64 (N,).
        pictures: uint8 (N, H, W) or (N, H, W, 3), or N files.
    """

    labels: NDArray[np.int64]
    pictures: NDArray[np.uint8] | tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, rows: NDArray[np.int64]) -> RawSplit:
        """Take some of the pictures, in the order of ``rows``."""
        if isinstance(self.pictures, np.ndarray):
            return RawSplit(self.labels[rows], self.pictures[rows])
        return RawSplit(self.labels[rows], tuple(self.pictures[row] for row in rows))


@dataclass(frozen=True, eq=False)
class RawDataset:
    """What a reader gives.

    Attributes:
        train: The dataset's training set, validation included.
        test: Its test set.
        class_names: In label order.
        credit: Whom the images come from.
        root: What the files' names in the digests begin below.
        fit: How pictures of another shape are brought into the frame.
        left_out: What is there and was not read, in words; "" for nothing.
    """

    train: RawSplit
    test: RawSplit
    class_names: tuple[str, ...]
    credit: str
    root: Path = Path()
    fit: Fit = "squash"
    left_out: str = ""

    def identity(self) -> dict[str, Any]:
        """What makes two datasets the same images, plain JSON values.

        Raises:
            DataError: A file cannot be read.
        """
        train, whole = self.digests
        return {"sha256": whole, "train_sha256": train, "class_names": list(self.class_names)}

    @cached_property
    def digests(self) -> tuple[str, str]:
        """SHA-256 of the training set, on which alone the weights depend, and of all.

        Over type, shape and bytes of pictures and labels; for files, over each one's path below
        ``root``, its size and its content, in order.

        Raises:
            DataError: A file cannot be read.
        """
        digest, found = hashlib.sha256(), []
        for split in (self.train, self.test):
            if isinstance(split.pictures, np.ndarray):
                for array in (split.pictures, split.labels):
                    digest.update(f"{array.dtype.str}{array.shape}".encode("ascii"))
                    digest.update(array.tobytes())
            else:
                with ThreadPoolExecutor(THREADS) as pool:
                    contents = pool.map(_digest_file, split.pictures)
                    for path, (size, content) in zip(split.pictures, contents, strict=True):
                        name = os.fsencode(path.relative_to(self.root))
                        digest.update(b"%d:%b:%d:%b" % (len(name), name, size, content))
            found.append(digest.hexdigest())
        return found[0], found[1]


def read_encoded(path: Path) -> bytes:
    """Read a picture file as it is.

    Raises:
        DataError: It is absent or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _digest_file(path: Path) -> tuple[int, bytes]:
    content = read_encoded(path)
    return len(content), hashlib.sha256(content).digest()
