"""Check a safetensors file without loading it and without torch.

The file is an 8-byte little-endian length, a JSON header and one buffer. The reference library
checks most of this when it loads; a bundle is stricter: one metadata key (two keys make the bytes
irreproducible), three dtypes, a small header.
"""

import math
from dataclasses import dataclass
from typing import Any

from fleet.bundle.fields import parse_json
from fleet.errors import BundleError

METADATA = {"format": "pt"}
ITEM_BYTES = {"F32": 4, "F64": 8, "I64": 8}
MAX_HEADER_BYTES = 1024**2
_MAX_RANK = 8
_MAX_DIMENSION = 2**40


@dataclass(frozen=True)
class TensorInfo:
    """What a safetensors header says about one tensor.

    Attributes:
        dtype: ``F32``, ``F64`` or ``I64``.
        shape: Sizes, each 0 or more; empty for a scalar.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of the tensor's values."""
        return ITEM_BYTES[self.dtype] * math.prod(self.shape)


def tensor_layout(model: bytes) -> dict[str, TensorInfo]:
    """Check a safetensors file and list its tensors.

    Args:
        model: The whole file.

    Returns:
        Name -> dtype and shape.

    Raises:
        BundleError: A length, a dtype, a shape or an offset is wrong; values overlap or leave a
            hole; the metadata is not exactly ``{"format": "pt"}``.
    """
    header, buffer_bytes = _split(model)
    if header.pop("__metadata__", None) != METADATA:
        raise BundleError(f"model: metadata must be exactly {METADATA}")
    layout: dict[str, TensorInfo] = {}
    spans: list[tuple[int, int]] = []
    for name, entry in header.items():
        layout[name], span = _tensor(name, entry)
        spans.append(span)
    _check_spans(spans, buffer_bytes)
    return layout


def _split(model: bytes) -> tuple[dict[str, Any], int]:
    """Return the parsed header and the number of bytes after it."""
    if len(model) < 8:
        raise BundleError("model: shorter than its own length field")
    length = int.from_bytes(model[:8], "little")
    if length > MAX_HEADER_BYTES:
        raise BundleError(f"model: header of {length} bytes; the limit is {MAX_HEADER_BYTES}")
    if length > len(model) - 8:
        raise BundleError(f"model: the file ends inside its header of {length} bytes")
    text = model[8 : 8 + length]
    if not text.startswith(b"{"):
        raise BundleError("model: the header does not begin with '{'")
    return parse_json(text, "model: the header"), len(model) - 8 - length


def _tensor(name: str, entry: object) -> tuple[TensorInfo, tuple[int, int]]:
    where = f"model: tensor {name[:60]!r}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise BundleError(f"{where} needs dtype, shape and data_offsets only")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise BundleError(f"{where} has a dtype that is none of {', '.join(ITEM_BYTES)}")
    if not _sizes(shape) or len(shape) > _MAX_RANK:
        raise BundleError(f"{where} has no usable shape")
    if not _sizes(offsets) or len(offsets) != 2:
        raise BundleError(f"{where} has no usable data_offsets")
    info = TensorInfo(dtype, tuple(shape))
    begin, end = offsets
    if end - begin != info.size:
        raise BundleError(f"{where} needs {info.size} bytes and has {end - begin}")
    return info, (begin, end)


def _sizes(value: object) -> bool:
    return isinstance(value, list) and all(
        type(item) is int and 0 <= item < _MAX_DIMENSION for item in value
    )


def _check_spans(spans: list[tuple[int, int]], buffer_bytes: int) -> None:
    """Values must fill the buffer exactly, without a hole or an overlap."""
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise BundleError(f"model: values overlap or leave a hole at byte {position}")
        position = end
    if position != buffer_bytes:
        raise BundleError(f"model: tensors need {position} bytes; the buffer has {buffer_bytes}")
