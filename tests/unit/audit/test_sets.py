"""Adversarial sets on disk."""

import json
from pathlib import Path

import pytest
import torch

from fleet.audit.evidence import AttackName, GradientHealth
from fleet.audit.sets import AdversarialSets, load_sets, save_sets

ORIGIN = {"seed": 0, "eps": [0.1, 0.2]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sets" / "door.safetensors"


@pytest.fixture
def sets(path: Path) -> AdversarialSets:
    images = torch.randint(0, 256, (2, 3, 4, 1, 2, 2), dtype=torch.uint8)
    names = tuple(AttackName("adaptive", name) for name in ("up", "down", "segment"))
    made = AdversarialSets("door", (0.1, 0.2), names, images, GradientHealth("door", 4, 4, 0, 0, 0))
    save_sets(made, path, ORIGIN)
    return made


def test_what_is_read_is_what_was_written(sets: AdversarialSets, path: Path) -> None:
    read = load_sets(path, ORIGIN)
    assert read is not None
    assert torch.equal(read.images, sets.images)
    assert (read.surrogate, read.eps, read.attacks, read.health) == (
        sets.surrogate, sets.eps, sets.attacks, sets.health,
    )  # fmt: skip


def test_another_origin_is_made_again(sets: AdversarialSets, path: Path) -> None:
    assert load_sets(path, {**ORIGIN, "seed": 1}) is None


def test_absent_sets_are_made(path: Path) -> None:
    assert load_sets(path, ORIGIN) is None


def test_one_flipped_bit_is_noticed(sets: AdversarialSets, path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert load_sets(path, ORIGIN) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "not json", '{"schema": "other"}'])
def test_a_broken_manifest_is_noticed(sets: AdversarialSets, path: Path, text: str) -> None:
    path.with_suffix(".json").write_text(text)
    assert load_sets(path, ORIGIN) is None


def test_a_manifest_for_other_bytes_is_no_tensor_file(sets: AdversarialSets, path: Path) -> None:
    import hashlib

    manifest = json.loads(path.with_suffix(".json").read_text())
    path.write_bytes(b"nonsense")
    manifest["sha256"] = hashlib.sha256(b"nonsense").hexdigest()
    path.with_suffix(".json").write_text(json.dumps(manifest))
    assert load_sets(path, ORIGIN) is None
