"""Bundle format 2 against damage, mix-ups, and whoever looks for the encoding in what is public."""

from __future__ import annotations

import hashlib
import json
import random
import re
import struct
import traceback
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fleet.bundle import Envelope, Manifest, archive, pack_second, read_bundle, verify_bundle
from fleet.bundle.version2 import PADDING, PRIVATE, SECOND, _padded, read_envelope
from fleet.encoding import IntervalEncoding
from fleet.errors import BundleError
from fleet.files import canonical_json
from hostile.mutated_bundles import mutate
from unit.bundle.bundle_samples import manifest, tiny_model

KEY = X25519PrivateKey.generate()
RECIPIENT = ("cafe", KEY.public_key().public_bytes_raw())


def bundle(described: Manifest | None = None, **changes: Any) -> bytes:
    model = tiny_model()
    options: dict[str, Any] = {"counter": 3, "recipient": RECIPIENT, **changes}
    return pack_second(described or manifest(model), model, **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cam-01-2026.11.1.fleet"


def test_a_sealed_bundle_opens_with_its_key_alone(path: Path) -> None:
    path.write_bytes(bundle(card=b"# card", graph=b"graph", self_test=b"test"))
    found = read_bundle(path, key=KEY)
    assert found.manifest == manifest(tiny_model())
    assert (found.model, found.graph, found.self_test) == (tiny_model(), b"graph", b"test")
    with pytest.raises(BundleError, match="sealed to 'cam-01' and not opened"):
        read_bundle(path)
    with pytest.raises(BundleError, match="does not open as 'cam-01'"):
        read_bundle(path, key=X25519PrivateKey.generate())


def test_verification_without_the_key_says_what_it_did_not_see(path: Path) -> None:
    path.write_bytes(bundle())
    closed, opened = verify_bundle(path), verify_bundle(path, key=KEY)
    assert (closed.ok, closed.opened) == (True, False)
    assert closed.notes[0].startswith("sealed, not opened")
    assert (opened.ok, opened.opened) == (True, True)
    assert [line.name for line in opened.checks][-2:] == ["weights digest", "weights"]


def test_an_unsealed_bundle_is_the_same_bytes_each_time_and_says_so(path: Path) -> None:
    data = bundle(recipient=None)
    assert data == bundle(recipient=None)
    path.write_bytes(data)
    found = read_bundle(path)
    assert found.envelope is not None
    assert (found.envelope.seal, found.envelope.recipient) == ("none", None)


@pytest.mark.parametrize("change", [{"device": "cam-02"}, {"release": "r9"}, {"counter": 4}])
def test_a_relabelled_bundle_does_not_open(path: Path, change: dict[str, Any]) -> None:
    """Whoever rewrites the public manifest, digests and all, cannot move a payload elsewhere."""
    path.write_bytes(bundle())
    members = _members(path.read_bytes())
    value = {**json.loads(members["manifest.json"]), **change}
    read_envelope(value)
    text = canonical_json(value).encode()
    digest = hashlib.sha256(text).hexdigest()
    version = {"format": "fleet-bundle", "version": SECOND, "manifest_sha256": digest}
    members |= {"manifest.json": text, "version": canonical_json(version).encode()}
    path.write_bytes(archive.pack(members, tuple(members)))
    assert verify_bundle(path).ok
    with pytest.raises(BundleError, match="does not open"):
        read_bundle(path, key=KEY)


def read_envelope_of(path: Path) -> Envelope:
    found = verify_bundle(path).envelope
    assert found is not None
    return found


def _members(data: bytes) -> dict[str, bytes]:
    found, position = {}, 0
    while data[position : position + 1] != b"\0":
        header = data[position : position + 512]
        name, size = header[:100].rstrip(b"\0").decode(), int(header[124:135], 8)
        found[name] = data[position + 512 : position + 512 + size]
        position += 512 + -(-size // 512) * 512
    return found


def test_every_flipped_bit_is_found(path: Path) -> None:
    data = bundle(card=b"c", graph=b"g", self_test=b"t")
    chosen = random.Random(1).sample(range(len(data) * 8), 1500)
    for bit in chosen:
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(BundleError):
            read_bundle(path, key=KEY)


def test_every_cut_and_every_surplus_is_found(path: Path) -> None:
    data = bundle()
    for length in [*range(0, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(BundleError):
            read_bundle(path, key=KEY)
    path.write_bytes(data + b"\0")
    with pytest.raises(BundleError, match="surplus"):
        read_bundle(path, key=KEY)


def test_mutated_bundles_give_typed_errors_only(path: Path) -> None:
    """`python -m tests.hostile.mutated_bundles` does 100,000 of them."""
    data, generator = bundle(card=b"card", graph=b"graph"), random.Random(5)
    for _ in range(1500):
        path.write_bytes(mutate(data, generator))
        try:
            read_bundle(path, key=KEY)
        except BundleError:
            continue


def test_nothing_public_tells_the_encoding(path: Path) -> None:
    """No decimal, JSON or binary form of the secret values stands outside the sealed payload."""
    secret = IntervalEncoding(3, 4.828125, 17.390625, s0=-31.546875, order=(2, 0, 1))
    described = manifest(tiny_model(), encoding=secret)
    private = {"seed": 987654321987, "digest": "f" * 64}
    provenance = described.provenance
    described = manifest(
        tiny_model(),
        encoding=secret,
        provenance=type(provenance)(
            provenance.dataset,
            provenance.dataset_sha256,
            str(private["digest"]),
            int(private["seed"]),
            provenance.fleet_version,
            provenance.torch_version,
        ),
    )
    data = bundle(described, card=b"# card")
    path.write_bytes(data)
    shown = data + json.dumps([vars(line) for line in verify_bundle(path).checks]).encode()
    with pytest.raises(BundleError) as caught:
        read_bundle(path)
    shown += "".join(traceback.format_exception(caught.value)).encode()
    shown += f"{caught.value.hint} {read_envelope_of(path)!r}".encode()
    numbers = [secret.s0, 4.828125, 17.390625, secret.lower(0), secret.upper(0), secret.upper(2)]
    forms = [str(number).encode() for number in numbers]
    forms += [struct.pack(code, number) for number in numbers for code in ("<d", ">d", "<f", ">f")]
    forms += [b"alpha", b"order", str(private["seed"]).encode(), str(private["digest"]).encode()]
    forms += [tiny_model()[8:40]]
    for form in forms:
        assert form not in shown, form
    assert b"alpha" in bundle(described, recipient=None)  # the test would see it


@pytest.mark.parametrize("classes", [2, 10, 40])
def test_the_length_of_a_payload_says_nothing_about_its_encoding(classes: int) -> None:
    plain = {"encoding": IntervalEncoding(classes, 1.0, 1.0).to_dict()}
    rich = {"encoding": IntervalEncoding(classes, 1.0625, 1.1875, s0=-7.25).to_dict()}
    assert len(_padded(plain)) == len(_padded(rich)) == PADDING
    assert PRIVATE == "private.json"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("counter", 0, "counter"),
        ("counter", True, "counter"),
        ("floor", -1, "floor"),
        ("certificate", [], "certificate"),
        ("allowed_unaudited", 1, "allowed_unaudited"),
        ("device", "../x", "device"),
        ("task", "other", "task"),
        ("files", {}, "MODEL_CARD.md"),
    ],
)
def test_abused_public_fields_are_named(field: str, value: Any, message: str, path: Path) -> None:
    path.write_bytes(bundle())
    whole = json.loads(_members(path.read_bytes())["manifest.json"])
    with pytest.raises(BundleError, match=re.escape(message)):
        read_envelope({**whole, field: value})
