"""What the paper printed (Han, Li and Chen 2021): Tables 1 and 2.

Attack success rates are shares of the images that the network classifies correctly without an
attack; the paper does not say whether its 'None' counts as a success.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fleet.vocabulary import Task

Attack = Literal["fgsm", "pgd"]

TASKS: tuple[Task, ...] = ("tra", "hin", "int")
"""In the order of the paper's tables."""

ATTACKS: tuple[Attack, ...] = ("fgsm", "pgd")


@dataclass(frozen=True)
class PublishedRow:
    """One line of a table.

    Attributes:
        fgsm: Success rate of FGSM at each of the table's eps, ascending.
        pgd: The same of PGD.
        clean: Accuracy on the test set (the column LEG).
    """

    fgsm: tuple[float, ...]
    pgd: tuple[float, ...]
    clean: float


@dataclass(frozen=True)
class PublishedTable:
    """One table.

    Attributes:
        number: 1 or 2.
        dataset: As the paper names it.
        eps: Linf radii in pixel units.
        rows: By backbone and task.
    """

    number: int
    dataset: str
    eps: tuple[float, ...]
    rows: dict[tuple[str, Task], PublishedRow]

    def largest(self) -> PublishedTable:
        """The table's last eps alone."""
        rows = {
            key: PublishedRow(row.fgsm[-1:], row.pgd[-1:], row.clean)
            for key, row in self.rows.items()
        }
        return PublishedTable(self.number, self.dataset, self.eps[-1:], rows)


TABLE1 = PublishedTable(
    number=1,
    dataset="MNIST",
    eps=(0.1, 0.2, 0.3),
    rows={
        ("nn", "tra"): PublishedRow((0.598, 0.792, 0.858), (0.666, 0.971, 0.998), 0.983),
        ("nn", "hin"): PublishedRow((0.275, 0.349, 0.378), (0.290, 0.491, 0.597), 0.984),
        ("nn", "int"): PublishedRow((0.000, 0.000, 0.001), (0.001, 0.005, 0.015), 0.985),
        ("alexnet", "tra"): PublishedRow((0.866, 0.972, 0.984), (0.937, 0.998, 1.000), 0.982),
        ("alexnet", "hin"): PublishedRow((0.959, 0.998, 0.999), (0.953, 0.997, 0.998), 0.981),
        ("alexnet", "int"): PublishedRow((0.003, 0.002, 0.003), (0.003, 0.005, 0.016), 0.978),
        ("resnet18", "tra"): PublishedRow((0.660, 0.861, 0.912), (0.991, 1.000, 1.000), 0.985),
        ("resnet18", "hin"): PublishedRow((0.108, 0.161, 0.237), (0.210, 0.351, 0.534), 0.984),
        ("resnet18", "int"): PublishedRow((0.010, 0.009, 0.010), (0.009, 0.013, 0.010), 0.990),
    },
)

TABLE2 = PublishedTable(
    number=2,
    dataset="the first ten classes of ImageNet",
    eps=(3 / 255, 6 / 255, 9 / 255),
    rows={
        ("alexnet", "tra"): PublishedRow((0.405, 0.550, 0.663), (0.921, 0.989, 0.997), 0.747),
        ("alexnet", "hin"): PublishedRow((0.223, 0.405, 0.562), (0.984, 0.987, 0.996), 0.747),
        ("alexnet", "int"): PublishedRow((0.127, 0.134, 0.134), (0.763, 0.771, 0.782), 0.782),
        ("densenet121", "tra"): PublishedRow((0.318, 0.460, 0.577), (0.991, 0.999, 1.000), 0.795),
        ("densenet121", "hin"): PublishedRow((0.508, 0.810, 0.920), (0.989, 0.995, 0.998), 0.793),
        ("densenet121", "int"): PublishedRow((0.064, 0.063, 0.058), (0.648, 0.657, 0.646), 0.769),
        ("resnet18", "tra"): PublishedRow((0.290, 0.446, 0.624), (0.824, 0.957, 0.994), 0.777),
        ("resnet18", "hin"): PublishedRow((0.248, 0.480, 0.613), (0.821, 0.937, 0.988), 0.775),
        ("resnet18", "int"): PublishedRow((0.049, 0.047, 0.047), (0.659, 0.663, 0.673), 0.768),
    },
)

TABLES = {1: TABLE1, 2: TABLE2}
"""By number."""
