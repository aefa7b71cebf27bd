"""Sign a file in the OpenSSF Model Signing format (OMS v1.0), for users whose tools check that.

The signature lies beside the file, ``FILE.sig``: a sigstore bundle around a DSSE envelope around an
in-toto statement that names the file and its digest. ``model_signing verify key`` accepts it.
"""

import hashlib
import json
from base64 import b64encode
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fleet.errors import RolloutError
from fleet.files import storage_error, write_text
from fleet.rollout.keys import read_private

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://model_signing/signature/v1.0"

_HASHES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}


def load_oms_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Load a private key of P-256, P-384 or P-521, PEM, readable by its owner alone.

    Raises:
        RolloutError: It is absent, of another kind, or others may read it.
    """
    key = cast(ec.EllipticCurvePrivateKey, read_private(path, ec.EllipticCurvePrivateKey))
    if key.curve.name not in _HASHES:
        raise RolloutError(
            f"{path} is a key of the curve {key.curve.name}",
            hint="OMS takes P-256, P-384 and P-521",
        )
    return key


def sign_file(path: Path, key: ec.EllipticCurvePrivateKey) -> Path:
    """Sign a file; returns where the signature lies.

    Raises:
        StorageError: The file cannot be read, or the signature cannot be written.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).digest()
    except OSError as error:
        raise storage_error(path, error) from error
    payload = json.dumps(_statement(path.name, digest)).encode("utf-8")
    signed = b"DSSEv1 %d %b %d %b" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)
    signature = key.sign(signed, ec.ECDSA(_HASHES[key.curve.name]))
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    bundle = {
        "mediaType": BUNDLE,
        "verificationMaterial": {
            "publicKey": {"hint": hashlib.sha256(public).hexdigest()},
            "tlogEntries": [],
        },
        "dsseEnvelope": {
            "payload": b64encode(payload).decode(),
            "payloadType": PAYLOAD,
            "signatures": [{"sig": b64encode(signature).decode(), "keyid": ""}],
        },
    }
    target = path.with_name(f"{path.name}.sig")
    write_text(target, json.dumps(bundle) + "\n")
    return target


def _statement(name: str, digest: bytes) -> dict[str, Any]:
    """What is signed; the subject's digest is that of all digests, here of one."""
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": hashlib.sha256(digest).hexdigest()}}],
        "predicateType": PREDICATE,
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": [{"name": ".", "algorithm": "sha256", "digest": digest.hex()}],
        },
    }
