"""Audit a network that knows nothing of fleet, and leave it exactly as it was.

The network is plain torch with one output: convolutions, a BatchNorm that is kept frozen, dropout,
in training mode. It is trained for a few seconds to put the digits 0, 1 and 2 into three intervals.

    python examples/any_module.py
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

import fleet
from fleet.data import Split, load_data, to_unit
from fleet.models import Classifier

DATA = Path(__file__).resolve().parent / "data"
ENCODING = fleet.IntervalEncoding(3, alpha=1, beta=4)
EPS = (4 / 255, 16 / 255)


def main() -> None:
    data = load_data("mnist", DATA, channels=1, image_size=28, num_classes=10, validation=5000)
    module = train(*first_digits(data.train, 2000))
    images, labels = first_digits(data.test, 150)
    before = state(module)

    classifier = Classifier.from_module(module, ENCODING, input_shape=(1, 28, 28))
    settings = fleet.TransferSettings(eps=EPS, steps=10, restarts=1)
    audit = fleet.audit_transfer([fleet.Member("mine", classifier)], images, labels, settings)

    print(f"clean accuracy {audit.devices[0].clean_accuracy:.3f}")
    for eps in EPS:
        outcome = audit.matrix("adaptive", eps).cell("mine", "mine").outcome
        rates = ", ".join(
            f"{kind} {outcome.rate(kind):.3f}" for kind in ("flip", "reject", "evade")
        )
        print(f"eps {eps * 255:.0f}/255: {rates} of {outcome.n}")
    print(f"left as it was: {'yes' if state(module) == before else 'no'}")


def train(images: Tensor, labels: Tensor) -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2),
        nn.Flatten(), nn.Linear(8 * 12 * 12, 32), nn.ReLU(), nn.Linear(32, 1),
    )  # fmt: skip
    module[1].eval()  # frozen, as in fine-tuning; the rest stays in training mode
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    centers = torch.tensor([ENCODING.center(y) for y in range(3)])
    for _ in range(8):
        for rows in torch.randperm(len(images)).split(100):
            outputs = module(to_unit(images[rows]))[:, 0]
            loss = (outputs - centers[labels[rows]]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return module


def first_digits(split: Split, count: int) -> tuple[Tensor, Tensor]:
    rows = (split.labels < 3).nonzero().flatten()[:count]
    return split.images(rows), split.labels[rows]


def state(module: nn.Module) -> list[object]:
    modes = [part.training for part in module.modules()]
    flags = [parameter.requires_grad for parameter in module.parameters()]
    values = {name: value.tolist() for name, value in module.state_dict().items()}
    return [modes, flags, values]


if __name__ == "__main__":
    main()
