"""Accidents: any flipped bit, any missing or added byte, anywhere in the file."""

import functools
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.bundle.archive import MAX_MODEL_BYTES
from fleet.bundle.package import bundle_bytes
from fleet.bundle.reader import Bundle, examine
from fleet.errors import BundleError, IntegrityError
from unit.bundle import bundle_samples as samples


def load(data: bytes | bytearray) -> Bundle:
    return examine(io.BytesIO(data), [], max_model_bytes=MAX_MODEL_BYTES)


@pytest.fixture(scope="module")
def small() -> bytes:
    """No smaller bundle has all parts: contents and padding of every member, one block each."""
    data = samples.smallest_bundle()
    assert len(data) <= 5120
    return data


def test_every_single_bit_counts(small: bytes) -> None:
    load(small)
    survivors = []
    data = bytearray(small)
    for position in range(len(data)):
        for bit in range(8):
            data[position] ^= 1 << bit
            try:
                load(data)
                survivors.append((position, bit))
            except BundleError:
                pass
            data[position] ^= 1 << bit
    assert survivors == []


def test_truncation_at_every_offset_is_found(small: bytes) -> None:
    for length in range(len(small)):
        with pytest.raises(BundleError):
            load(small[:length])


@pytest.mark.parametrize("surplus", [b"\0", b"\0" * 512, b"\0" * 10240, b"x", b"\n"])
def test_trailing_bytes_are_refused(small: bytes, surplus: bytes) -> None:
    with pytest.raises(BundleError, match=f"{len(surplus)} surplus bytes after the end"):
        load(small + surplus)


def test_bytes_in_front_are_refused(small: bytes) -> None:
    for surplus in (b"\0", b"\0" * 512, small):
        with pytest.raises(BundleError):
            load(surplus + small)


@functools.cache
def larger() -> bytes:
    buffer = bytes(i * i % 251 for i in range(40_000))
    header = {"__metadata__": {"format": "pt"}, "w": samples.tensor([100, 100], 0, 40_000)}
    model = samples.safetensors(header, buffer)
    return bundle_bytes(samples.manifest(model), model)


@given(
    position=st.floats(0, 1, exclude_max=True),
    change=st.one_of(
        st.integers(0, 7).map(lambda bit: ("flip", bit)),
        st.binary(min_size=1, max_size=40).map(lambda new: ("insert", new)),
        st.integers(1, 2000).map(lambda count: ("delete", count)),
        st.tuples(st.just("swap"), st.integers(1, 600)),
    ),
)
@settings(deadline=None, max_examples=200)
def test_a_larger_bundle_survives_no_change(
    position: float, change: tuple[str, int | bytes]
) -> None:
    data = larger()
    at = int(position * len(data))
    kind, value = change
    if kind == "flip":
        assert isinstance(value, int)
        changed = data[:at] + bytes([data[at] ^ 1 << value]) + data[at + 1 :]
    elif kind == "insert":
        assert isinstance(value, bytes)
        changed = data[:at] + value + data[at:]
    else:
        assert isinstance(value, int)
        gone = data[at : at + value]
        changed = data[:at] + (gone[::-1] if kind == "swap" else b"") + data[at + value :]
    if changed != data:
        with pytest.raises(BundleError):
            load(changed)


@given(st.binary(max_size=3000))
@settings(deadline=None, max_examples=200)
def test_noise_is_never_a_bundle_and_never_crashes(noise: bytes) -> None:
    with pytest.raises(BundleError):
        load(noise)


def test_manifest_and_weights_of_two_bundles_do_not_mix() -> None:
    value = samples.manifest(samples.tiny_model(0)).to_dict()
    with pytest.raises(IntegrityError, match=r"model\.safetensors: expected sha256"):
        load(samples.assemble(value, samples.tiny_model(1)))


@pytest.mark.parametrize("change", [lambda model: model[:-1], lambda model: model + b"\0"])
def test_weights_of_another_length_are_named_by_their_length(
    change: Callable[[bytes], bytes],
) -> None:
    model = samples.tiny_model()
    given = change(model)
    message = rf"model\.safetensors: expected {len(model)} bytes, got {len(given)}"
    with pytest.raises(IntegrityError, match=message):
        load(samples.assemble(samples.manifest(model).to_dict(), given))


# Blocks of 512 bytes: header and content of each member, then the end marker.
@pytest.mark.parametrize(
    ("block", "failed"),
    [
        (0, "format"),
        (1, "format"),
        (2, "manifest digest"),
        (3, "manifest digest"),
        (-4, "container"),
        (-3, "weights digest"),
        (-1, "container"),
    ],
)
def test_the_command_names_the_check_that_damage_fails_and_exits_with_1(
    tmp_path: Path, small: bytes, call_fleet: Callable[..., Any], block: int, failed: str
) -> None:
    path = tmp_path / "cam-01-2026.11.1.fleet"
    damaged = bytearray(small)
    damaged[block * 512 % len(small) + 10] ^= 0x10
    path.write_bytes(damaged)
    done = call_fleet("verify", path, "--format", "json")
    assert done.returncode == 1
    (found,) = json.loads(done.stdout)["bundles"]
    *passed, last = found["checks"]
    assert not found["ok"]
    assert (last["name"], last["ok"]) == (failed, False)
    assert all(check["ok"] for check in passed)


def test_the_command_accepts_what_is_whole(
    tmp_path: Path, small: bytes, call_fleet: Callable[..., Any]
) -> None:
    path = tmp_path / "cam-01-2026.11.1.fleet"
    path.write_bytes(small)
    assert call_fleet("verify", path).returncode == 0
