"""What the first layers of a network change: what ``fleet reproduce stems`` found.

Nothing in this module imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fleet.audit.core.stored import Stored
from fleet.vocabulary import Task

SCHEMA = "fleet.reproduction.stems/1"


@dataclass(frozen=True)
class StemNetwork:
    """One network.

    Attributes:
        task: Task.
        stem: ``imagenet`` shrinks early and is Table 1's; ``cifar`` does not.
        epochs: Passes over the training images.
        seconds: Of its training, one core.
        n: Test images.
        correct: Of them decoded correctly.
        rejected: Of them decoded as None.
    """

    task: Task
    stem: str
    epochs: int
    seconds: float
    n: int
    correct: int
    rejected: int


@dataclass(frozen=True)
class Stems(Stored, schema=SCHEMA):
    """The same networks with and without a stem that shrinks early; none is attacked.

    Attributes:
        title: Networks and data.
        created: ISO 8601 UTC time.
        training_images: Of each network.
        networks: By task, Table 1's stem first.
        provenance: Data, profile, versions and machine.
    """

    title: str
    created: str
    training_images: int
    networks: tuple[StemNetwork, ...]
    provenance: dict[str, Any]
