"""Bundle format version 2: a public manifest, and the device's secrets in a sealed payload.

Members, in this order: ``version``, ``manifest.json``, ``MODEL_CARD.md``, ``graph.onnx`` (empty if
none was exported) and ``payload.hpke`` (``payload.tar`` if unsealed, for laboratories). The payload
is a tar of ``private.json`` (encoding, seed, profile digest, digest of the weights; padded, so that
its length says nothing), ``model.safetensors`` and ``selftest.safetensors``.

The public manifest is that of version 1 without the private fields, and with a counter, a floor, a
certificate and digests of the other members.
"""

import hashlib
import io
import json
from dataclasses import dataclass, field
from functools import cache
from typing import Any, BinaryIO, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from fleet.bundle import archive
from fleet.bundle.fields import NAME, SHA256, Fields, parse_canonical
from fleet.bundle.manifest import FORMAT, FORMAT_VERSION, Manifest
from fleet.encoding import IntervalEncoding
from fleet.errors import BundleError, IntegrityError
from fleet.files import canonical_json

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def seal(payload: bytes, recipient: bytes, device: str, release: str, counter: int) -> bytes:
    """Encrypt ``payload`` so that one device alone can read it, as this release of this device.

    Args:
        payload: Any bytes.
        recipient: The device's X25519 public key, 32 bytes.
        device: Device name.
        release: Release name.
        counter: Counter of the release.
    """
    key = X25519PublicKey.from_public_bytes(recipient)
    return _SUITE.encrypt(payload, key, _binding(device, release, counter))


def unseal(sealed: bytes, key: X25519PrivateKey, device: str, release: str, counter: int) -> bytes:
    """Decrypt what :func:`seal` made; arguments as there.

    Raises:
        BundleError: It is sealed to another device, is another release or counter, or is damaged.
    """
    try:
        return _SUITE.decrypt(sealed, key, _binding(device, release, counter))
    except (InvalidTag, ValueError) as error:
        raise BundleError(
            f"the payload does not open as {device!r}, release {release}, counter {counter}",
            hint="it is sealed to another device's key, was relabelled, or is damaged",
        ) from error


def _binding(device: str, release: str, counter: int) -> bytes:
    return b"fleet-bundle/2\0" + json.dumps([device, release, counter]).encode("utf-8")


SECOND = 2
CARD, GRAPH = "MODEL_CARD.md", "graph.onnx"
PRIVATE, SELF_TEST = "private.json", "selftest.safetensors"
PAYLOADS = {"hpke": "payload.hpke", "none": "payload.tar"}
PRIVATE_MEMBERS = (PRIVATE, archive.MODEL_MEMBER, SELF_TEST)
PADDING = 4096
MAX_COUNTER = 2**53
MAX_PUBLIC_BYTES = 16 * 1024**2
"""Largest model card, and largest graph."""

_PRIVATE_PROVENANCE = ("seed", "profile_digest")


