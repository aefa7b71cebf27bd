"""Tables with known rates, for tests."""

from collections.abc import Mapping
from dataclasses import replace

from fleet.audit.core.result import AuditedDevice, Check, Outcome
from fleet.audit.whitebox.result import MinimumDistance
from fleet.paper.published import TABLE1, TABLES
from fleet.paper.table_result import Attacked, CleanFigures, Table, TableNetwork, summarise
from fleet.vocabulary import Task

IMAGES = 100


def network(
    backbone: str = "nn",
    task: Task = "int",
    seed: int = 0,
    *,
    correct: int = 100,
    clean: int = 990,
    paper: int = 1,
    adaptive: int = 90,
    reject: int = 5,
    noise: int = 2,
    found: int = 64,
    failed: tuple[Check, ...] = (),
    number: int = 1,
    head: str | None = None,
) -> TableNetwork:
    """One network with the same counts at every eps; ``reject`` comes on top of ``adaptive``."""
    eps = TABLES[number].eps
    attacked = [
        Attacked("paper", name, level, Outcome(correct, paper, 1), Outcome(correct, paper + 1, 0))
        for name in ("fgsm", "pgd", "worst")
        for level in eps
    ]
    worst = Outcome(correct, adaptive, reject)
    attacked += [Attacked("adaptive", "worst", level, worst, worst) for level in eps]
    distances = tuple(
        MinimumDistance(f"{task}-{seed}", name, "l2", 64, found, (0.5, 1.0, 2.0) if found else None)
        for name in ("cw-l2", "ead-l1", "deepfool-l2")
    )
    return TableNetwork(
        backbone=backbone,
        task=task,
        seed=seed,
        epochs=4,
        seconds=60.0,
        clean=CleanFigures(1000, clean, 3, clean + 1, clean + 2),
        audited=AuditedDevice(
            f"{task}-{seed}",
            task,
            backbone,
            head or ("linear" if task == "int" else "logits"),
            None,
            "00",
            IMAGES,
            correct,
            0,
        ),
        attacked=tuple(attacked),
        noise=tuple(Outcome(correct, noise, 0) for _ in eps),
        distances=distances,
        failed=failed,
    )


def dead(seed: int = 0) -> TableNetwork:
    """An INT network that decodes no image correctly."""
    alive, nothing = network(seed=seed, clean=0), Outcome(0, 0, 0)
    attacked = [replace(figure, outcome=nothing, floor=nothing) for figure in alive.attacked]
    return replace(alive, attacked=tuple(attacked), noise=(nothing,) * len(alive.noise))


def table(networks: list[TableNetwork], number: int = 1, title: str = "Table 1: MNIST") -> Table:
    """A table of these networks."""
    return Table(
        number=number,
        title=title,
        created="2026-01-01T00:00:00+00:00",
        same_data=True,
        eps=TABLES[number].eps,
        images=IMAGES,
        networks=tuple(networks),
        rows=summarise(networks, TABLES[number]),
        settings={"steps": 20, "restarts": 1, "seed": 0},
        provenance={},
    )


def tasks(evade: Mapping[Task, tuple[int, int]], *, paper: Mapping[Task, int]) -> Table:
    """Table 1 with two seeds of each task on every backbone, at these adaptive flips."""
    backbones = dict.fromkeys(backbone for backbone, _ in TABLE1.rows)
    return table(
        [
            network(backbone, task, seed, adaptive=flips[seed], reject=0, paper=paper[task])
            for backbone in backbones
            for task, flips in evade.items()
            for seed in (0, 1)
        ]
    )
