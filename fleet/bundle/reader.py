"""Read and verify bundles: one walk from the first byte to the last, in memory only.

:func:`read_bundle` and :func:`verify_bundle` run the same checks in the same order, so they cannot
disagree. Nothing is ever extracted to disk and nothing in a bundle is executed.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fleet.bundle import archive
from fleet.bundle.fields import SHA256, parse_canonical
from fleet.bundle.manifest import FORMAT, FORMAT_VERSION, Manifest, Payload
from fleet.bundle.tensors import tensor_layout
from fleet.bundle.version2 import SECOND, Envelope, check_digest, open_payload, read_second
from fleet.errors import BundleError, IntegrityError
from fleet.notebook import data_frame, html_table

UNSIGNED = (
    "unsigned: the digests find accidents and mix-ups, not somebody who rewrites the whole bundle"
)


@dataclass(frozen=True)
class Bundle:
    """A bundle whose every check passed.

    Attributes:
        manifest: Everything but the weights.
        model: The weights, a whole safetensors file.
        graph: Weight-free ONNX graph, or None.
        self_test: Images and expected answers, a safetensors file, or None.
        envelope: Public manifest of a bundle of version 2; None for version 1.
    """

    manifest: Manifest
    model: bytes = field(repr=False)
    graph: bytes | None = field(default=None, repr=False)
    self_test: bytes | None = field(default=None, repr=False)
    envelope: Envelope | None = None


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
        manifest: None unless every check passed and the payload was opened.
        envelope: Public manifest of a bundle of version 2, or None.
    """

    path: Path
    checks: tuple[CheckLine, ...]
    notes: tuple[str, ...]
    manifest: Manifest | None
    envelope: Envelope | None = None

    @property
    def ok(self) -> bool:
        """Whether every check ran and passed; a sealed payload may have stayed closed."""
        return self.manifest is not None or self.envelope is not None

    def to_dataframe(self) -> Any:
        """One row for each check, as a ``pandas.DataFrame``.

        Raises:
            BackendError: pandas is not installed.
        """
        return data_frame([vars(line) for line in self.checks])

    def _repr_html_(self) -> str:
        """Draw a table in a notebook."""
        rows = [(line.name, "ok" if line.ok else "FAILED", line.detail) for line in self.checks]
        state = "verified" if self.ok else "NOT VERIFIED"
        return html_table(f"{self.path}: {state}", ("check", "result", "detail"), rows)

    @property
    def opened(self) -> bool:
        """Whether the weights were looked at."""
        return self.manifest is not None


def read_bundle(
    path: Path,
    *,
    key: X25519PrivateKey | None = None,
    max_model_bytes: int = archive.MAX_MODEL_BYTES,
) -> Bundle:
    """Read a bundle into memory after checking every byte of it.

    Args:
        path: A ``.fleet`` file.
        key: The device's private key, for a sealed bundle.
        max_model_bytes: Largest model accepted; checked before it is allocated.

    Raises:
        BundleError: There is no such file, it is not in the format, or it is sealed and the key is
            absent or another device's.
        IntegrityError: A member is not the one that its digest names.
    """
    with _open(path) as stream:
        try:
            found = examine(stream, [], key=key, max_model_bytes=max_model_bytes)
            if isinstance(found, Envelope):
                raise BundleError(
                    f"sealed to {found.device!r} and not opened",
                    hint="only the device's key opens it: `fleet device predict` there, or --home",
                )
        except BundleError as error:
            raise type(error)(f"{path}: {error.message}", hint=error.hint) from error
    return found


def verify(
    path: Path | str, *, key: X25519PrivateKey | None = None, check: bool = True
) -> Verification:
    """Check every byte of a bundle.

    Args:
        path: A ``.fleet`` file.
        key: The device's private key, to open a sealed bundle.
        check: Raise if a check fails. Otherwise the finding says so: ``ok`` is False.

    Raises:
        BundleError: There is no such file, or it is not whole.
    """
    found = verify_bundle(Path(path), key=key)
    if check and not found.ok:
        read_bundle(Path(path), key=key)  # says which check failed, and how to mend it
    return found


def verify_bundle(
    path: Path,
    *,
    key: X25519PrivateKey | None = None,
    max_model_bytes: int = archive.MAX_MODEL_BYTES,
) -> Verification:
    """Run every check of :func:`read_bundle` and keep the findings; arguments as there.

    Raises:
        BundleError: There is no such file, or it cannot be opened. Damage does not raise.
    """
    checks: list[CheckLine] = []
    with _open(path) as stream:
        try:
            found = examine(stream, checks, key=key, max_model_bytes=max_model_bytes)
        except BundleError as error:
            hint = () if error.hint is None else (error.hint,)
            return Verification(path, tuple(checks), hint, None)
    notes = [UNSIGNED]
    if isinstance(found, Envelope):
        notes.insert(0, "sealed, not opened: only the device can check what is inside")
    if path.name != (name := _file_name(found)):
        notes.insert(0, f"renamed: the manifest belongs to {name}")
    manifest, envelope = (
        (None, found) if isinstance(found, Envelope) else (found.manifest, found.envelope)
    )
    return Verification(path, tuple(checks), tuple(notes), manifest, envelope)


