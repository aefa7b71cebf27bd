"""What ``fleet reproduce table1`` and ``table2`` found, beside what the paper printed.

Single networks, and the lines of a table: means and spreads over their seeds. The stored form is
JSON, so that documents are rendered from it. Nothing in this module imports torch.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fleet.audit.core import document, result
from fleet.audit.whitebox.result import MinimumDistance
from fleet.paper.published import ATTACKS, TASKS, Attack, PublishedTable
from fleet.vocabulary import Task

Counted = Literal["flip", "evade"]


@dataclass(frozen=True)
class Spread:
    """One figure over several seeds.

    Attributes:
        mean: Arithmetic mean.
        sd: Standard deviation (n - 1); None for one seed.
        values: One for each seed, in the order of the seeds.
    """

    mean: float
    sd: float | None
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise one or more values."""
        sd = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), sd, tuple(values))

    @property
    def words(self) -> str:
        """The mean, and the standard deviation where there are several seeds."""
        return f"{self.mean:.3f}" if self.sd is None else f"{self.mean:.3f} ± {self.sd:.3f}"


@dataclass(frozen=True)
class CleanFigures:
    """One network on the whole test set, without an attack.

    Attributes:
        n: Test images.
        correct: Decoded as their class by the closed intervals (the paper's text).
        rejected: Decoded as None.
        floor: Correct under Eq. 2 alone, which gives each gap to the class below it.
        nearest: Correct if every output goes to the nearest interval.
    """

    n: int
    correct: int
    rejected: int
    floor: int
    nearest: int


@dataclass(frozen=True)
class Attacked:
    """One attack on one network at one eps.

    Attributes:
        protocol: ``paper`` or ``adaptive``.
        attack: ``fgsm``, ``pgd``, or ``worst`` for the worst case, image by image: of ``paper``
            over these two, of ``adaptive`` over all attacks that were run.
        eps: Linf radius in pixel units.
        outcome: Over the images that the network decodes correctly.
        floor: The same under Eq. 2's floor decoding.
    """

    protocol: result.Protocol
    attack: str
    eps: float
    outcome: result.Outcome
    floor: result.Outcome


@dataclass(frozen=True)
class TableNetwork:
    """One trained network.

    Attributes:
        backbone: ``nn``, ``alexnet``, ``resnet18`` or ``densenet121``.
        task: ``tra``, ``hin`` or ``int``.
        seed: Of its training.
        epochs: Passes over the training set.
        seconds: Time of the training.
        clean: On the whole test set.
        audited: On the attacked images.
        attacked: FGSM and PGD of the paper's protocol, and both protocols' worst cases.
        noise: Under random sign noise, one outcome for each eps.
        distances: How far the minimum-norm attacks had to go.
        failed: Reliability checks that failed.
    """

    backbone: str
    task: Task
    seed: int
    epochs: int
    seconds: float
    clean: CleanFigures
    audited: result.AuditedDevice
    attacked: tuple[Attacked, ...]
    noise: tuple[result.Outcome, ...]
    distances: tuple[MinimumDistance, ...]
    failed: tuple[result.Check, ...]

    def attack(self, protocol: result.Protocol, attack: str, eps: float) -> Attacked:
        """Look up one figure.

        Raises:
            KeyError: There is none.
        """
        return result.pick(self.attacked, protocol=protocol, attack=attack, eps=eps)


@dataclass(frozen=True)
class TableCell:
    """One cell of the paper's table, and what stands beside it; shares over seeds.

    Attributes:
        attack: ``fgsm`` or ``pgd``.
        eps: Linf radius in pixel units.
        published: What the paper printed.
        flip: Our rate of wrong classes under the paper's protocol. Networks that decode no image
            correctly have no rate and are left out; None if no network has one.
        evade: Our rate of wrong classes or None under the paper's protocol, likewise.
        floor: Our rate of wrong classes under the paper's protocol and Eq. 2's floor decoding,
            likewise.
    """

    attack: Attack
    eps: float
    published: float
    flip: Spread | None
    evade: Spread | None
    floor: Spread | None


