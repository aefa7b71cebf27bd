"""Adversarial sets on disk: used again where they fit, and by whoever gets them."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from fleet.attacks import FLIP, at_once
from fleet.audit.core.members import Member, Sample, TransferSettings
from fleet.audit.core.scoring import replay, score_baseline, score_sets
from fleet.audit.core.sets import (
    AdversarialSets,
    attack_surrogate,
    find_part,
    find_sets,
    load_sets,
    require_sets,
    save_sets,
    sets_origin,
)
from fleet.encoding import IntervalEncoding
from fleet.errors import AuditError, noted
from fleet.models import Classifier

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
    origin, made = manifest["origin"], manifest["origin"]["made"]
    assert "steps=2" in made["attacks"]["up/down"]
    assert (made["seed"], made["norm"]) == (0, "linf")
    assert origin["eps"] == list(SETTINGS.eps)
    assert (made["surrogate"], made["surrogate_sha256"]) == ("door", member.digest())
    assert origin["images_sha256"] == sample().digest()
    assert "torch" in made
    assert "fleet" not in json.dumps(origin), "an update keeps what it does not change"
    assert manifest["norm"] == "linf"
    assert {"protocol": "adaptive", "attack": "up"} in manifest["attacks"]
    assert "PGD(objective=Directions()" in manifest["attack_values"]["up/down"]
    assert manifest["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


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


def test_one_flipped_bit_is_noticed(sets: AdversarialSets, member: Member, path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert find_sets(path, sets_origin(member, sample(), SETTINGS)) is None
    with pytest.raises(AuditError, match="SHA-256 differs"):
        load_sets(path)


def test_only_the_expected_images_are_tried(
    sets: AdversarialSets, member: Member, path: Path
) -> None:
    assert torch.equal(require_sets(load_sets(path), sets.digest()).images, sets.images)
    narrow = TransferSettings(eps=SETTINGS.eps[:1], steps=2, restarts=1)
    other = attack_surrogate(member, sample(), narrow)
    save_sets(other, path, sets_origin(member, sample(), narrow))
    with pytest.raises(AuditError, match="stored images of door are not those that this audit"):
        require_sets(load_sets(path), sets.digest())


def test_a_digest_holds_all_that_a_trial_depends_on(sets: AdversarialSets) -> None:
    relabelled = Sample(sets.sample.images, sets.sample.labels + 1, sets.sample.indices)
    changed = [
        replace(sets, eps=(2 / 255, 6 / 255)),
        replace(sets, norm="l2"),
        replace(sets, attacks=sets.attacks[::-1]),
        replace(sets, sample=relabelled),
        replace(sets, images=sets.images + 1),
    ]
    assert len({made.digest() for made in (sets, *changed)}) == 6
    assert replace(sets).digest() == sets.digest()


def test_a_part_of_a_larger_set_is_what_would_be_made_for_it_alone(
    member: Member, path: Path, linear: Make
) -> None:
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(110, 146, (9, 1, 2, 2), generator=generator, dtype=torch.uint8)
    many = Sample.of(pixels, torch.ones(9, dtype=torch.int64))
    made = attack_surrogate(member, many, SETTINGS)
    save_sets(made, path, sets_origin(member, many, SETTINGS))
    few = many.part(torch.tensor([1, 2, 5, 8]))
    one = TransferSettings(eps=SETTINGS.eps[1:], steps=2, restarts=1)
    part = find_part(path, sets_origin(member, few, one), few, one.eps)
    assert part is not None
    alone = attack_surrogate(member, few, one)
    assert part.digest() == alone.digest()
    assert torch.equal(part.images, alone.images)
    other = linear("door", [1.0, 1.0, 1.0, 2.0], -487.0)
    moved = Sample(few.images, few.labels, few.indices + 5)
    for who, which, how in (
        (other, few, one),
        (member, few, TransferSettings(eps=one.eps, steps=3, restarts=1)),
        (member, few, TransferSettings(eps=one.eps, steps=2, restarts=2)),
        (member, few, TransferSettings(eps=one.eps, steps=2, restarts=1, seed=1)),
        (member, few, TransferSettings(eps=one.eps, steps=2, restarts=1, targets="none")),
        (member, few, TransferSettings(eps=(3 / 255,), steps=2, restarts=1)),
        (member, Sample(few.images, few.labels * 0, few.indices), one),
        (member, moved, one),
        (member, few.part(torch.arange(3)), one),  # three images alone may round otherwise
    ):
        assert find_part(path, sets_origin(who, which, how), which, how.eps) is None


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


class Mean(nn.Module):
    """The mean level of each image; remembers how many images it was given at once."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.most = max(self.most, len(x))
        return x.flatten(1).mean(1) * 255


@pytest.mark.parametrize(("side", "most"), [(8, 7), (512, 6)])
def test_large_images_are_attacked_and_decided_fewer_at_a_time(side: int, most: int) -> None:
    network = Mean()
    wide = Classifier.from_module(network, IntervalEncoding(3, 10.0, 100.0), (1, side, side))
    images = torch.full((7, 1, side, side), 60, dtype=torch.uint8)
    sample = Sample.of(images, torch.zeros(7, dtype=torch.int64))
    settings = TransferSettings(eps=(1 / 255,), steps=1, restarts=1, noise_draws=1)
    assert at_once(settings.batch_size, images) == (128 if side == 8 else 6)
    score_baseline(Member("wide", wide), sample, settings)
    assert network.most == most
    attack_surrogate(Member("wide", wide), sample, settings)
    assert network.most <= 4 * most  # both directions, and variants, of each image


class Hungry(nn.Module):
    """A network that has memory for 40 images, and no more."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > 40:  # attacks take two directions of each image at once
            torch.empty(1 << 58)
        return x.flatten(1).sum(1) * 5


class Sated(Hungry):
    """The same, with memory enough."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1).sum(1) * 5


def test_an_attack_without_memory_makes_the_same_images_in_halves() -> None:
    encoding = IntervalEncoding(3, alpha=2.0, beta=2.0)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 1, 2, 2), generator=generator, dtype=torch.uint8)
    clean = Sample.of(images, torch.arange(40) % 3)
    settings = replace(SETTINGS, batch_size=40)
    made, scores = [], []
    for network in (Sated(), Hungry()):
        device = Member("door", Classifier.from_module(network, encoding, (1, 2, 2)))
        with noted() as notes:
            sets = attack_surrogate(device, clean, settings)
            scores.append(score_sets(device, clean, sets.images, settings).outcomes)
        made.append(sets.digest())
    assert notes[0] == "40 images at once need more memory than there is: half of them are taken"
    assert made[0] == made[1]
    assert (scores[0] == scores[1]).all()