def examine(
    stream: BinaryIO,
    checks: list[CheckLine],
    *,
    key: X25519PrivateKey | None = None,
    max_model_bytes: int,
) -> Bundle | Envelope:
    """Walk through an open bundle; each finding is appended to ``checks``.

    Args:
        stream: Seekable, at its start.
        checks: Receives one line for each check that ran, the failing one included.
        key: The device's private key, for a sealed bundle.
        max_model_bytes: Largest model accepted; checked before it is allocated.

    Returns:
        The bundle, or the public manifest alone if it is sealed and there is no key.

    Raises:
        BundleError: A check failed.
    """
    with _check(checks, "format") as found:
        version = archive.read_member(stream, archive.VERSION_MEMBER, archive.MAX_VERSION_BYTES)
        number, manifest_sha256 = _read_version(version)
        found.append(f"{FORMAT} version {number}")
    with _check(checks, "manifest digest") as found:
        text = archive.read_member(stream, archive.MANIFEST_MEMBER, archive.MAX_MANIFEST_BYTES)
        found.append(check_digest(archive.MANIFEST_MEMBER, text, manifest_sha256))
    if number == SECOND:
        return _examine_second(stream, checks, text, key, max_model_bytes)
    with _check(checks, "container") as found:
        model = archive.read_member(stream, archive.MODEL_MEMBER, max_model_bytes)
        archive.read_end(stream)
        found.append(f"{len(archive.MEMBERS)} members and nothing else, {stream.tell()} bytes")
    with _check(checks, "manifest") as found:
        manifest = Manifest.from_dict(parse_canonical(text, archive.MANIFEST_MEMBER))
        found.append(f"device {manifest.device}, release {manifest.release}")
    _check_weights(checks, model, manifest.payload)
    return Bundle(manifest, model)


def _examine_second(
    stream: BinaryIO,
    checks: list[CheckLine],
    text: bytes,
    key: X25519PrivateKey | None,
    max_model_bytes: int,
) -> Bundle | Envelope:
    with _check(checks, "container") as found:
        envelope, graph, payload = read_second(stream, text, max_model_bytes=max_model_bytes)
        found.append(f"every member and nothing else, {stream.tell()} bytes")
    with _check(checks, "manifest") as found:
        found.append(
            f"device {envelope.device}, release {envelope.release}, counter {envelope.counter}"
        )
    with _check(checks, "payload") as found:
        opened = open_payload(envelope, payload, key, max_model_bytes=max_model_bytes)
        state = "sealed, not opened" if opened is None else f"opened, seal {envelope.seal}"
        found.append(f"{state}, {len(payload)} bytes")
    if opened is None:
        return envelope
    _check_weights(checks, opened.model, opened.manifest.payload)
    return Bundle(opened.manifest, opened.model, graph or None, opened.self_test or None, envelope)


def _check_weights(checks: list[CheckLine], model: bytes, payload: Payload) -> None:
    with _check(checks, "weights digest") as found:
        found.append(_check_payload(model, payload))
    with _check(checks, "weights") as found:
        found.append(f"{len(tensor_layout(model))} tensors fill {len(model)} bytes")


def _file_name(found: Bundle | Envelope) -> str:
    named = found if isinstance(found, Envelope) else found.manifest
    return f"{named.device}-{named.release}.fleet"


def version_value(manifest_text: bytes) -> dict[str, Any]:
    """Content of the member ``version``, which names the digest of the manifest."""
    digest = hashlib.sha256(manifest_text).hexdigest()
    return {"format": FORMAT, "version": FORMAT_VERSION, "manifest_sha256": digest}


def _read_version(data: bytes) -> tuple[int, str]:
    """Return version and manifest's digest; refuse other formats and other versions first."""
    value = parse_canonical(data, "version")
    if value.get("format") != FORMAT:
        raise BundleError("this is no fleet bundle: its format has another name")
    number = value.get("version")
    if type(number) is not int or number not in (FORMAT_VERSION, SECOND):
        raise BundleError(
            f"bundle format version is neither {FORMAT_VERSION} nor {SECOND}",
            hint="a newer version of fleet may have made it; upgrade interval-fleet",
        )
    digest = value.get("manifest_sha256")
    if len(value) != 3 or not isinstance(digest, str) or not SHA256.fullmatch(digest):
        raise BundleError("version: it must hold format, version and manifest_sha256 only")
    return number, digest


def _check_payload(model: bytes, payload: Payload) -> str:
    if len(model) != payload.length:
        raise IntegrityError(f"{payload.name}: expected {payload.length} bytes, got {len(model)}")
    return check_digest(payload.name, model, payload.sha256)


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
