"""MNIST's own file format (IDX), read straight from the .gz files.

Format: two zero bytes, the type (8 is uint8), the number of axes, one big-endian uint32 for each
axis, then the values.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fleet.errors import DataError

MAX_ITEMS = 1_000_000
"""More images than any dataset of this format has; a header that claims more is damaged."""


def read_idx(path: Path, item_shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Read one IDX file of bytes.

    Args:
        path: The file; a name that ends in ``.gz`` is unpacked on the way.
        item_shape: Shape of one item: ``(28, 28)`` for images, ``()`` for labels.

    Returns:
        uint8 (N, *item_shape).

    Raises:
        DataError: The file is unreadable, truncated, longer than it says, or of another shape.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            axes = 1 + len(item_shape)
            header = stream.read(4 + 4 * axes)
            count = _count(path, header, item_shape)
            expected = count * math.prod(item_shape)
            content = stream.read(expected)
            surplus = stream.read(1)
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, str(error)) from error
    if len(content) < expected or surplus:
        found = "more" if surplus else str(len(content))
        raise damaged(path, f"{expected} bytes of data expected, {found} found")
    return np.frombuffer(content, dtype=np.uint8).reshape(count, *item_shape).copy()


def damaged(path: Path, what: str) -> DataError:
    """Make the error for a file that is not what it should be."""
    return DataError(
        f"{path} is damaged: {what}",
        hint="delete the file and fetch it again; with a network, the next run does so",
    )


def _count(path: Path, header: bytes, item_shape: tuple[int, ...]) -> int:
    """Check the header and give the number of items."""
    axes = 1 + len(item_shape)
    magic = bytes((0, 0, 8, axes))
    if len(header) < 4 + 4 * axes or header[:4] != magic:
        raise damaged(path, f"it begins with {header[:4].hex() or 'nothing'}, not {magic.hex()}")
    count, *shape = struct.unpack(f">{axes}I", header[4:])
    if tuple(shape) != item_shape:
        raise damaged(path, f"items have shape {tuple(shape)}, not {item_shape}")
    if not 0 < count <= MAX_ITEMS:
        raise damaged(path, f"it claims to hold {count} items")
    return int(count)
