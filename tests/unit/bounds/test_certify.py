"""Certificates hold against every attack that we have, and say something."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from fleet.attacks import SampleKeys, attackable, quantise
from fleet.audit.core.members import Member, TransferSettings
from fleet.audit.transfer.audit import audit_transfer
from fleet.bounds.certify import certificates
from fleet.data import ImageData, to_unit
from fleet.encoding import IntervalEncoding
from fleet.models import Classifier, build_classifier

HEADS = ["softmax", "ordinal"]


def evaded(member: Member, images: torch.Tensor, labels: torch.Tensor, eps: float) -> torch.Tensor:
    """Whether any attack of the whole portfolio changes the answer, bool (N,)."""
    settings = TransferSettings(
        eps=(eps,), steps=15, restarts=1, targets="neighbours", precision="fp32"
    )
    classifier, found = member.classifier, torch.zeros(len(images), dtype=torch.bool)
    keys = SampleKeys(0, member.name, torch.arange(len(images)))
    for entry in settings.portfolio(classifier, eps):
        made = quantise(entry.attack(classifier, to_unit(images), labels, keys), images, eps)
        with attackable(classifier), torch.no_grad():
            for batch in made:
                found |= classifier.decode(classifier(to_unit(batch))) != labels
    return found


@pytest.mark.parametrize("head", HEADS)
def test_no_attack_of_the_portfolio_breaks_a_certified_image(
    certified: dict[str, Member], mnist: ImageData, head: str
) -> None:
    rows = torch.arange(100)
    images, labels = mnist.test.images(rows), mnist.test.labels[rows]
    for eps in (0.05, 0.1):
        proof = certificates(certified[head].classifier, to_unit(images), labels, eps, tight=True)
        fallen = evaded(certified[head], images, labels, eps)
        assert proof.stays.float().mean() > 0.2
        assert fallen.any()
        assert not (proof.stays & fallen).any()


def test_a_certificate_covers_none_and_the_right_answer(
    certified: dict[str, Member], mnist: ImageData
) -> None:
    rows = torch.arange(200)
    x, labels = to_unit(mnist.test.images(rows)), mnist.test.labels[rows]
    for member in certified.values():
        answers = member.classifier.decode(member.classifier(x))
        at_zero = certificates(member.classifier, x, labels, 0.0)
        # Without a perturbation the proof is the answer itself, but for images on an edge.
        assert ((answers == labels) != at_zero.stays).sum() <= 1
        assert not (at_zero.stays & (answers != labels)).any()
        assert not (at_zero.never_wrong & (answers != labels) & (answers >= 0)).any()
        for eps in (0.05, 0.15):
            proof = certificates(member.classifier, x, labels, eps)
            assert not (proof.stays & ~proof.never_wrong).any()
            assert not (proof.stays & ~at_zero.stays).any()
            quick = certificates(member.classifier, x, labels, eps, dtype=torch.float32)
            assert (quick.stays != proof.stays).sum() <= 2


@pytest.mark.parametrize(
    ("architecture", "head"),
    [
        ("nn", "linear"),
        ("nn", "ordinal"),
        ("nn", "softmax"),
        ("cnn", "linear"),
        ("alexnet", "softmax"),
    ],
)
def test_every_network_with_interval_bounds_has_certificates(architecture: str, head: str) -> None:
    """Also those that have no linear bounds, which `tight` alone asks for."""
    half = np.full(3, 0.5, np.float32)
    encoding = IntervalEncoding(3, 4, 16)
    classifier = build_classifier(
        architecture=architecture, head=head, task="int", encoding=encoding, num_classes=3,
        input_shape=(3, 28, 28), mean=half, std=half, seed=1, width=0.25,
    ).eval()  # fmt: skip
    x = torch.rand(8, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    answers = classifier.decode(classifier(x))
    labels = answers.clamp(min=0)
    proof = certificates(classifier, x, labels, 0.0)
    assert torch.equal(proof.stays, answers >= 0)
    wide = certificates(classifier, x, labels, 1.0)
    moved = classifier.decode(classifier(1 - x)) != labels
    assert not (wide.stays & moved).any()


def test_a_planted_counterexample_is_never_certified(
    certified: dict[str, Member], mnist: ImageData
) -> None:
    """Two images of different answers, one within eps of the other: neither can stay."""
    rows = torch.arange(100)
    x = to_unit(mnist.test.images(rows))
    for member in certified.values():
        answers = member.classifier.decode(member.classifier(x))
        partner = x.roll(1, 0)
        other = (answers != answers.roll(1)) & (answers >= 0)
        radius = (x - partner).abs().amax((1, 2, 3))
        for near in (0.02, 0.3):  # move every image almost onto its partner
            moved = partner + (x - partner) * (near / radius).view(-1, 1, 1, 1)
            seen = member.classifier.decode(member.classifier(moved))
            proof = certificates(member.classifier, moved, seen.clamp(min=0), near + 1e-6)
            assert not (proof.stays & (seen != answers.roll(1)) & other).any()


@pytest.fixture(scope="module")
def saturated(train: Callable[..., Classifier]) -> Member:
    """An undefended softmax device whose values are so far apart that its scalar is flat."""
    classifier = train("softmax", "standard", steps=60, activation="relu")
    with torch.no_grad():
        classifier.head.linear.weight.mul_(300)
        classifier.head.linear.bias.mul_(300)
    return Member("saturated", classifier)


def test_a_saturated_softmax_head_hides_from_the_paper_and_not_from_the_audit(
    saturated: Member, mnist: ImageData
) -> None:
    rows = torch.arange(60)
    settings = TransferSettings(eps=(0.1, 0.3), steps=10, restarts=1, precision="fp32")
    audit = audit_transfer([saturated], mnist.test.images(rows), mnist.test.labels[rows], settings)
    for eps in settings.eps:
        paper, adaptive = (
            audit.matrix(protocol, eps).cell("saturated", "saturated").outcome.rate("evade")
            for protocol in ("paper", "adaptive")
        )
        assert paper < 0.3
        assert adaptive > 0.95
    verdicts = {(check.id, check.subject): check.verdict for check in audit.checks}
    assert verdicts["M2", "paper"] == "fail"
    assert verdicts["M2", "adaptive"] == "pass"
    assert verdicts["M3", ""] == "warn"
