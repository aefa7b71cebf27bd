"""What ``fleet audit whitebox`` found: the paper's Tables 1 and 2, on any run.

The stored form is ``audit.json``; tables, CSV, HTML and figures are pure functions of a
:class:`WhiteboxAudit`. Nothing in this module imports torch.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from fleet.audit.core import result
from fleet.audit.core.evidence import Binarization
from fleet.vocabulary import Length, Norm

SCHEMA = "fleet.audit.whitebox/1"


@dataclass(frozen=True)
class WhiteboxFigure:
    """One attack on one device with its own weights known.

    Attributes:
        device: Device name.
        protocol: ``paper`` (ascends the task's loss) or ``adaptive``.
        attack: Name of the attack, or ``worst`` for the per-example worst case over the
            protocol's portfolio.
        eps: Radius in pixel units, as asked for.
        outcome: Over the examples that the device decodes correctly.
        floor: The same images under Eq. 2's floor decoding, which gives a gap to the class below
            it; equal to ``outcome`` for ``tra`` and ``hin``.
    """

    device: str
    protocol: result.Protocol
    attack: str
    eps: float
    outcome: result.Outcome
    floor: result.Outcome


@dataclass(frozen=True)
class MinimumDistance:
    """How far the nearest adversarial image is that a minimum-norm attack found.

    Attributes:
        device: Device name.
        attack: For example ``cw-l2``.
        norm: In which ``quantiles`` are measured: ``l1``, ``l2`` or ``linf``.
        n: Images attacked; the device decodes each correctly.
        found: For how many of them the attack found an image that evades.
        quantiles: 10 %, 50 % and 90 % quantile of the distance over the images found, in pixel
            units; None if there are none.
    """

    device: str
    attack: str
    norm: Length
    n: int
    found: int
    quantiles: tuple[float, float, float] | None

    def __post_init__(self) -> None:
        if not 0 <= self.found <= self.n:
            raise ValueError(f"{self.attack} found {self.found} of {self.n}")
        if (self.quantiles is None) != (self.found == 0):
            raise ValueError(f"{self.attack} found {self.found} images at {self.quantiles}")
        if self.quantiles is not None and list(self.quantiles) != sorted(self.quantiles):
            raise ValueError(f"quantiles {self.quantiles} do not ascend")


@dataclass(frozen=True)
class Margins:
    """First-order distances of one device's correct images from the decision boundary.

    Attributes:
        device: Device name.
        norm: How they are measured.
        values: One for each image looked at that the device decodes correctly and whose gradient
            is not zero, ascending, pixel units, rounded to 6 digits.
    """

    device: str
    norm: Norm
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if any(low > high for low, high in pairwise((0.0, *self.values))):
            raise ValueError(f"margins of {self.device} do not ascend from 0")


@dataclass(frozen=True)
class WhiteboxAudit(result.AttackResult, schema=SCHEMA):
    """Everything that ``fleet audit whitebox`` found.

    Attributes:
        norm: How ``eps`` is measured.
        devices: In the order of the profile; controls last.
        figures: One for each device, protocol, attack and eps, the protocol's ``worst`` included.
        noise: One for each device and eps.
        margins: One for each device.
        distances: One for each device and minimum-norm attack.
        binarization: One for each device that was tested.
        checks: Reliability checks, in order of id.

    Raises:
        ValueError: The figures contradict each other, or one that a report shows is missing.
    """

    norm: Norm
    figures: tuple[WhiteboxFigure, ...]
    margins: tuple[Margins, ...]
    distances: tuple[MinimumDistance, ...]
    binarization: tuple[Binarization, ...]

    def __post_init__(self) -> None:
        self.require_devices()
        correct = {device.name: device.correct for device in self.devices}
        if not self.eps or list(self.eps) != sorted(set(self.eps)):
            raise ValueError(f"eps are {self.eps}")
        self._require_figures(correct)
        floors = [(floor.victim, floor.eps) for floor in self.noise]
        _require(floors, ((name, eps) for name in correct for eps in self.eps), "noise floors")
        if any(floor.outcome.n != correct[floor.victim] for floor in self.noise):
            raise ValueError("a noise floor's n is not its device's number of correct images")
        _require([margins.device for margins in self.margins], correct, "margins")
        about = {row.device for row in self.distances} | {row.device for row in self.binarization}
        if not about <= correct.keys():
            raise ValueError(f"figures of unknown devices: {sorted(about - correct.keys())}")

    def _require_figures(self, correct: dict[str, int]) -> None:
        worst = [(f.device, f.protocol, f.eps) for f in self.figures if f.attack == "worst"]
        protocols = dict.fromkeys(figure.protocol for figure in self.figures)
        wanted = ((name, p, eps) for name in correct for p in protocols for eps in self.eps)
        _require(worst, wanted, "worst cases")
        for figure in self.figures:
            if {figure.outcome.n, figure.floor.n} != {correct.get(figure.device)}:
                raise ValueError(f"n of {figure.attack} on {figure.device}")

    @property
    def protocols(self) -> frozenset[result.Protocol]:
        """Those that were audited."""
        return frozenset(figure.protocol for figure in self.figures)

    def figure(
        self, device: str, protocol: result.Protocol, eps: float, attack: str = "worst"
    ) -> WhiteboxFigure:
        """Look up one figure.

        Raises:
            KeyError: There is none.
        """
        found: WhiteboxFigure = self.row(
            "figures", device=device, protocol=protocol, eps=eps, attack=attack
        )
        return found

    def reached(self) -> Iterator[result.Reached]:
        """The adaptive worst case on each device, for gates."""
        for eps in self.eps:
            for name in self.fleet:
                found = self.figure(name, "adaptive", eps).outcome
                yield result.Reached.of("owner", eps, found, f"of {name}", name)


def _require(found: list[Any], wanted: Iterable[Any], what: str) -> None:
    """Each of ``wanted`` exactly once, in any order."""
    if sorted(found) != sorted(wanted):
        raise ValueError(f"{what} are missing, or there more than once")
