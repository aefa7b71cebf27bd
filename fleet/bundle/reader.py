"""Read and verify bundles: one walk from the first byte to the last, in memory only.

:func:`read_bundle` and :func:`verify_bundle` run the same checks in the same order, so they cannot
disagree. Nothing is ever extracted to disk and nothing in a bundle is executed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from fleet.bundle import archive
from fleet.bundle.canonical import parse_canonical
from fleet.bundle.fields import SHA256
from fleet.bundle.manifest import FORMAT, FORMAT_VERSION, Manifest
from fleet.bundle.sections import Payload
from fleet.bundle.tensors import tensor_layout
from fleet.errors import BundleError, IntegrityError

UNSIGNED = (
    "unsigned: the digests find accidents and mix-ups, not somebody who rewrites the whole bundle"
)


@dataclass(frozen=True)
class Bundle:
    """A bundle whose every check passed.

    Attributes:
        manifest: Everything but the weights.
        model: The weights, a whole safetensors file.
    """

    manifest: Manifest
    model: bytes


@dataclass(frozen=True)
class CheckLine:
    """One check of one bundle.

    Attributes:
        name: What was checked.
        ok: Whether it holds.
        detail: The finding; for a failure what was expected and what was found.
    """

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Verification:
    """What verifying one bundle found.

    Attributes:
        path: The file.
        checks: In the order they ran; the first failure is the last one.
        notes: Limits of the verdict and oddities that are no failure.
        manifest: None unless every check passed.
    """

    path: Path
    checks: tuple[CheckLine, ...]
    notes: tuple[str, ...]
    manifest: Manifest | None

    @property
    def ok(self) -> bool:
        """Whether every check ran and passed."""
        return self.manifest is not None


def read_bundle(path: Path, *, max_model_bytes: int = archive.MAX_MODEL_BYTES) -> Bundle:
    """Read a bundle into memory after checking every byte of it.

    Args:
        path: A ``.fleet`` file.
        max_model_bytes: Largest model accepted; checked before it is allocated.

    Raises:
        BundleError: There is no such file, or it is not in the format.
        IntegrityError: The manifest or the weights are not those that their digest names.
    """
    with _open(path) as stream:
        try:
            return examine(stream, [], max_model_bytes=max_model_bytes)
        except BundleError as error:
            raise type(error)(f"{path}: {error.message}", hint=error.hint) from error


def verify_bundle(path: Path, *, max_model_bytes: int = archive.MAX_MODEL_BYTES) -> Verification:
    """Run every check of :func:`read_bundle` and keep the findings.

    Raises:
        BundleError: There is no such file, or it cannot be opened. Damage does not raise.
    """
    checks: list[CheckLine] = []
    bundle = None
    with _open(path) as stream:
        try:
            bundle = examine(stream, checks, max_model_bytes=max_model_bytes)
        except BundleError as error:
            hint = () if error.hint is None else (error.hint,)
            return Verification(path, tuple(checks), hint, None)
    notes = [UNSIGNED]
    if path.name != bundle.manifest.file_name:
        notes.insert(0, f"renamed: the manifest belongs to {bundle.manifest.file_name}")
    return Verification(path, tuple(checks), tuple(notes), bundle.manifest)


def examine(stream: BinaryIO, checks: list[CheckLine], *, max_model_bytes: int) -> Bundle:
    """Walk through an open bundle; each finding is appended to ``checks``.

    Args:
        stream: Seekable, at its start.
        checks: Receives one line for each check that ran, the failing one included.
        max_model_bytes: Largest model accepted.

    Raises:
        BundleError: A check failed.
    """
    with _check(checks, "format") as found:
        version = archive.read_member(stream, archive.VERSION_MEMBER, archive.MAX_VERSION_BYTES)
        manifest_sha256 = _read_version(version)
        found.append(f"{FORMAT} version {FORMAT_VERSION}")
    with _check(checks, "manifest digest") as found:
        text = archive.read_member(stream, archive.MANIFEST_MEMBER, archive.MAX_MANIFEST_BYTES)
        found.append(_check_digest(archive.MANIFEST_MEMBER, text, manifest_sha256))
    with _check(checks, "container") as found:
        model = archive.read_member(stream, archive.MODEL_MEMBER, max_model_bytes)
        archive.read_end(stream)
        found.append(f"{len(archive.MEMBERS)} members and nothing else, {stream.tell()} bytes")
    with _check(checks, "manifest") as found:
        manifest = Manifest.from_dict(parse_canonical(text, archive.MANIFEST_MEMBER))
        found.append(f"device {manifest.device}, release {manifest.release}")
    with _check(checks, "weights digest") as found:
        found.append(_check_payload(model, manifest.payload))
    with _check(checks, "weights") as found:
        found.append(f"{len(tensor_layout(model))} tensors fill {len(model)} bytes")
    return Bundle(manifest, model)


def version_value(manifest_text: bytes) -> dict[str, Any]:
    """Content of the member ``version``, which names the digest of the manifest."""
    digest = hashlib.sha256(manifest_text).hexdigest()
    return {"format": FORMAT, "version": FORMAT_VERSION, "manifest_sha256": digest}


def _read_version(data: bytes) -> str:
    """Return the manifest's digest; refuse other formats and other versions first."""
    value = parse_canonical(data, "version")
    if value.get("format") != FORMAT:
        raise BundleError("this is no fleet bundle: its format has another name")
    number = value.get("version")
    if type(number) is not int or number != FORMAT_VERSION:
        raise BundleError(
            f"bundle format version is not {FORMAT_VERSION}",
            hint="a newer version of fleet may have made it; upgrade interval-fleet",
        )
    digest = value.get("manifest_sha256")
    if len(value) != 3 or not isinstance(digest, str) or not SHA256.fullmatch(digest):
        raise BundleError("version: it must hold format, version and manifest_sha256 only")
    return digest


def _check_payload(model: bytes, payload: Payload) -> str:
    if len(model) != payload.length:
        raise IntegrityError(f"{payload.name}: expected {payload.length} bytes, got {len(model)}")
    return _check_digest(payload.name, model, payload.sha256)


def _check_digest(name: str, data: bytes, expected: str) -> str:
    got = hashlib.sha256(data).hexdigest()
    if got != expected:
        raise IntegrityError(
            f"{name}: expected sha256 {expected}, got {got}",
            hint="copy the bundle again, or make it again with `fleet package`",
        )
    return f"sha256 {got}"


@contextmanager
def _check(checks: list[CheckLine], name: str) -> Iterator[list[str]]:
    """Append one line to ``checks``, whatever happens inside."""
    found: list[str] = []
    try:
        yield found
    except BundleError as error:
        checks.append(CheckLine(name, ok=False, detail=error.message))
        raise
    checks.append(CheckLine(name, ok=True, detail=found[0]))


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file; a pipe or a device could block or never end."""
    try:
        if path.exists() and not path.is_file():
            raise BundleError(f"{path} is not a file", hint="name a .fleet file")
        with path.open("rb") as stream:
            yield stream
    except OSError as error:
        raise BundleError(
            f"cannot read {path}: {error.strerror or error}",
            hint="`fleet package` makes bundles under the run's bundles/",
        ) from error
