"""Seal bytes to one device: HPKE (RFC 9180) with X25519, HKDF-SHA256 and AES-256-GCM."""

from __future__ import annotations

import json

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from fleet.errors import BundleError

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
