"""Where images come from when they are asked for: memory, or pictures brought into the frame."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fleet.data.dataset import ImageSource
from fleet.data.pictures import THREADS, Frame, Picture, fit_picture, read_picture
from fleet.data.raw import RawSplit

_CHUNK = 1024


@dataclass(frozen=True, eq=False)
class MemoryImages:
    """Images held as one tensor, uint8 (N, C, H, W)."""

    pixels: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, indices: Tensor) -> Tensor:
        """Read images, uint8 (B, C, H, W), by their numbers, int64 (B,)."""
        return self.pixels[indices]


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
        with ThreadPoolExecutor(THREADS) as pool:
            pictures = list(pool.map(self._picture, indices.tolist()))
        stacked = np.stack(pictures) if pictures else np.empty((0, *self.frame.shape), np.uint8)
        return torch.from_numpy(stacked)

    def _picture(self, index: int) -> Picture:
        pictures = self.split.pictures
        if isinstance(pictures, np.ndarray):
            return fit_picture(Image.fromarray(pictures[index]), self.frame)
        return read_picture(pictures[index], self.frame)


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