@dataclass(frozen=True)
class Envelope:
    """The public manifest of a version-2 bundle.

    Attributes:
        device: Device name.
        release: Release name.
        counter: Number of the release, which never falls for a device.
        floor: Lowest counter that the device may go back to after this release.
        seal: ``hpke``, or ``none``.
        recipient: Opaque name of the device whose key it is sealed to; None if it is not sealed.
        payload_sha256: Digest of the payload as it lies in the bundle.
        payload_length: Bytes of the payload.
        digests: Digests of the other public members by name.
        allowed_unaudited: The operator shipped it without a passing audit, on purpose.
        certificate: Certified shares of these weights, plain JSON values, or None.
        public: The fields that it shares with version 1, without the private ones.
    """

    device: str
    release: str
    counter: int
    floor: int
    seal: str
    recipient: str | None
    payload_sha256: str
    payload_length: int
    digests: dict[str, str]
    allowed_unaudited: bool = False
    certificate: dict[str, Any] | None = None
    public: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; :func:`read_envelope` is the inverse."""
        return {
            **self.public,
            "format": FORMAT,
            "version": SECOND,
            "device": self.device,
            "release": self.release,
            "counter": self.counter,
            "floor": self.floor,
            "allowed_unaudited": self.allowed_unaudited,
            "certificate": self.certificate,
            "files": self.digests,
            "payload": {
                "name": PAYLOADS[self.seal],
                "sha256": self.payload_sha256,
                "length": self.payload_length,
                "seal": self.seal,
                "recipient": self.recipient,
            },
        }


@dataclass(frozen=True)
class Opened:
    """What the payload of a version-2 bundle held.

    Attributes:
        manifest: The whole manifest, private fields included.
        model: The weights, a whole safetensors file.
        self_test: Images and expected answers, a safetensors file; empty if there is none.
    """

    manifest: Manifest
    model: bytes
    self_test: bytes


def pack_second(
    manifest: Manifest,
    model: bytes,
    *,
    counter: int,
    floor: int = 0,
    card: bytes = b"",
    graph: bytes = b"",
    self_test: bytes = b"",
    recipient: tuple[str, bytes] | None = None,
    allowed_unaudited: bool = False,
    certificate: dict[str, Any] | None = None,
) -> bytes:
    """Lay out a version-2 bundle in memory.

    Args:
        manifest: As for version 1.
        model: Weights, a whole safetensors file.
        counter: Number of the release.
        floor: Lowest counter that the device may go back to.
        card: Public text about the model, Markdown.
        graph: Weight-free ONNX graph, or nothing.
        self_test: From :func:`fleet.runtime.export.self_test`, or nothing.
        recipient: Opaque name and X25519 public key of the device; None leaves it unsealed.
        allowed_unaudited: Shipped without a passing audit, on purpose.
        certificate: Certified shares, plain JSON values.

    Returns:
        The same bytes for the same arguments if it is unsealed; HPKE is random by design.

    Raises:
        BundleError: A reader would refuse the result.
    """
    public, private = _split(manifest, model)
    inner = {
        PRIVATE: _padded(private),
        archive.MODEL_MEMBER: model,
        SELF_TEST: self_test,
    }
    payload = archive.pack(inner, PRIVATE_MEMBERS)
    if recipient is not None:
        payload = seal(payload, recipient[1], manifest.device, manifest.release, counter)
    kind = "none" if recipient is None else "hpke"
    envelope = Envelope(
        device=manifest.device,
        release=manifest.release,
        counter=counter,
        floor=floor,
        seal=kind,
        recipient=None if recipient is None else recipient[0],
        payload_sha256=_sha256(payload),
        payload_length=len(payload),
        digests={CARD: _sha256(card), GRAPH: _sha256(graph)},
        allowed_unaudited=allowed_unaudited,
        certificate=certificate,
        public=public,
    )
    text = canonical_json(envelope.to_dict()).encode("utf-8")
    version = {"format": FORMAT, "version": SECOND, "manifest_sha256": _sha256(text)}
    members = {
        archive.VERSION_MEMBER: canonical_json(version).encode("utf-8"),
        archive.MANIFEST_MEMBER: text,
        CARD: card,
        GRAPH: graph,
        PAYLOADS[kind]: payload,
    }
    read_envelope(parse_canonical(text, archive.MANIFEST_MEMBER))
    return archive.pack(members, tuple(members))


def read_envelope(value: object) -> Envelope:
    """Check a public manifest; the only way in from a file.

    Raises:
        BundleError: A field is missing, of another type or out of bounds.
    """
    fields = Fields(value)
    fields.choice("format", (FORMAT,))
    fields.integer("version", SECOND, SECOND)
    payload, files = fields.object("payload"), fields.object("files")
    kind = payload.choice("seal", tuple(PAYLOADS))
    payload.choice("name", (PAYLOADS[kind],))
    certificate = fields.value("certificate")
    if certificate is not None and not _certifies(certificate):
        raise fields.error("certificate", "must be null, or hold rows of decimals from 0 to 1")
    envelope = Envelope(
        device=fields.text("device", NAME),
        release=fields.text("release", NAME),
        counter=fields.integer("counter", 1, MAX_COUNTER),
        floor=fields.integer("floor", 0, MAX_COUNTER),
        seal=kind,
        recipient=payload.optional_text("recipient", NAME),
        payload_sha256=payload.text("sha256", SHA256),
        payload_length=payload.integer("length", 0, 8 * archive.MAX_MODEL_BYTES),
        digests={name: files.text(name, SHA256) for name in (CARD, GRAPH)},
        allowed_unaudited=fields.boolean("allowed_unaudited"),
        certificate=certificate,
        public=dict(fields.rest),
    )
    if (envelope.recipient is None) != (kind == "none"):
        raise BundleError("manifest: payload.recipient must be given exactly if it is sealed")
    _complete(envelope, _stand_ins(envelope), b"")
    return envelope


def read_second(
    stream: BinaryIO, manifest_text: bytes, *, max_model_bytes: int
) -> tuple[Envelope, bytes, bytes]:
    """Read the members after the manifest, and check their digests.

    Returns:
        The public manifest, the graph (empty if there is none), and the payload as it lies there.

    Raises:
        BundleError: The bundle is not in the format.
        IntegrityError: A member is not the one that its digest names.
    """
    envelope = read_envelope(parse_canonical(manifest_text, archive.MANIFEST_MEMBER))
    public = {name: archive.read_member(stream, name, MAX_PUBLIC_BYTES) for name in (CARD, GRAPH)}
    payload = archive.read_member(stream, PAYLOADS[envelope.seal], max_model_bytes + 2**20)
    archive.read_end(stream)
    for name, data in public.items():
        check_digest(name, data, envelope.digests[name])
    if len(payload) != envelope.payload_length:
        raise IntegrityError(
            f"the payload: expected {envelope.payload_length} bytes, got {len(payload)}"
        )
    check_digest(PAYLOADS[envelope.seal], payload, envelope.payload_sha256)
    return envelope, public[GRAPH], payload


def open_payload(
    envelope: Envelope, payload: bytes, key: X25519PrivateKey | None, *, max_model_bytes: int
) -> Opened | None:
    """Open a payload in memory.

    Args:
        envelope: The public manifest.
        payload: As it lies in the bundle.
        key: The device's private key; a sealed payload stays closed without it.
        max_model_bytes: Largest model accepted.

    Returns:
        The content, or None if it is sealed and there is no key.

    Raises:
        BundleError: It does not open with this key, or its content is not in the format.
    """
    if envelope.seal == "hpke":
        if key is None:
            return None
        payload = unseal(payload, key, envelope.device, envelope.release, envelope.counter)
    stream = io.BytesIO(payload)
    private = archive.read_member(stream, PRIVATE, archive.MAX_MANIFEST_BYTES)
    model = archive.read_member(stream, archive.MODEL_MEMBER, max_model_bytes)
    test = archive.read_member(stream, SELF_TEST, max_model_bytes)
    archive.read_end(stream)
    fields = parse_canonical(private.rstrip(b" "), PRIVATE)
    if _padded(fields) != private:
        raise BundleError(f"{PRIVATE} is not padded as it must be")
    return Opened(_complete(envelope, fields, model), model, test)


def _split(manifest: Manifest, model: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a version-1 manifest, public and private."""
    public = manifest.to_dict()
    for name in ("payload", "format", "version", "device", "release"):
        del public[name]
    provenance = dict(public["provenance"])
    private = {name: provenance.pop(name) for name in _PRIVATE_PROVENANCE}
    public["provenance"] = provenance
    private["encoding"] = public.pop("encoding")
    private["weights_sha256"] = _sha256(model)
    return public, private


