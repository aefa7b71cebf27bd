"""Certificates hold against every attack that we have, and say something."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from fleet.attacks import SampleKeys, attackable, quantise
from fleet.audit.members import Member, TransferSettings
from fleet.audit.transfer import audit_transfer
from fleet.bounds.certify import certificates
from fleet.data import ImageData, to_unit
from fleet.models import Classifier

HEADS = ["softmax", "ordinal"]


def evaded(member: Member, images: torch.Tensor, labels: torch.Tensor, eps: float) -> torch.Tensor:
    """Whether any attack of the whole portfolio changes the answer, bool (N,)."""
    settings = TransferSettings(eps=(eps,), steps=30, restarts=2, targets="all", precision="fp32")
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
    rows = torch.arange(200)
    images, labels = mnist.test.images(rows), mnist.test.labels[rows]
    for eps in (0.05, 0.1):
        proof = certificates(certified[head].classifier, to_unit(images), labels, eps)
        fallen = evaded(certified[head], images, labels, eps)
        assert proof.stays.float().mean() > 0.2
        assert fallen.any()
        assert not (proof.stays & fallen).any()


