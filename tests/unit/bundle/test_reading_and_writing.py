import dataclasses
import hashlib
import os
from pathlib import Path

import pytest

from fleet.bundle import read_bundle, verify_bundle
from fleet.bundle.package import write_bundle
from fleet.errors import BundleError, IntegrityError
from unit.bundle import bundle_samples as samples


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    model = samples.tiny_model()
    manifest = samples.manifest(model)
    return write_bundle(tmp_path / manifest.file_name, manifest, model).path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    model = samples.tiny_model()
    manifest = samples.manifest(model)
    info = write_bundle(tmp_path / "deep" / "a.fleet", manifest, model)
    found = read_bundle(info.path)
    assert found.manifest == manifest
    assert found.model == model
    assert info.sha256 == hashlib.sha256(info.path.read_bytes()).hexdigest()
    assert info.size == info.path.stat().st_size


def test_verification_lists_every_check_and_says_unsigned(bundle: Path) -> None:
    found = verify_bundle(bundle)
    assert found.ok
    assert [check.name for check in found.checks] == [
        "format",
        "manifest digest",
        "container",
        "manifest",
        "weights digest",
        "weights",
    ]
    assert all(check.ok for check in found.checks)
    assert any(note.startswith("unsigned") for note in found.notes)


def test_a_bundle_that_was_rewritten_as_a_whole_passes_and_the_verdict_says_why(
    bundle: Path,
) -> None:
    """The limit of digests without a signature, written down so that nobody relies on more."""
    forged = read_bundle(bundle).manifest.to_dict()
    forged["metrics"]["accuracy"] = 1.0
    bundle.write_bytes(samples.assemble(forged, samples.tiny_model()))
    found = verify_bundle(bundle)
    assert found.ok
    assert any("not somebody who rewrites the whole bundle" in note for note in found.notes)


def test_a_renamed_bundle_is_noted_and_still_passes(bundle: Path) -> None:
    other = bundle.rename(bundle.with_name("cam-02-2026.11.1.fleet"))
    found = verify_bundle(other)
    assert found.ok
    assert "renamed: the manifest belongs to cam-01-2026.11.1.fleet" in found.notes


def test_changed_weights_are_named_with_both_digests(bundle: Path) -> None:
    data = bytearray(bundle.read_bytes())
    at = data.index(samples.tiny_model()) + 250
    data[at] ^= 1
    bundle.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"model\.safetensors: expected sha256 .*, got "):
        read_bundle(bundle)
    found = verify_bundle(bundle)
    assert not found.ok
    assert found.manifest is None
    *before, last = found.checks
    assert all(check.ok for check in before)
    assert (last.name, last.ok) == ("weights digest", False)
    assert hashlib.sha256(samples.tiny_model()).hexdigest() in last.detail


def test_weights_of_another_length_are_an_integrity_error(tmp_path: Path) -> None:
    model = samples.tiny_model()
    manifest = samples.manifest(model)
    payload = dataclasses.replace(manifest.payload, length=len(model) + 1)
    with pytest.raises(IntegrityError, match="expected 268 bytes, got 267"):
        write_bundle(tmp_path / "a.fleet", dataclasses.replace(manifest, payload=payload), model)
    assert list(tmp_path.iterdir()) == []


def test_the_size_limit_of_the_model_is_the_callers(bundle: Path) -> None:
    assert read_bundle(bundle, max_model_bytes=267).model
    with pytest.raises(BundleError, match="the limit is 266"):
        read_bundle(bundle, max_model_bytes=266)


def test_nothing_is_written_that_a_reader_would_refuse(tmp_path: Path) -> None:
    manifest = samples.manifest(samples.tiny_model())
    with pytest.raises(IntegrityError):
        write_bundle(tmp_path / "a.fleet", manifest, samples.tiny_model(seed=1))
    with pytest.raises(BundleError, match="device is"):
        write_bundle(
            tmp_path / "a.fleet",
            dataclasses.replace(manifest, device="../x"),
            samples.tiny_model(),
        )
    nan = dataclasses.replace(
        manifest, metrics=dataclasses.replace(manifest.metrics, accuracy=float("nan"))
    )
    with pytest.raises(BundleError, match="has no JSON form"):
        write_bundle(tmp_path / "a.fleet", nan, samples.tiny_model())
    assert list(tmp_path.iterdir()) == []


def test_an_absent_file_or_a_directory_raises_and_is_no_verdict(tmp_path: Path) -> None:
    for function in (read_bundle, verify_bundle):
        with pytest.raises(BundleError, match="No such file"):
            function(tmp_path / "absent.fleet")
        with pytest.raises(BundleError, match="is not a file"):
            function(tmp_path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.fleet"
    os.mkfifo(pipe)
    with pytest.raises(BundleError, match="is not a file"):
        verify_bundle(pipe)
