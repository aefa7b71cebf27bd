"""Hostile safetensors files inside a bundle whose digests are all right."""

import json
from pathlib import Path
from typing import Any

import pytest

from fleet.bundle import read_bundle
from fleet.bundle.tensors import tensor_layout
from fleet.errors import BundleError
from unit.bundle import bundle_samples as samples

PT: dict[str, Any] = {"__metadata__": {"format": "pt"}}


def tensor(shape: Any, begin: Any, end: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def build(header: Any, buffer: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + buffer


DUPLICATE = (
    b'{"__metadata__":{"format":"pt"},'
    b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
    b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
)

ABUSES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "shorter than its own length field"),
    "seven bytes": (b"\0" * 7, "shorter than its own length field"),
    "header longer than the file": (b"\xff\0\0\0\0\0\0\0{}", "ends inside its header of 255"),
    "header of 2^64 - 1": (b"\xff" * 8 + b"{}", "header of 18446744073709551615 bytes"),
    "header one byte above the limit": (build(b"{" + b" " * 1024**2), "header of 1048577 bytes"),
    "header of 100 MB claimed": (
        (10**8).to_bytes(8, "little") + b"{}",
        "header of 100000000 bytes",
    ),
    "header of no bytes": (build(b""), "does not begin with '{'"),
    "header begins with a space": (build(b" {}"), "does not begin with '{'"),
    "header is a list": (build(b"[]"), "does not begin with '{'"),
    "header is cut": (build(b'{"a":'), "is not strict JSON"),
    "header is no UTF-8": (build(b'{"\xff":1}'), "is not strict JSON"),
    "header is UTF-16": (build('{"a":1}'.encode("utf-16-le")), "is not strict JSON"),
    "header nests deeply": (build(b'{"a":' * 100_000), "is not strict JSON"),
    "header has NaN": (build(b'{"a":NaN}'), "NaN is not a number"),
    "header has a number of 5000 digits": (build(b'{"a":' + b"9" * 5000 + b"}"), "strict JSON"),
    "key twice": (build(DUPLICATE, b"\0" * 4), "a key occurs twice"),
    "no metadata": (build({"a": tensor([1], 0, 4)}, b"\0" * 4), "metadata must be exactly"),
    "more metadata": (build({"__metadata__": {"format": "pt", "x": "y"}}), "metadata must be"),
    "other metadata": (build({"__metadata__": {"format": "np"}}), "metadata must be exactly"),
    "surplus bytes": (build(PT, b"x"), "tensors need 0 bytes; the buffer has 1"),
    "missing bytes": (build({**PT, "a": tensor([2], 0, 8)}, b"\0" * 4), "tensors need 8 bytes"),
    "overlap": (
        build({**PT, "a": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, b"\0" * 12),
        "overlap or leave a hole at byte 8",
    ),
    "same values twice": (
        build({**PT, "a": tensor([2], 0, 8), "b": tensor([2], 0, 8)}, b"\0" * 8),
        "overlap or leave a hole at byte 8",
    ),
    "hole": (
        build({**PT, "a": tensor([1], 0, 4), "b": tensor([1], 8, 12)}, b"\0" * 12),
        "overlap or leave a hole at byte 4",
    ),
    "hole in front": (build({**PT, "a": tensor([1], 4, 8)}, b"\0" * 8), "hole at byte 0"),
    "end before begin": (build({**PT, "a": tensor([1], 4, 0)}, b"\0" * 4), "needs 4 bytes"),
    "shape too large": (build({**PT, "a": tensor([3], 0, 8)}, b"\0" * 8), "needs 12 bytes"),
    "product overflows 64 bits": (
        build({**PT, "a": tensor([2**32, 2**32, 4], 0, 0)}),
        "needs 295147905179352825856 bytes and has 0",
    ),
    "dimension of 2^40": (build({**PT, "a": tensor([2**40], 0, 0)}), "no usable shape"),
    "negative dimension": (build({**PT, "a": tensor([-1], 0, 4)}), "no usable shape"),
    "float dimension": (build({**PT, "a": tensor([1.0], 0, 4)}), "no usable shape"),
    "boolean dimension": (build({**PT, "a": tensor([True], 0, 4)}), "no usable shape"),
    "nine dimensions": (build({**PT, "a": tensor([1] * 9, 0, 4)}), "no usable shape"),
    "shape is text": (build({**PT, "a": tensor("11", 0, 4)}), "no usable shape"),
    "negative offset": (build({**PT, "a": tensor([1], -4, 0)}), "no usable data_offsets"),
    "three offsets": (
        build({**PT, "a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4, 8]}}),
        "no usable data_offsets",
    ),
    "unknown type": (build({**PT, "a": tensor([1], 0, 4, "PICKLE")}), "a dtype that is none of"),
    "16 bits": (build({**PT, "a": tensor([2], 0, 4, "F16")}, b"\0" * 4), "a dtype that is none"),
    "type is a list": (build({**PT, "a": tensor([1], 0, 4, ["F32"])}), "a dtype that is none of"),
    "field too many": (
        build({**PT, "a": {**tensor([1], 0, 4), "code": "x"}}, b"\0" * 4),
        "needs dtype, shape and data_offsets only",
    ),
    "field too few": (build({**PT, "a": {"dtype": "F32"}}), "needs dtype, shape and data_offsets"),
    "entry is a list": (build({**PT, "a": []}), "needs dtype, shape and data_offsets"),
    "terminal codes in a name": (build({**PT, "\x1b[2J": 3}), r"tensor '\\x1b\[2J' needs"),
}


@pytest.mark.parametrize("name", ABUSES)
def test_abused_weights_are_refused(name: str, tmp_path: Path) -> None:
    model, message = ABUSES[name]
    with pytest.raises(BundleError, match=message):
        tensor_layout(model)
    path = tmp_path / "a.fleet"
    path.write_bytes(samples.assemble(samples.manifest(model).to_dict(), model))
    with pytest.raises(BundleError, match=message) as caught:
        read_bundle(path)
    assert len(str(caught.value)) < 400


def test_weights_without_tensors_are_in_order_but_fit_no_network() -> None:
    assert tensor_layout(build(PT)) == {}
