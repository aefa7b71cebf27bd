"""What a loaded dataset is: splits of uint8 images, in memory or in files, and their provenance."""

import io
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fleet.data.pictures import (
    THREADS,
    Frame,
    Picture,
    RawSplit,
    fit_picture,
    read_encoded,
    read_picture,
)

_CHUNK = 1024


class ImageSource(Protocol):
    """Images that can be read by number: in memory, or from files."""

    def __len__(self) -> int:
        """Count the images."""

    def read(self, indices: Tensor) -> Tensor:
        """Read images, uint8 (B, C, H, W), by their numbers, int64 (B,)."""


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a dataset.

    Attributes:
        labels: Classes, int64 (N,).
        source: The N images.
    """

    labels: Tensor
    source: ImageSource

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, indices: Tensor) -> Tensor:
        """Read images.

        Args:
            indices: int64 (B,), each in [0, N).

        Returns:
            uint8 (B, C, H, W); the same bytes whether held in memory or read from files.

        Raises:
            DataError: A file is gone or unreadable.
        """
        return self.source.read(indices)

    def to(self, device: torch.device) -> "Split":
        """The same images and labels, given on an accelerator; itself for the CPU."""
        if device.type == "cpu":
            return self
        return Split(self.labels.to(device), PlacedImages(self.source, device))


@dataclass(frozen=True, eq=False)
class ImageData:
    """A dataset, ready for training and audit.

    Attributes:
        name: Dataset name, for example ``mnist``.
        train: Images to fit.
        validation: Images cut from the training set, for every choice.
        test: The dataset's own test set, for final figures only.
        class_names: One name for each class, in label order.
        mean: Mean of each channel of the training split, on the [0, 1] scale.
        std: Standard deviation of each channel, on the same scale.
        provenance: Plain JSON values: ``dataset``, ``sha256`` of the whole content (before any
            split or limit), ``train_sha256`` of the training set in it, sizes of the splits,
            ``split_seed``, ``fit``, ``credit``.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    provenance: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """What a run keeps of its images, plain JSON values."""
        means = {"mean": list(self.mean), "std": list(self.std)}
        return {**self.provenance, "class_names": list(self.class_names), **means}

    def to(self, device: torch.device) -> "ImageData":
        """The same images, given on an accelerator."""
        return self._changed(lambda split: split.to(device))

    def portable(self) -> "ImageData":
        """The same images without a file behind them, for another machine.

        Raises:
            DataError: A file cannot be read.
        """
        return self._changed(_portable)

    def _changed(self, change: Callable[[Split], Split]) -> "ImageData":
        parts: dict[str, Any] = {
            name: change(getattr(self, name)) for name in ("train", "validation", "test")
        }
        return replace(self, **parts)


def to_unit(images: Tensor) -> Tensor:
    """Turn 8-bit images into the classifier's input: ``images / 255``.

    Args:
        images: uint8, any shape.

    Returns:
        float32 in [0, 1], same shape and memory format.

    Raises:
        TypeError: The images are not uint8.
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"images are {images.dtype}, not torch.uint8")
    return images.to(torch.float32).div_(255)


@dataclass(frozen=True, eq=False)
class PlacedImages:
    """Images that are brought to an accelerator as they are read, 8 bits a value."""

    source: ImageSource
    device: torch.device

    def __len__(self) -> int:
        return len(self.source)

    def read(self, indices: Tensor) -> Tensor:
        """Read images, uint8 (B, C, H, W), by their numbers, int64 (B,)."""
        return self.source.read(indices.cpu()).to(self.device)


@dataclass(frozen=True, eq=False)
class MemoryImages:
    """Images held as one tensor, uint8 (N, C, H, W)."""

    pixels: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, indices: Tensor) -> Tensor:
        """Read images, uint8 (B, C, H, W), by their numbers, int64 (B,)."""
        return self.pixels[indices]

    def __reduce__(self) -> tuple[Any, ...]:
        """As an array, which processes of one machine can share; it is only read."""
        return _from_array, (self.pixels.numpy(),)


def _from_array(pixels: Picture) -> MemoryImages:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shared memory is not writable
        return MemoryImages(torch.from_numpy(pixels))


def _portable(split: Split) -> Split:
    source = split.source
    if isinstance(source, StreamedImages) and not isinstance(source.split.pictures, np.ndarray):
        with ThreadPoolExecutor(THREADS) as pool:
            files = pool.map(read_encoded, source.split.pictures)
            contents = tuple(np.frombuffer(data, np.uint8) for data in files)
        return replace(split, source=EncodedImages(contents, source.frame))
    return split


@dataclass(frozen=True, eq=False)
class StreamedImages:
    """Pictures that are brought into the frame each time they are read."""

    split: RawSplit
    frame: Frame

    def __len__(self) -> int:
        return len(self.split)

    def read(self, indices: Tensor) -> Tensor:
        """Read images, uint8 (B, C, H, W), by their numbers, int64 (B,).

        Raises:
            DataError: A file is gone or unreadable.
        """
        return _stacked(self._picture, indices, self.frame)

    def _picture(self, index: int) -> Picture:
        pictures = self.split.pictures
        if isinstance(pictures, np.ndarray):
            return fit_picture(Image.fromarray(pictures[index]), self.frame)
        return read_picture(pictures[index], self.frame)


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """The contents of picture files, uint8 (bytes,) each, decoded each time they are read."""

    contents: tuple[Picture, ...]
    frame: Frame

    def __len__(self) -> int:
        return len(self.contents)

    def read(self, indices: Tensor) -> Tensor:
        """Read images, uint8 (B, C, H, W), by their numbers, int64 (B,)."""
        return _stacked(self._picture, indices, self.frame)

    def _picture(self, index: int) -> Picture:
        return read_picture(io.BytesIO(self.contents[index].tobytes()), self.frame)


def _stacked(picture: Callable[[int], Picture], indices: Tensor, frame: Frame) -> Tensor:
    with ThreadPoolExecutor(THREADS) as pool:
        pictures = list(pool.map(picture, indices.tolist()))
    stacked = np.stack(pictures) if pictures else np.empty((0, *frame.shape), np.uint8)
    return torch.from_numpy(stacked)


def open_images(split: RawSplit, frame: Frame, *, in_memory: bool) -> ImageSource:
    """Give a split's images in the frame.

    Arrays that have the frame's shape already are in memory whatever ``in_memory`` says.

    Args:
        split: Pictures.
        frame: What to bring them into.
        in_memory: Decode all of them now, instead of each time they are read.

    Raises:
        DataError: A picture is unreadable (now or when it is read).
    """
    pictures = split.pictures
    if isinstance(pictures, np.ndarray):
        planes = pictures[..., None] if pictures.ndim == 3 else pictures
        if planes.shape[1:] == (frame.size, frame.size, frame.channels):
            channels_first = np.ascontiguousarray(planes.transpose(0, 3, 1, 2))
            return MemoryImages(torch.from_numpy(channels_first))
    streamed = StreamedImages(split, frame)
    return _hold(streamed) if in_memory else streamed


def _hold(streamed: StreamedImages) -> MemoryImages:
    pixels = torch.empty((len(streamed), *streamed.frame.shape), dtype=torch.uint8)
    for indices in torch.arange(len(streamed)).split(_CHUNK):
        pixels[indices] = streamed.read(indices)
    return MemoryImages(pixels)
