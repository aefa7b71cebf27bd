"""Adversarial sets: what attacking one surrogate gives, in memory and on disk.

On disk a set is two files: ``NAME.safetensors`` with the 8-bit images, and ``NAME.json`` with what
they were made from and the digest of the first. A set whose manifest is the one expected is used
again, so an interrupted audit goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fleet.audit.evidence import AttackName, GradientHealth
from fleet.files import write_bytes, write_json

SCHEMA = "fleet.adversarial-sets/1"
"""Raise the number when the same origin gives other images, so that stored ones are made again."""


@dataclass(frozen=True, eq=False)
class AdversarialSets:
    """Adversarial images made on one surrogate.

    Attributes:
        surrogate: Device name.
        eps: Radii as asked for, ascending.
        attacks: One name for each set.
        images: uint8 (E, A, N, C, H, W), each within eps of the clean image.
        health: Gradients of the surrogate at the clean images.
    """

    surrogate: str
    eps: tuple[float, ...]
    attacks: tuple[AttackName, ...]
    images: Tensor
    health: GradientHealth


def save_sets(sets: AdversarialSets, path: Path, origin: dict[str, Any]) -> None:
    """Write ``path`` (``.safetensors``) and its manifest beside it, the manifest last.

    Args:
        sets: What to write.
        path: Name of the images' file.
        origin: Plain JSON values: everything that determines the images.

    Raises:
        StorageError: They cannot be written.
    """
    data = save({"images": sets.images.contiguous()}, metadata={"format": "pt"})
    write_bytes(path, data)
    manifest = {
        "schema": SCHEMA,
        "origin": origin,
        "surrogate": sets.surrogate,
        "eps": list(sets.eps),
        "attacks": [asdict(name) for name in sets.attacks],
        "health": asdict(sets.health),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    write_json(path.with_suffix(".json"), manifest)


def load_sets(path: Path, origin: dict[str, Any]) -> AdversarialSets | None:
    """Read what :func:`save_sets` wrote.

    Returns:
        The sets; None if they are absent, damaged, or of another origin, and so must be made.
    """
    try:
        manifest = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        data = path.read_bytes()
        wanted = {"schema": SCHEMA, "origin": origin, "sha256": hashlib.sha256(data).hexdigest()}
        if {key: manifest[key] for key in wanted} != wanted:
            return None
        return AdversarialSets(
            surrogate=manifest["surrogate"],
            eps=tuple(manifest["eps"]),
            attacks=tuple(AttackName(**name) for name in manifest["attacks"]),
            images=load(data)["images"],
            health=GradientHealth(**manifest["health"]),
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None