def _complete(envelope: Envelope, private: dict[str, Any], model: bytes) -> Manifest:
    """Put a manifest together; the weights' digest is checked against the private one."""
    try:
        rest = {name: private[name] for name in _PRIVATE_PROVENANCE}
        encoding, digest = private["encoding"], private["weights_sha256"]
        provenance = {**cast(dict[str, Any], envelope.public["provenance"]), **rest}
    except (KeyError, TypeError) as error:
        raise BundleError(f"manifest: {error} is missing") from error
    whole = {
        **envelope.public,
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "device": envelope.device,
        "release": envelope.release,
        "encoding": encoding,
        "provenance": provenance,
        "payload": {
            "name": archive.MODEL_MEMBER,
            "sha256": digest,
            "length": len(model),
            "seal": "none",
        },
    }
    return Manifest.from_dict(whole)


def _certifies(value: object) -> bool:
    rows = value.get("rows") if isinstance(value, dict) else None
    return isinstance(rows, list) and all(
        isinstance(row, dict)
        and all(type(row.get(name)) is float and 0 <= row[name] <= 1 for name in ("eps", "stay"))
        for row in rows
    )


@cache
def _stand_in_encoding(classes: int) -> dict[str, Any]:
    return IntervalEncoding(classes, alpha=1.0, beta=1.0).to_dict()


def _stand_ins(envelope: Envelope) -> dict[str, Any]:
    """Private fields that are legal and say nothing, to check the public ones without a key."""
    model = envelope.public.get("model")
    classes = model.get("num_classes", 2) if isinstance(model, dict) else 2
    encoding = None
    if envelope.public.get("task") == "int" and type(classes) is int and 2 <= classes <= 10_000:
        encoding = _stand_in_encoding(classes)
    nothing = "0" * 64
    return {"encoding": encoding, "seed": 0, "profile_digest": nothing, "weights_sha256": nothing}


def _padded(private: dict[str, Any]) -> bytes:
    text = canonical_json(private).encode("utf-8")
    return text + b" " * (-len(text) % PADDING)


def check_digest(name: str, data: bytes, expected: str) -> str:
    """Compare a member with its digest, and say which it has.

    Raises:
        IntegrityError: It has another.
    """
    if (got := _sha256(data)) != expected:
        raise IntegrityError(
            f"{name}: expected sha256 {expected}, got {got}",
            hint="copy the bundle again, or make it again with `fleet package`",
        )
    return f"sha256 {got}"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
