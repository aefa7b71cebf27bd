"""Adversarial sets on disk: used again where they fit, and by whoever gets them."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fleet.attacks import FLIP
from fleet.audit.members import Member, Sample, TransferSettings
from fleet.audit.rows import attack_surrogate
from fleet.audit.scoring import replay, score_sets
from fleet.audit.sets import (
    AdversarialSets,
    find_sets,
    load_sets,
    save_sets,
    sets_digest,
    sets_origin,
)
from fleet.errors import AuditError

Make = Callable[..., Member]
SETTINGS = TransferSettings(eps=(2 / 255, 5 / 255), steps=2, restarts=1)


def sample() -> Sample:
    return Sample.of(torch.full((3, 1, 2, 2), 128, dtype=torch.uint8), torch.tensor([1, 1, 0]))


@pytest.fixture
def member(linear: Make) -> Member:
    """Every output is 25 at level 128, the middle of slot 1 = [20, 30]."""
    return linear("door", [1.0, 1.0, 1.0, 1.0], -487.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sets" / "door.safetensors"


@pytest.fixture
def sets(member: Member, path: Path) -> AdversarialSets:
    made = attack_surrogate(member, sample(), SETTINGS)
    save_sets(made, path, sets_origin(member, sample(), SETTINGS))
    return made


def test_what_is_read_is_what_was_written(sets: AdversarialSets, path: Path) -> None:
    read = load_sets(path)
    assert torch.equal(read.images, sets.images)
    for name in ("images", "labels", "indices"):
        assert torch.equal(getattr(read.sample, name), getattr(sets.sample, name))
    for name in ("surrogate", "norm", "eps", "attacks", "attack_values", "health"):
        assert getattr(read, name) == getattr(sets, name)


def test_the_manifest_says_what_the_images_were_made_from(
    sets: AdversarialSets, member: Member, path: Path
) -> None:
    manifest = json.loads(path.with_suffix(".json").read_text())
    origin = manifest["origin"]
    assert origin["settings"]["steps"] == 2
    assert origin["settings"]["seed"] == 0
    assert origin["levels"] == [2, 5]
    assert origin["surrogate_sha256"] == member.digest()
    assert origin["images_sha256"] == sample().digest()
    assert {"fleet", "torch"} <= origin.keys()
    assert manifest["norm"] == "linf"
    assert {"protocol": "adaptive", "attack": "up"} in manifest["attacks"]
    assert "PGD(objective=Directions()" in manifest["attack_values"]["up/down"]
    assert manifest["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest() == sets_digest(path)


def test_stored_images_can_be_tried_on_a_device_of_another_place(
    sets: AdversarialSets, path: Path, linear: Make
) -> None:
    """On ``o = w . k`` five levels up move a victim that agrees in signs by 5 ||v||_1."""
    victim = linear("far", [2.0, 1.0, 1.0, 1.0], -615.0)
    trial = replay(load_sets(path), victim, SETTINGS)
    assert (trial.outcomes == score_sets(victim, sample(), sets.images, SETTINGS).outcomes).all()
    up = [name.attack for name in sets.attacks].index("up")
    assert trial.outcomes[1, up].tolist() == [FLIP] * 3
    with pytest.raises(AuditError, match="takes images of shape"):
        replay(load_sets(path), conv(linear), SETTINGS)


def conv(linear: Make) -> Member:
    member = linear("large", [1.0, 1.0, 1.0, 1.0], 0.0)
    member.classifier.input_shape = (1, 4, 4)
    return member


def test_sets_of_the_same_origin_are_found_and_others_are_not(
    sets: AdversarialSets, member: Member, path: Path, linear: Make
) -> None:
    assert find_sets(path, sets_origin(member, sample(), SETTINGS)) is not None
    other = linear("door", [1.0, 1.0, 1.0, 2.0], -487.0)
    relabelled = Sample(sample().images, torch.tensor([1, 1, 1]), sample().indices)
    for origin in (
        sets_origin(other, sample(), SETTINGS),
        sets_origin(member, relabelled, SETTINGS),
        sets_origin(member, sample(), TransferSettings(eps=SETTINGS.eps, steps=3, restarts=1)),
    ):
        assert find_sets(path, origin) is None


def test_draws_of_the_noise_floor_do_not_make_other_images(member: Member) -> None:
    more = TransferSettings(eps=SETTINGS.eps, steps=2, restarts=1, noise_draws=9)
    assert sets_origin(member, sample(), more) == sets_origin(member, sample(), SETTINGS)


def test_absent_sets_are_an_error_unless_they_can_be_made(path: Path) -> None:
    assert find_sets(path, {}) is None
    with pytest.raises(AuditError, match="cannot read the adversarial images"):
        load_sets(path)
    with pytest.raises(AuditError, match="cannot read"):
        sets_digest(path)


def test_one_flipped_bit_is_noticed(sets: AdversarialSets, member: Member, path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert find_sets(path, sets_origin(member, sample(), SETTINGS)) is None
    with pytest.raises(AuditError, match="SHA-256 differs"):
        load_sets(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "not json", '{"schema": "other"}'])
def test_a_broken_manifest_is_noticed(sets: AdversarialSets, path: Path, text: str) -> None:
    path.with_suffix(".json").write_text(text)
    with pytest.raises(AuditError):
        load_sets(path)


@pytest.mark.parametrize("key", ["surrogate", "attacks", "health", "sha256"])
def test_a_manifest_without_a_field_is_noticed(sets: AdversarialSets, path: Path, key: str) -> None:
    manifest = json.loads(path.with_suffix(".json").read_text())
    del manifest[key]
    path.with_suffix(".json").write_text(json.dumps(manifest))
    with pytest.raises(AuditError):
        load_sets(path)


def test_a_manifest_for_other_bytes_is_no_tensor_file(sets: AdversarialSets, path: Path) -> None:
    manifest = json.loads(path.with_suffix(".json").read_text())
    path.write_bytes(b"nonsense")
    manifest["sha256"] = hashlib.sha256(b"nonsense").hexdigest()
    path.with_suffix(".json").write_text(json.dumps(manifest))
    with pytest.raises(AuditError, match="cannot read"):
        load_sets(path)


def test_images_lie_in_the_l2_ball_exactly(member: Member) -> None:
    settings = TransferSettings(eps=(5.5 / 255,), steps=3, restarts=2, norm="l2")
    made = attack_surrogate(member, sample(), settings)
    moved = (made.images.to(torch.int64) - sample().images.to(torch.int64)).flatten(3)
    squares = moved.square().sum(3)
    assert int(squares.max()) <= 30  # floor(5.5^2)
    assert int(squares.max()) > 20
