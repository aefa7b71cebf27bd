"""Audit a network of your own: any torch module with one output, and an encoding.

The two models here are linear and tell the digits 0, 1 and 2 apart, poorly. They serve because the
best attack on them is known: every pixel moves by eps along the sign of its weight, as far as
[0, 1] allows. The script prints that exact rate beside what the audit finds. The paper's loss is
flat inside an interval, so its protocol sees little; the reliability checks say so, and need no
exact rate for it.

    python examples/audit_your_own_model.py
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

import fleet
from fleet.data import Split, load_data, to_unit
from fleet.models import Classifier

DATA = Path(__file__).resolve().parent / "data"
LEVELS = 8  # of 255
ENCODINGS = {
    "door": fleet.IntervalEncoding(3, alpha=1, beta=4),
    "gate": fleet.IntervalEncoding(3, alpha=1, beta=4, order=(1, 0, 2)),
}


def main() -> None:
    data = load_data("mnist", DATA, channels=1, image_size=28, num_classes=10, validation=5000)
    images, labels = first_digits(data.test, 300)
    members = []
    for name, encoding in ENCODINGS.items():
        model = linear_model(*first_digits(data.train, 6000), encoding)
        classifier = Classifier.from_module(model, encoding, input_shape=(1, 28, 28))
        members.append(fleet.Member(name, classifier))
        print(f"{name}: the best attack evades {best_evade(classifier, images, labels):.3f}")

    settings = fleet.TransferSettings(eps=(LEVELS / 255,), steps=10)
    audit = fleet.audit_transfer(members, images, labels, settings)
    for protocol in ("adaptive", "paper"):
        for cell in audit.matrix(protocol, LEVELS / 255).cells:
            rate, n = cell.outcome.rate("evade"), cell.outcome.n
            print(f"{protocol}: {cell.surrogate} -> {cell.victim} evade {rate:.3f} of {n}")
    for check in audit.checks:
        if check.verdict != "pass":
            print(f"{check.verdict}: {check.id} {check.subject or 'both'}: {check.finding}")


def first_digits(split: Split, count: int) -> tuple[Tensor, Tensor]:
    rows = (split.labels < 3).nonzero().flatten()[:count]
    return split.images(rows), split.labels[rows]


def linear_model(images: Tensor, labels: Tensor, encoding: fleet.IntervalEncoding) -> nn.Module:
    """Fit o = w . x + b to the centres of the intervals, by ridge regression."""
    x = torch.cat([to_unit(images).flatten(1), torch.ones(len(images), 1)], 1)
    centers = torch.tensor([encoding.center(y) for y in labels.tolist()])
    solution = torch.linalg.solve(x.T @ x + 60 * torch.eye(x.shape[1]), x.T @ centers)
    linear = nn.Linear(len(solution) - 1, 1)
    linear.load_state_dict({"weight": solution[None, :-1], "bias": solution[-1:]})
    return nn.Sequential(nn.Flatten(), linear)


def best_evade(classifier: Classifier, images: Tensor, labels: Tensor) -> float:
    """Share of the originally correct images that leave their interval upwards or downwards."""
    rising = next(classifier.parameters()).reshape(1, 1, 28, 28) > 0
    low, high = (images.int() - LEVELS).clamp(min=0), (images.int() + LEVELS).clamp(max=255)
    ways = (images, torch.where(rising, high, low), torch.where(rising, low, high))
    clean, up, down = (classifier.decode(classifier(x / 255)) == labels for x in ways)
    return 1 - float((clean & up & down).sum() / clean.sum())


if __name__ == "__main__":
    main()
