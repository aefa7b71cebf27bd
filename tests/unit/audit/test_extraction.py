"""What an attacker trains for himself, on a victim that a few answers give away."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fleet.audit.core.members import Member
from fleet.audit.core.outsider import (
    OWN,
    Attacker,
    ask,
    cross_entropy,
    draw,
    fit,
    imitate,
    own_network,
)
from fleet.encoding import IntervalEncoding
from fleet.errors import AuditError
from fleet.models import Classifier
from fleet.models.heads import LinearHead, LogitsHead

SHAPE = (1, 2, 2)
ENCODING = IntervalEncoding(3, alpha=5.0, beta=10.0, order=(1, 0, 2))


class Brightness(nn.Module):
    """The level of pixel 0 divided by 5: 0 to 51."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, 0] * 51


def build(
    task: str, head: str, encoding: IntervalEncoding | None, seed: int, features: int = 16
) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        last = LogitsHead(features, 3) if encoding is None else LinearHead(features, encoding)
        backbone = nn.Sequential(
            nn.Flatten(), nn.Linear(4, features), nn.BatchNorm1d(features), nn.ReLU()
        )
    return Classifier(
        backbone=backbone,
        head=last,
        task=task,  # type: ignore[arg-type]
        head_name=head,  # type: ignore[arg-type]
        encoding=encoding,
        num_classes=3,
        input_shape=SHAPE,
        mean=(0.5,),
        std=(0.3,),
    )


def victim(encoding: IntervalEncoding = ENCODING) -> Member:
    return Member("victim", Classifier.from_module(Brightness(), encoding, SHAPE))


@pytest.fixture
def attacker() -> Attacker:
    return with_images(600)


def with_images(count: int) -> Attacker:
    """Images whose classes the victim decodes correctly, but for those in gaps."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, *SHAPE), generator=generator, dtype=torch.uint8)
    slots = (images[:, 0, 0, 0].float() / 5 / 15).floor().clamp(max=2).long()
    labels = torch.tensor(ENCODING.classes)[slots]
    return Attacker(images, labels, build)


def test_a_surrogate_learns_the_victim_from_its_answers(attacker: Attacker) -> None:
    """It agrees with most answers that name a class (guessing: a third); None it cannot say."""
    surrogate = imitate(victim(), attacker, 300, 0)
    held_out = draw(attacker, 600, 0)[300:]
    wanted = ask(victim(), attacker.images[held_out])
    given = ask(Member("surrogate", surrogate), attacker.images[held_out])
    told = wanted >= 0
    assert 0.5 < told.float().mean() < 0.9, "there are gaps"
    assert (wanted == given)[told].float().mean() > 0.8
    assert (given >= 0).all()
    assert not surrogate.training


def test_the_true_labels_and_the_encoding_are_not_used(attacker: Attacker) -> None:
    """The attacker of a victim with another order learns that order, whatever his labels say."""
    other = victim(IntervalEncoding(3, alpha=5.0, beta=10.0, order=(2, 1, 0)))
    surrogate = imitate(other, attacker, 300, 0)
    bright = torch.full((1, *SHAPE), 200, dtype=torch.uint8)
    assert ask(other, bright).tolist() == [0]
    assert ask(Member("surrogate", surrogate), bright).tolist() == [0]


def test_training_repeats_and_leaves_the_global_generator_alone(attacker: Attacker) -> None:
    before = torch.get_rng_state()
    first, second = (imitate(victim(), attacker, 60, 7) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    other = imitate(victim(), attacker, 60, 8)
    assert not torch.equal(first.head.linear.weight, other.head.linear.weight)


def test_asking_leaves_the_victim_as_it_was(attacker: Attacker) -> None:
    member = Member("victim", build("tra", "logits", None, 0))
    member.classifier.train()
    before = {name: value.clone() for name, value in member.classifier.state_dict().items()}
    imitate(member, attacker, 60, 0)
    assert member.classifier.training
    assert all(p.requires_grad for p in member.classifier.parameters())
    for name, value in member.classifier.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_queries_go_round_the_classes_and_a_larger_budget_only_adds(attacker: Attacker) -> None:
    small, large = draw(attacker, 9, 0), draw(attacker, 60, 0)
    assert torch.equal(large[:9], small)
    assert torch.bincount(attacker.labels[small]).tolist() == [3, 3, 3]
    assert len(large.unique()) == 60
    assert not torch.equal(small, draw(attacker, 9, 1))


@pytest.mark.parametrize("count", [2, 601])
def test_too_few_queries_or_images_are_refused(attacker: Attacker, count: int) -> None:
    with pytest.raises(AuditError, match=f"{count} queries with 600 own images of 3 classes"):
        draw(attacker, count, 0)


def test_a_victim_that_says_none_teaches_nothing(attacker: Attacker) -> None:
    mute = victim(IntervalEncoding(3, alpha=5.0, beta=10.0, s0=1000.0))
    with pytest.raises(AuditError, match="victim answers None to nearly all of 30 images"):
        imitate(mute, attacker, 30, 0)


@pytest.mark.parametrize("encoding", [None, ENCODING])
def test_an_own_network_learns_the_true_labels(encoding: IntervalEncoding | None) -> None:
    attacker = with_images(3000)
    network = own_network(attacker, encoding, 10_000, 0)
    again = own_network(attacker, encoding, 10_000, 0)
    assert torch.equal(network.head.linear.weight, again.head.linear.weight)
    decoded = ask(Member("own", network), attacker.images)
    assert (decoded == attacker.labels).float().mean() > 0.7


def test_two_images_can_be_trained_on() -> None:
    images = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1).expand(2, *SHAPE)
    network = fit(
        build("tra", "logits", None, 0), images.contiguous(), cross_entropy(torch.tensor([0, 1])),
        OWN, 0,
    )  # fmt: skip
    assert all(value.isfinite().all() for value in network.state_dict().values())
