"""Write a bundle: the same manifest and weights always give the same bytes."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

from fleet.bundle import archive
from fleet.bundle.manifest import Manifest
from fleet.bundle.reader import examine, version_value
from fleet.errors import BundleError
from fleet.files import canonical_json, write_bytes


@dataclass(frozen=True)
class BundleInfo:
    """A bundle on disk.

    Attributes:
        path: The file.
        sha256: Digest of the whole file.
        size: Bytes of the whole file.
    """

    path: Path
    sha256: str
    size: int


def bundle_bytes(manifest: Manifest, model: bytes) -> bytes:
    """Lay out a whole bundle in memory and read it back.

    Args:
        manifest: Its payload section names the digest and the length of ``model``.
        model: Weights, a whole safetensors file.

    Raises:
        BundleError: A reader would refuse the result: nothing is written that cannot be read.
    """
    try:
        text = canonical_json(manifest.to_dict()).encode("utf-8")
    except (ValueError, TypeError) as error:
        raise BundleError(f"manifest: a value has no JSON form: {error}") from error
    version = canonical_json(version_value(text)).encode("utf-8")
    data = archive.pack(
        {
            archive.VERSION_MEMBER: version,
            archive.MANIFEST_MEMBER: text,
            archive.MODEL_MEMBER: model,
        }
    )
    examine(io.BytesIO(data), [], max_model_bytes=archive.MAX_MODEL_BYTES)
    return data


def write_bundle(path: Path, manifest: Manifest, model: bytes, *, mode: int = 0o666) -> BundleInfo:
    """Write one bundle, whole or not at all; an existing file is replaced.

    Args:
        path: Final name, by convention :attr:`Manifest.file_name`.
        manifest: Its payload section names the digest and the length of ``model``.
        model: Weights, a whole safetensors file.
        mode: Permission bits of the file.

    Raises:
        BundleError: A reader would refuse the result.
        StorageError: It cannot be written; ``path`` is then as it was.
    """
    data = bundle_bytes(manifest, model)
    write_bytes(path, data, mode=mode)
    return BundleInfo(path, hashlib.sha256(data).hexdigest(), len(data))
