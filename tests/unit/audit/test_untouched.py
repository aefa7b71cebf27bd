"""After an audit a network is, bit by bit and flag by flag, what it was before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fleet.audit.core.members import Member, TransferSettings
from fleet.audit.transfer.audit import audit_transfer
from fleet.audit.whitebox.audit import audit_whitebox
from fleet.encoding import IntervalEncoding
from fleet.models import Classifier


def network() -> nn.Module:
    """Convolution, BatchNorm and dropout; outputs near 25, the middle of slot 1, [20, 30].

    One part trains and one does not, one weight is frozen, one has a gradient, one lies
    channels-last in memory.
    """
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5),
        nn.Linear(16, 1),
    )  # fmt: skip
    net[5].weight.data *= 0.1
    net[5].bias.data.fill_(25.0)
    net.train()
    net[1].eval()
    net[0].weight.requires_grad_(False)
    net[0].weight.data = net[0].weight.data.contiguous(memory_format=torch.channels_last)
    net[5].weight.grad = torch.ones_like(net[5].weight)
    return net


def snapshot(module: nn.Module) -> dict[str, Any]:
    """Everything that an audit could leave behind."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {
        "modes": {name: part.training for name, part in module.named_modules()},
        "classes": {name: type(part) for name, part in module.named_modules()},
        "attributes": {name: sorted(vars(part)) for name, part in module.named_modules()},
        "hooks": {
            name: (
                len(part._forward_hooks),
                len(part._forward_pre_hooks),
                len(part._backward_hooks),
            )
            for name, part in module.named_modules()
        },
        "flags": {name: value.requires_grad for name, value in tensors.items()},
        "grads": {
            name: None if value.grad is None else value.grad.tolist()
            for name, value in module.named_parameters()
        },
        "values": {name: value.detach().clone().tolist() for name, value in tensors.items()},
        "storage": {name: (value.data_ptr(), value.stride()) for name, value in tensors.items()},
    }


def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(100, 156, (6, 2, 3, 3), generator=generator).to(torch.uint8)
    return pixels, torch.ones(6).long()


@pytest.mark.parametrize(
    ("audit", "norm"), [(audit_transfer, "linf"), (audit_transfer, "l2"), (audit_whitebox, "linf")]
)
def test_a_device_is_exactly_as_it_was(audit: Any, norm: Any) -> None:
    settings = TransferSettings((0.2,), steps=2, restarts=1, norm=norm)
    members = [device("a"), device("b")] if audit is audit_transfer else [device("a")]
    before = [snapshot(member.classifier) for member in members]
    state = torch.get_rng_state()
    found = audit(members, *images(), settings)
    assert [snapshot(member.classifier) for member in members] == before
    assert torch.equal(torch.get_rng_state(), state), "nor does it draw from the caller's numbers"
    assert found.devices[0].correct == 6


def test_a_device_in_training_mode_is_audited_in_eval_mode() -> None:
    settings = TransferSettings((0.2,), steps=2, restarts=1)
    training, evaluating = device("a"), device("a")
    evaluating.classifier.eval()
    found = audit_transfer([training], *images(), settings)
    assert replace(audit_transfer([evaluating], *images(), settings), created="") == replace(
        found, created=""
    )
    assert "M11" not in {check.id for check in found.checks if check.verdict == "fail"}


def device(name: str) -> Member:
    encoding = IntervalEncoding(3, alpha=10.0, beta=10.0)
    return Member(name, Classifier.from_module(network(), encoding, (2, 3, 3)))


class Broken(nn.Module):
    """Gives an error in the middle of an attack, once the image is far enough."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: Tensor) -> Tensor:
        if (x.amax() - 155 / 255) > 0.1:
            raise RuntimeError("out of reach")
        return self.inner(x)


def test_an_audit_that_fails_midway_restores_the_device_too() -> None:
    encoding = IntervalEncoding(3, alpha=10.0, beta=10.0)
    classifier = Classifier.from_module(Broken(), encoding, (2, 3, 3))
    before = snapshot(classifier)
    with pytest.raises(RuntimeError, match="out of reach"):
        audit_transfer([Member("a", classifier)], *images(), TransferSettings((0.2,), steps=2))
    assert snapshot(classifier) == before
