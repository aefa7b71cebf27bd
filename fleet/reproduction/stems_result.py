"""What the first layers of a network change: what ``fleet reproduce stems`` found.

Nothing in this module imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fleet.audit.result import Outcome
from fleet.audit.stored import Stored
from fleet.reproduction.published import Task
from fleet.reproduction.table_result import CleanFigures

SCHEMA = "fleet.reproduction.stems/1"


@dataclass(frozen=True)
class StemNetwork:
    """One network.

    Attributes:
        architecture: ``resnet18``.
        stem: ``imagenet`` shrinks early and is Table 1's; ``cifar`` does not.
        task: Task.
        head: Head.
        seconds: Of its training, one core.
        clean: On the test images of the profile.
        paper: Under the paper's protocol, the worst case over FGSM and PGD.
        adaptive: Under the adaptive protocol, the worst case over all attacks.
        noise: Under random signs of the same eps.
        failed: Names of the adaptive protocol's reliability checks that failed.
    """

    architecture: str
    stem: str
    task: Task
    head: str
    seconds: int
    clean: CleanFigures
    paper: Outcome
    adaptive: Outcome
    noise: Outcome
    failed: tuple[str, ...]


@dataclass(frozen=True)
class Stems(Stored, schema=SCHEMA):
    """The same networks with and without a stem that shrinks early.

    Attributes:
        title: Networks and data.
        created: ISO 8601 UTC time.
        images: Test images attacked.
        eps: Linf radius in pixel units.
        training_images: Of each network.
        epochs: Of each network.
        networks: By architecture, then by task, Table 1's stem first.
        settings: Of the attacks.
        provenance: Data, profile, versions and machine.
    """

    title: str
    created: str
    images: int
    eps: float
    training_images: int
    epochs: int
    networks: tuple[StemNetwork, ...]
    settings: dict[str, Any]
    provenance: dict[str, Any]