@dataclass(frozen=True)
class Honest:
    """What an attacker who ascends the right objective achieves at one eps; shares over seeds.

    Attributes:
        eps: Linf radius in pixel units.
        flip: Wrong classes, worst case over the adaptive portfolio; None as in a cell.
        evade: Wrong classes or None.
        noise: Wrong classes or None under random sign noise of the same eps.
    """

    eps: float
    flip: Spread | None
    evade: Spread | None
    noise: Spread | None


@dataclass(frozen=True)
class TableRow:
    """One line of the paper's table.

    Attributes:
        backbone: Network.
        task: Task.
        head: ``linear`` is the paper's INT, ``ordinal`` ours; ``logits`` for TRA and HIN.
        seeds: Of the networks summarised.
        published_clean: The paper's accuracy (LEG).
        clean: Ours, None counted as wrong.
        rejected: Our share of None on clean images.
        clean_floor: Ours under Eq. 2's floor decoding.
        clean_nearest: Ours if every output goes to the nearest interval.
        cells: FGSM, then PGD, by eps.
        honest: By eps.
        masked: Reliability checks that failed under the paper's protocol on any seed.
        unreliable: The same for the adaptive protocol.
    """

    backbone: str
    task: Task
    head: str
    seeds: tuple[int, ...]
    published_clean: float
    clean: Spread
    rejected: Spread
    clean_floor: Spread
    clean_nearest: Spread
    cells: tuple[TableCell, ...]
    honest: tuple[Honest, ...]
    masked: tuple[str, ...]
    unreliable: tuple[str, ...]

    @property
    def words(self) -> str:
        """Task, and the head where it is not the paper's."""
        return f"{self.task.upper()}, ordinal" if self.head == "ordinal" else self.task.upper()


@dataclass(frozen=True)
class Table(document.Stored, schema="fleet.reproduction.table/2"):
    """A whole table.

    Attributes:
        number: 1 or 2.
        title: With the data that were really used.
        created: ISO 8601 UTC time.
        same_data: Whether these are the paper's images at its resolution.
        eps: Linf radii in pixel units.
        images: Test images attacked.
        networks: All of them.
        rows: Networks of one backbone, task and head together, in the paper's order.
        settings: Of the attacks.
        provenance: Data, profiles, versions and machine, by backbone.

    Raises:
        ValueError: A row speaks of networks that are not there.
    """

    number: int
    title: str
    created: str
    same_data: bool
    eps: tuple[float, ...]
    images: int
    networks: tuple[TableNetwork, ...]
    rows: tuple[TableRow, ...]
    settings: dict[str, Any]
    provenance: dict[str, Any]

    def __post_init__(self) -> None:
        there = sorted((n.backbone, n.task, n.audited.head, n.seed) for n in self.networks)
        told = sorted((r.backbone, r.task, r.head, seed) for r in self.rows for seed in r.seeds)
        if there != told or not there or len(set(there)) != len(there):
            raise ValueError("the rows are not those of the networks")

    def row(self, backbone: str, task: Task) -> TableRow:
        """Look up one line; of several heads the paper's.

        Raises:
            KeyError: There is none.
        """
        for row in self.rows:
            if (row.backbone, row.task) == (backbone, task):
                return row
        raise KeyError((backbone, task))

    def pairs(self) -> Iterator[tuple[TableRow, TableRow]]:
        """TRA beside each INT of each backbone: the paper's head, and ours where there is one."""
        for row in self.rows:
            if row.task == "int":
                yield self.row(row.backbone, "tra"), row


