"""Hostile manifests inside a bundle whose digests are all right."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.bundle import Manifest, read_bundle
from fleet.bundle.archive import pack
from fleet.errors import BundleError
from fleet.files import canonical_json
from unit.bundle import bundle_samples as samples


@pytest.fixture
def text() -> bytes:
    return canonical_json(samples.manifest(samples.tiny_model()).to_dict()).encode()


def refuse(data: bytes, path: Path, message: str) -> None:
    path.write_bytes(data)
    with pytest.raises(BundleError, match=message) as caught:
        read_bundle(path)
    assert len(str(caught.value)) < 600
    assert str(caught.value).isprintable()


NEITHER = "bundle format version is neither 1 nor 2"

SPELLINGS: dict[str, tuple[bytes, bytes]] = {
    "minus zero as an integer": (b'"s0": 0.0', b'"s0": -0'),
    "other spelling of a number": (b'"s0": 0.0', b'"s0": 0.00'),
    "exponent": (b'"alpha": 4.0', b'"alpha": 4e0'),
    "NaN": (b'"accuracy": 0.97', b'"accuracy": NaN'),
    "infinity": (b'"accuracy": 0.97', b'"accuracy": Infinity'),
    "infinity by overflow": (b'"accuracy": 0.97', b'"accuracy": 1e999'),
    "number of 5000 digits": (b'"n": 10000', b'"n": ' + b"9" * 5000),
    "key twice": (b'"task": "int"', b'"task": "int",\n  "task": "int"'),
    "escaped letter": (b'"task": "int"', b'"task": "\\u0069nt"'),
    "lone surrogate": (b'"split": "test"', b'"split": "\\ud800"'),
    "other indent": (b'  "task"', b'   "task"'),
    "no final newline": (b"}\n", b"}"),
    "comment": (b'  "task"', b'  // a comment\n  "task"'),
    "trailing comma": (b'"version": 1\n', b'"version": 1,\n'),
    "no UTF-8": (b'"test"', b'"te\xffst"'),
    "byte order mark": (b'{\n  "audit"', b'\xef\xbb\xbf{\n  "audit"'),
    "deep nesting": (b'"task"', b'"deep": ' + b"[" * 50_000 + b"]" * 50_000 + b',\n  "task"'),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_there_is_one_spelling_only(name: str, text: bytes, tmp_path: Path) -> None:
    old, new = SPELLINGS[name]
    assert old in text
    changed = text.replace(old, new) if name != "no final newline" else text[:-1]
    data = samples.assemble(changed, samples.tiny_model())
    refuse(
        data, tmp_path / "a.fleet", r"is not strict JSON|no canonical form|not in canonical form"
    )


@pytest.mark.parametrize("depth", [50, 500, 2000, 90_000])
def test_canonical_nesting_of_any_depth_is_read_or_refused_but_never_crashes(
    depth: int, tmp_path: Path
) -> None:
    nested: Any = "x"
    for _ in range(min(depth, 400)):
        nested = [nested]
    value = samples.manifest(samples.tiny_model(), extra={"later": nested}).to_dict()
    text = canonical_json(value).encode()
    if depth > 400:
        text = text.replace(b'"x"', b"[" * (depth - 400) + b"]" * (depth - 400))
    path = tmp_path / "a.fleet"
    path.write_bytes(samples.assemble(text, samples.tiny_model()))
    try:
        assert read_bundle(path).manifest.extra == {"later": nested}
    except BundleError:
        assert depth > 100


def test_a_manifest_above_its_limit_is_not_read(tmp_path: Path) -> None:
    manifest = samples.manifest(samples.tiny_model(), extra={"later": "x" * 1024**2})
    data = samples.assemble(manifest.to_dict(), samples.tiny_model())
    refuse(data, tmp_path / "a.fleet", r"member 'manifest\.json' says .* the limit is 1048576")


VERSIONS: dict[str, tuple[Any, str]] = {
    "empty": (b"", "version is not strict JSON"),
    "list": (b"[]\n", "version is not a JSON object"),
    "other format": ({"format": "tar", "version": 1}, "this is no fleet bundle"),
    "no format": ({"version": 1}, "this is no fleet bundle"),
    "newer": (
        {"format": "fleet-bundle", "version": 3, "more": []},
        NEITHER,
    ),
    "version true": (
        {"format": "fleet-bundle", "version": True},
        NEITHER,
    ),
    "version 1.0": (
        {"format": "fleet-bundle", "version": 1.0},
        NEITHER,
    ),
    "no digest": ({"format": "fleet-bundle", "version": 1}, "must hold format, version and"),
    "digest is a number": (
        {"format": "fleet-bundle", "version": 1, "manifest_sha256": 3},
        "must hold format, version and",
    ),
    "digest with terminal codes": (
        {"format": "fleet-bundle", "version": 1, "manifest_sha256": "\x1b[2J" * 16},
        "must hold format, version and",
    ),
    "digest of 65 figures": (
        {"format": "fleet-bundle", "version": 1, "manifest_sha256": "0" * 65},
        "must hold format, version and",
    ),
    "digest in capitals": (
        {"format": "fleet-bundle", "version": 1, "manifest_sha256": "A" * 64},
        "must hold format, version and",
    ),
    "one field more": (
        {"format": "fleet-bundle", "version": 1, "manifest_sha256": "0" * 64, "x": 1},
        "must hold format, version and",
    ),
    "digest of another manifest": (
        {"format": "fleet-bundle", "version": 1, "manifest_sha256": "0" * 64},
        r"manifest\.json: expected sha256 0{64}, got",
    ),
}


@pytest.mark.parametrize("name", VERSIONS)
def test_an_abused_version_member_is_refused(name: str, text: bytes, tmp_path: Path) -> None:
    value, message = VERSIONS[name]
    version = value if isinstance(value, bytes) else canonical_json(value).encode()
    members = {
        "version": version,
        "manifest.json": text,
        "model.safetensors": samples.tiny_model(),
    }
    refuse(pack(members), tmp_path / "a.fleet", message)


def test_a_newer_version_says_what_to_do(tmp_path: Path) -> None:
    version = canonical_json({"format": "fleet-bundle", "version": 7}).encode()
    path = tmp_path / "a.fleet"
    path.write_bytes(pack({"version": version, "manifest.json": b"?", "model.safetensors": b"?"}))
    with pytest.raises(BundleError) as caught:
        read_bundle(path)
    assert "upgrade" in str(caught.value.hint)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(data=st.data())
@settings(deadline=None, max_examples=150)
def test_any_value_in_any_field_gives_a_manifest_or_a_bundle_error(data: st.DataObject) -> None:
    value = json.loads(canonical_json(samples.manifest(samples.tiny_model()).to_dict()))
    place: Any = value
    while isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or data.draw(st.booleans()):
            place[key] = data.draw(json_values)
            break
        place = place[key]
    problem = ""
    try:
        manifest = Manifest.from_dict(value)
        assert Manifest.from_dict(manifest.to_dict()) == manifest
    except BundleError as error:
        problem = error.message
    assert len(problem) < 500
    assert problem.isprintable()
