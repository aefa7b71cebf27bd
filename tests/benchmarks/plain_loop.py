"""The training loop that a user would write: what our family training is measured against.

torchvision's dataset and transforms, a DataLoader, fp32, torch's default threads, one device after
another. Network, loss, schedule and augmentation are the family's own, so that the accuracies can
be compared.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import MNIST

from fleet.assembly import load_images, new_classifier
from fleet.encoding.tensor import encoding_tensors
from fleet.profiles.spec import DeviceSpec, FamilySpec
from fleet.seeding import derive_seed
from fleet.training.batches import Tally, evaluate
from fleet.training.method import batch_loss


@dataclass(frozen=True)
class PlainResult:
    """What the plain loop reached."""

    images: int
    seconds: float
    validation: dict[str, Tally]


def plain_family(spec: FamilySpec, root: str) -> PlainResult:
    """Train every device of ``spec`` the plain way.

    Args:
        spec: The family.
        root: Where torchvision keeps its own, unpacked copy of MNIST.
    """
    images, seconds, validation = 0, 0.0, {}
    for device in spec.devices:
        start = time.perf_counter()
        classifier, count = plain_device(device, spec, root)
        seconds += time.perf_counter() - start
        images += count
        validation[device.name] = evaluate(
            classifier, load_images(spec.data).validation, batch_size=device.training.batch_size
        )
    return PlainResult(images, seconds, validation)


def plain_device(device: DeviceSpec, spec: FamilySpec, root: str) -> tuple[nn.Module, int]:
    """Train one device; returns it and the number of images it was trained on."""
    training, data = device.training, load_images(spec.data)
    transform = transforms.Compose(
        [transforms.RandomCrop(28, padding=training.shift), transforms.ToTensor()]
    )
    dataset = MNIST(root, train=True, transform=transform)
    subset = Subset(dataset, _training_indices(spec, dataset))
    loader = DataLoader(subset, batch_size=training.batch_size, shuffle=True, drop_last=True)
    torch.manual_seed(training.seed)
    classifier = new_classifier(device, spec.data, data.mean, data.std)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=training.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, training.learning_rate, total_steps=training.epochs * len(loader)
    )
    tensors = None if device.encoding is None else encoding_tensors(device.encoding)
    seen = 0
    for _ in range(training.epochs):
        classifier.train()
        for x, y in loader:
            raw = classifier.raw(x)
            loss = batch_loss(
                classifier, raw, y, tensors, loss=training.loss, margin=training.margin
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            seen += len(x)
    return classifier, seen


def _training_indices(spec: FamilySpec, dataset: MNIST) -> list[int]:
    """The family's own training images, so that neither side has seen a validation image."""
    seed = derive_seed(spec.data.split_seed, "validation-split")
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))
    indices = order[spec.data.validation :]
    assert torch.equal(dataset.targets[indices], load_images(spec.data).train.labels)
    return indices.tolist()
