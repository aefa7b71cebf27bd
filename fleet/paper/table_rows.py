"""From single networks to the lines of a table: means and spreads over the seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fleet.audit.core.result import Outcome, Protocol
from fleet.paper.published import ATTACKS, TASKS, PublishedTable
from fleet.paper.table_result import Honest, Spread, TableCell, TableNetwork, TableRow


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
                flip=_spread(group, "paper", attack, eps, _flip),
                evade=_spread(group, "paper", attack, eps, _evade),
                floor=Spread.of([_flip(n.attack("paper", attack, eps).floor) for n in group]),
            )
            for attack in ATTACKS
            for level, eps in enumerate(published.eps)
        ),
        honest=tuple(
            Honest(
                eps=eps,
                flip=_spread(group, "adaptive", "worst", eps, _flip),
                evade=_spread(group, "adaptive", "worst", eps, _evade),
                noise=Spread.of([_evade(n.noise[level]) for n in group]),
            )
            for level, eps in enumerate(published.eps)
        ),
        masked=_failed(group, "paper"),
        unreliable=_failed(group, "adaptive"),
    )


def _spread(
    group: Sequence[TableNetwork],
    protocol: Protocol,
    attack: str,
    eps: float,
    rate: Callable[[Outcome], float],
) -> Spread:
    return Spread.of([rate(network.attack(protocol, attack, eps).outcome) for network in group])


def _flip(outcome: Outcome) -> float:
    """Share decoded as a wrong class; 0 where nothing was correct, and nothing could flip."""
    return outcome.rate("flip") or 0.0


def _evade(outcome: Outcome) -> float:
    return outcome.rate("evade") or 0.0


def _failed(group: Sequence[TableNetwork], protocol: Protocol) -> tuple[str, ...]:
    """Ids of the checks that failed on any seed, in order."""
    found = [c.id for network in group for c in network.failed if c.about(protocol)]
    return tuple(sorted(set(found), key=_order))


def _order(id: str) -> tuple[str, int]:
    letters = id.rstrip("0123456789")
    return letters, int(id[len(letters) :] or 0)
