"""Images and labels of unknown origin from files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load
from torch import Tensor

from fleet.errors import DataError

_HINT = "give a .npy or .safetensors file of uint8 (N, C, H, W), or a directory of PNG files"


def read_images(path: Path, shape: tuple[int, int, int]) -> Tensor:
    """Read 8-bit images.

    Args:
        path: ``.npy``; ``.safetensors`` with one tensor, or one named ``images``; or a directory of
            PNG files, which are taken in the order of their names and not resized.
        shape: (C, H, W) that the devices take.

    Returns:
        uint8 (N, C, H, W).

    Raises:
        DataError: The file is absent, damaged or empty, or holds something else.
    """
    array = _pictures(path, shape[0]) if path.is_dir() else _array(path, "images")
    if array.ndim == 3 and shape[0] == 1:
        array = array[:, np.newaxis]
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1:] != shape or not len(array):
        raise DataError(
            f"{path} holds {array.dtype} of shape {array.shape}; the devices take uint8 of shape "
            f"{('N', *shape)}",
            hint=_HINT,
        )
    return torch.from_numpy(np.ascontiguousarray(array))


def read_labels(path: Path) -> Tensor:
    """Read true classes, int64 (N,): ``.npy``, or ``.safetensors`` with one tensor or ``labels``.

    Raises:
        DataError: The file is absent or damaged, or holds no whole numbers.
    """
    array = _array(path, "labels")
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise DataError(
            f"{path} holds {array.dtype} of shape {array.shape}",
            hint="labels are whole numbers of shape (N,), the class of each original",
        )
    return torch.from_numpy(array.astype(np.int64))


def _array(path: Path, name: str) -> NDArray[np.generic]:
    try:
        if path.suffix == ".npy":
            # No pickle: an array of objects could run any program.
            return np.asarray(np.load(path, allow_pickle=False))
        if path.suffix == ".safetensors":
            tensors = load(path.read_bytes())
            only = next(iter(tensors)) if len(tensors) == 1 else name
            return np.asarray(tensors[only])
    except (OSError, ValueError, EOFError, KeyError, SafetensorError) as error:
        raise DataError(
            f"cannot read {path}: {type(error).__name__}: {error}", hint=_HINT
        ) from error
    raise DataError(f"{path} is neither .npy, .safetensors nor a directory", hint=_HINT)


def _pictures(directory: Path, channels: int) -> NDArray[np.uint8]:
    paths = sorted(path for path in directory.iterdir() if path.suffix.lower() == ".png")
    if not paths:
        raise DataError(f"{directory} holds no PNG files", hint=_HINT)
    pictures = []
    for path in paths:
        try:
            with Image.open(path, formats=("PNG",)) as picture:
                pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read {path}: {error}", hint="give 8-bit PNG files") from error
        pictures.append(pixels[np.newaxis] if channels == 1 else pixels.transpose(2, 0, 1))
        if pictures[-1].shape != pictures[0].shape:
            raise DataError(
                f"{path} has shape {pictures[-1].shape}, {paths[0].name} {pictures[0].shape}",
                hint="all images of a directory have one size",
            )
    return np.stack(pictures)
