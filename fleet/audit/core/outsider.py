"""Attackers without the device: what they train from a device's answers, and networks of their own.

Kerckhoffs: they know the architecture, have images from the training distribution, and know how
encodings are drawn, but neither the device's encoding nor any weights.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fleet.assembly import load_images
from fleet.attacks import at_once, attackable
from fleet.audit.core.members import Member
from fleet.data import to_unit
from fleet.encoding import REJECTED, IntervalEncoding
from fleet.encoding.tensor import encoding_tensors, scaled_interval_loss
from fleet.errors import AuditError
from fleet.models import Classifier, build_classifier
from fleet.profiles.spec import DataSpec, DeviceSpec
from fleet.seeding import derive_seed
from fleet.vocabulary import HeadName, Task

MARGIN = 0.4
"""Inner margin of an own network's intervals, as a share of beta: the trainer's default."""

Build = Callable[[Task, HeadName, IntervalEncoding | None, int], Classifier]
"""Makes an untrained network from a task, a head, an encoding and a seed."""


@dataclass(frozen=True)
class Recipe:
    """How an attacker trains.

    Attributes:
        passes: Passes over their images.
        batch_size: Images in a step; at most half of them.
        learning_rate: Peak of Adam's one-cycle.
    """

    passes: int
    batch_size: int
    learning_rate: float = 0.006


ANSWERS = Recipe(passes=20, batch_size=32)
"""For hundreds of answers. Twice the passes raise the agreement by no more than a point at 1,000
queries, for twice the time."""

OWN = Recipe(passes=3, batch_size=64)
"""For thousands of true labels."""


@dataclass(frozen=True, eq=False)
class Attacker:
    """What an attacker brings.

    Attributes:
        images: Own images, none of them attacked or audited, uint8 (M, C, H, W).
        labels: Their classes, int64 (M,).
        build: Networks of the victim's architecture.
    """

    images: Tensor
    labels: Tensor
    build: Build


def imitate(victim: Member, attacker: Attacker, queries: int, seed: int) -> Classifier:
    """Train a surrogate on the classes that a victim answers to images of the attacker's.

    Images answered with None are paid for and not used. A surrogate with logits on the classes
    imitates better than a ``linear`` one by regression on the scalar: with 1,000 queries to the
    demo devices it agrees with 94 % of held-out answers against 81 %, and transfers as well.

    Args:
        victim: Asked in fp32; left exactly as it was.
        attacker: Images are taken in the order of :func:`draw`.
        queries: Images asked about, at least one for each class.
        seed: Of the images, weights and batches.

    Raises:
        AuditError: There are too few queries or images, or the victim tells nothing usable.
    """
    images = attacker.images[draw(attacker, queries, seed)]
    decoded = ask(victim, images)
    told = decoded != REJECTED
    if int(told.sum()) < 2:
        raise AuditError(
            f"{victim.name} answers None to nearly all of {queries} images",
            hint="nothing can be learnt from that; ask about more images",
        )
    key = derive_seed(seed, "imitate", victim.name, queries)
    surrogate = attacker.build("tra", "logits", None, key)
    return fit(surrogate, images[told], cross_entropy(decoded[told]), ANSWERS, key)


def own_network(
    attacker: Attacker, encoding: IntervalEncoding | None, count: int, seed: int
) -> Classifier:
    """Train a network of the attacker's own on true labels: what one without any device has (T0).

    Args:
        attacker: Images are taken in the order of :func:`draw`.
        encoding: Intervals of a ``linear`` head; None for cross-entropy on logits.
        count: Images to train on; all that there are if there are fewer.
        seed: Of the images, weights and batches.
    """
    rows = draw(attacker, min(count, len(attacker.images)), seed)
    images, labels = attacker.images[rows], attacker.labels[rows]
    if encoding is None:
        return fit(
            attacker.build("tra", "logits", None, seed), images, cross_entropy(labels), OWN, seed
        )
    classifier = attacker.build("int", "linear", encoding, seed)
    return fit(classifier, images, _intervals(classifier, labels, encoding), OWN, seed)


def draw(attacker: Attacker, count: int, seed: int) -> Tensor:
    """Choose images in a seeded order that goes round the classes.

    The first ones are the same for every ``count``, so a larger budget repeats no question.

    Returns:
        Rows of the attacker's images, int64 (count,).

    Raises:
        AuditError: There are fewer images, or fewer than one for each class is asked for.
    """
    classes = attacker.labels.unique()
    if not len(classes) <= count <= len(attacker.images):
        raise AuditError(
            f"{count} queries with {len(attacker.images)} own images of {len(classes)} classes",
            hint="ask at least once for each class, and no more often than there are images",
        )
    generator = torch.Generator().manual_seed(derive_seed(seed, "own images"))
    order = torch.randperm(len(attacker.images), generator=generator)
    labels = attacker.labels[order]
    turn = torch.zeros_like(order)
    for label in classes:
        of_class = labels == label
        turn[of_class] = torch.arange(int(of_class.sum()))
    return order[turn.argsort(stable=True)][:count]


_ASKED = 500
"""Images asked about at once."""


def ask(victim: Member, images: Tensor) -> Tensor:
    """Query a device in fp32.

    Args:
        victim: Left exactly as it was.
        images: uint8 (B, C, H, W).

    Returns:
        Classes, int64 (B,), -1 for None, on the CPU.
    """
    device = victim.classifier.mean.device
    decoded = []
    with attackable(victim.classifier), torch.no_grad():
        for part in images.split(at_once(_ASKED, images)):
            unit = to_unit(part.to(device)).contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, enabled=False):
                decoded.append(victim.classifier.decode(victim.classifier(unit)).cpu())
    return torch.cat(decoded)


Loss = Callable[[Tensor, Tensor], Tensor]
"""Raw head values of a batch and its rows among the training images, to the mean loss."""


def fit(
    classifier: Classifier, images: Tensor, loss: Loss, recipe: Recipe, seed: int
) -> Classifier:
    """Train a network; the same arguments give the same weights.

    Args:
        classifier: Trained in place.
        images: uint8 (B, C, H, W), 2 or more.
        loss: What to minimise.
        recipe: How.
        seed: Of the batches and of dropout.

    Returns:
        The classifier, in eval mode.
    """
    size = max(2, min(recipe.batch_size, len(images) // 2))
    steps = recipe.passes * (len(images) // size)
    optimizer = torch.optim.Adam(classifier.parameters(), recipe.learning_rate)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=max(steps, 2)
    )
    classifier.to(memory_format=torch.channels_last)
    classifier.train()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.default_generator.manual_seed(seed)
        for _ in range(recipe.passes):
            # A batch of one has no variance, which BatchNorm needs: the rest is left out.
            for rows in torch.randperm(len(images))[: len(images) // size * size].split(size):
                unit = to_unit(images[rows]).contiguous(memory_format=torch.channels_last)
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    raw = classifier.raw(unit)
                optimizer.zero_grad(set_to_none=True)
                loss(raw, rows).backward()
                optimizer.step()
                rate.step()
    return classifier.eval().requires_grad_(False)


def cross_entropy(targets: Tensor) -> Loss:
    """Cross-entropy against classes, int64 (B,), or probabilities, float32 (B, K)."""
    return lambda raw, rows: functional.cross_entropy(raw, targets[rows])


def _intervals(classifier: Classifier, labels: Tensor, encoding: IntervalEncoding) -> Loss:
    """Eq. 3 in slot units."""
    tensors = encoding_tensors(encoding)
    return lambda raw, rows: scaled_interval_loss(
        classifier.outputs(raw), labels[rows], tensors, MARGIN
    ).mean()


OWN_IMAGES = 12_000
"""Images of the training split that an attacker has; more than any budget needs."""


def attacker_key(device: DeviceSpec, data: DataSpec) -> list[Any]:
    """All that determines :func:`attacker_of` and what is trained with it, beside the seed."""
    images = load_images(data).provenance["sha256"]
    return [images, asdict(device.model), OWN_IMAGES, asdict(ANSWERS), asdict(OWN)]


def attacker_of(device: DeviceSpec, data: DataSpec, seed: int) -> Attacker:
    """What is public about a device: its architecture, and images like those it was trained on.

    Args:
        device: Its weights and its encoding are not looked at.
        data: Where the images are.
        seed: Chooses the attacker's images from the training split.
    """
    images = load_images(data)
    generator = torch.Generator().manual_seed(derive_seed(seed, "attacker"))
    rows = torch.randperm(len(images.train), generator=generator)[:OWN_IMAGES].sort().values

    def build(
        task: Task, head: HeadName, encoding: IntervalEncoding | None, key: int
    ) -> Classifier:
        return build_classifier(
            **{**vars(device.model), "head": head},
            task=task,
            encoding=encoding,
            num_classes=data.num_classes,
            input_shape=(data.channels, data.image_size, data.image_size),
            mean=images.mean,
            std=images.std,
            seed=key,
        )

    return Attacker(images.train.images(rows), images.train.labels[rows], build)
