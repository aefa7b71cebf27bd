"""Bring what a caller gives into the one form that an engine takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleet.errors import DataError
from fleet.runtime.engine import FloatArray


def as_batch(images: Any, shape: tuple[int, int, int]) -> FloatArray:
    """Check images and turn them into float32.

    Args:
        images: numpy array or torch tensor, uint8 in 0..255 or float32 in [0, 1], of shape
            (N, C, H, W), or (N, H, W) where C is 1.
        shape: (C, H, W) that the device takes.

    Returns:
        float32 (N, C, H, W) in [0, 1].

    Raises:
        DataError: Another type, shape or range, or NaN.
    """
    given = _as_array(images)
    array = given[:, np.newaxis] if given.ndim == 3 and shape[0] == 1 else given
    if array.ndim != 4 or array.shape[1:] != shape:
        raise DataError(
            f"images have shape {given.shape}; this device takes {('N', *shape)}",
            hint="resize them, or let the device read files with predict_files",
        )
    if array.dtype == np.uint8:
        return array.astype(np.float32) / np.float32(255)
    if array.size and not (array.min() >= 0 and array.max() <= 1):  # a NaN fails both
        raise DataError(
            f"pixels run from {array.min()} to {array.max()}; float32 images must be in [0, 1]",
            hint="divide 8-bit values by 255, or give them as uint8; do not normalise",
        )
    return np.ascontiguousarray(array)


def _as_array(images: Any) -> NDArray[Any]:
    if hasattr(images, "detach"):  # a torch tensor, recognised without importing torch
        try:
            images = images.detach().cpu().numpy()
        except TypeError as error:  # bfloat16 has no numpy form
            raise DataError(f"images cannot be read: {error}", hint="convert to float32") from error
    if not isinstance(images, np.ndarray):
        raise DataError(
            f"images are a {type(images).__name__}",
            hint="give a numpy array or a torch tensor; predict_files takes files",
        )
    if images.dtype not in (np.uint8, np.float32):
        raise DataError(
            f"images are {images.dtype}", hint="give uint8 in 0..255 or float32 in [0, 1]"
        )
    return images
