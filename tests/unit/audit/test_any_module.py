"""Any torch module with one output can be audited, and comes out as it went in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fleet.audit.core.members import Member, TransferSettings
from fleet.audit.transfer.audit import audit_transfer
from fleet.encoding import IntervalEncoding
from fleet.errors import AuditError
from fleet.models import Classifier

ENCODING = IntervalEncoding(4, alpha=1, beta=3)
SETTINGS = TransferSettings(eps=(8 / 255,), steps=3, restarts=1, noise_draws=1, batch_size=7)


class Flat(nn.Module):
    """Gives (B,)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5)
        )
        self.last = nn.Linear(4 * 36, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x).flatten(1)).squeeze(1) * 3 + 6


def column(channels: int) -> nn.Module:
    """Gives (B, 1)."""
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.Tanh(), nn.Linear(8, 1))


def odd(channels: int) -> nn.Module:
    """In training mode, with a BatchNorm in eval mode and a weight that takes no gradient."""
    module = Flat(channels).train()
    module.body[1].eval()
    module.last.weight.requires_grad_(False)
    return module


def state(module: nn.Module) -> list[object]:
    return [
        [part.training for part in module.modules()],
        ["forward" in vars(part) for part in module.modules()],
        [(p.requires_grad, p.data_ptr(), p.stride(), p.grad) for p in module.parameters()],
        {name: value.tolist() for name, value in module.state_dict().items()},
    ]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("make", [Flat, column, odd], ids=["flat", "column", "odd"])
def test_a_plain_module_is_audited_and_left_as_it_was(
    make: Callable[[int], nn.Module], channels: int, light_probes: Callable[..., Any]
) -> None:
    torch.manual_seed(0)
    module = make(channels)
    images = torch.randint(0, 256, (12, channels, 8, 8), dtype=torch.uint8)
    module(images / 255)  # a lazy layer learns its size
    classifier = Classifier.from_module(module, ENCODING, (channels, 8, 8))
    with torch.no_grad():
        kept = module.training
        decided = classifier.eval().decode(classifier(images / 255)).clamp(min=0)
    module.train(kept)
    if make is odd:
        module.body[1].eval()
    before = state(module)
    with light_probes():
        audit = audit_transfer([Member("mine", classifier)], images, decided, SETTINGS)
    assert state(module) == before
    device = audit.devices[0]
    assert device.images == 12
    # Decided in eval mode: with dropout on, this would not come out.
    assert device.correct + device.rejected == 12
    cell = audit.matrix("adaptive", 8 / 255).cell("mine", "mine")
    assert cell.outcome.n == device.correct


def test_a_module_with_two_outputs_is_refused() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    classifier = Classifier.from_module(module, ENCODING, (1, 8, 8))
    images, labels = torch.rand(3, 1, 8, 8), torch.zeros(3).long()
    with pytest.raises(AuditError, match=r"gives shape \(3, 2\)"):
        audit_transfer([Member("mine", classifier)], images, labels, SETTINGS)