def summarise(networks: Sequence[TableNetwork], published: PublishedTable) -> tuple[TableRow, ...]:
    """Put the seeds of each backbone, task and head together, in the paper's order.

    Args:
        networks: All networks, each with figures at every eps of the table.
        published: What the paper printed.
    """
    backbones = dict.fromkeys(network.backbone for network in networks)
    rows = []
    for backbone in backbones:
        for task in TASKS:
            group = [n for n in networks if (n.backbone, n.task) == (backbone, task)]
            for head in sorted({n.audited.head for n in group}):  # linear, then ordinal
                same = [n for n in group if n.audited.head == head]
                rows.append(_row(sorted(same, key=lambda n: n.seed), published))
    return tuple(rows)


def _row(group: list[TableNetwork], published: PublishedTable) -> TableRow:
    first = group[0]
    printed = published.rows[first.backbone, first.task]
    return TableRow(
        backbone=first.backbone,
        task=first.task,
        head=first.audited.head,
        seeds=tuple(network.seed for network in group),
        published_clean=printed.clean,
        clean=Spread.of([n.clean.correct / n.clean.n for n in group]),
        rejected=Spread.of([n.clean.rejected / n.clean.n for n in group]),
        clean_floor=Spread.of([n.clean.floor / n.clean.n for n in group]),
        clean_nearest=Spread.of([n.clean.nearest / n.clean.n for n in group]),
        cells=tuple(
            TableCell(
                attack=attack,
                eps=eps,
                published=(printed.fgsm if attack == "fgsm" else printed.pgd)[level],
                flip=_spread(group, "paper", attack, eps, "flip"),
                evade=_spread(group, "paper", attack, eps, "evade"),
                floor=_mean([n.attack("paper", attack, eps).floor for n in group], "flip"),
            )
            for attack in ATTACKS
            for level, eps in enumerate(published.eps)
        ),
        honest=tuple(
            Honest(
                eps=eps,
                flip=_spread(group, "adaptive", "worst", eps, "flip"),
                evade=_spread(group, "adaptive", "worst", eps, "evade"),
                noise=_mean([n.noise[level] for n in group], "evade"),
            )
            for level, eps in enumerate(published.eps)
        ),
        masked=_failed(group, "paper"),
        unreliable=_failed(group, "adaptive"),
    )


def _spread(
    group: Sequence[TableNetwork], protocol: result.Protocol, attack: str, eps: float, kind: Counted
) -> Spread | None:
    return _mean([network.attack(protocol, attack, eps).outcome for network in group], kind)


def _mean(outcomes: Sequence[result.Outcome], kind: Counted) -> Spread | None:
    """Over the networks that decode some image correctly; None if there are none."""
    rates = [rate for outcome in outcomes if (rate := outcome.rate(kind)) is not None]
    return Spread.of(rates) if rates else None


def _failed(group: Sequence[TableNetwork], protocol: result.Protocol) -> tuple[str, ...]:
    """Ids of the checks that failed on any seed, in order."""
    found = [c.id for network in group for c in network.failed if c.about(protocol)]
    return tuple(sorted(set(found), key=_order))


def _order(id: str) -> tuple[str, int]:
    letters = id.rstrip("0123456789")
    return letters, int(id[len(letters) :] or 0)


def distance_words(table: Table) -> Iterator[str]:
    """For each minimum-norm attack, how often and how far away it found an image that evades."""
    for attack in dict.fromkeys(d.attack for n in table.networks for d in n.distances):
        parts = []
        for task in ("int", "tra"):
            rows = [
                (network.backbone + (" ordinal" if network.audited.head == "ordinal" else ""), d)
                for network in table.networks
                if network.task == task
                for d in network.distances
                if d.attack == attack
            ]
            if rows:
                found, n = sum(d.found for _, d in rows), sum(d.n for _, d in rows)
                medians = [f"{name} {d.quantiles[1]:.3g}" for name, d in rows if d.quantiles]
                norm = f"median {rows[0][1].norm} distance"
                parts.append(f"{task.upper()} {found} of {n}, {norm} {', '.join(medians)}")
        yield f"{attack}: {'; '.join(parts)}"
