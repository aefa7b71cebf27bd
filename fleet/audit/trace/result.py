"""What a trace audit found: on which device were adversarial images made?

Frozen values, stored as ``audit.json``. Nothing in this module imports torch.
"""

from dataclasses import dataclass
from typing import Literal

from fleet.audit.core import result

SCHEMA = "fleet.audit.trace/1"

TraceScore = Literal["deviation", "alignment", "combined"]
"""``deviation`` (S1): how far the image moves what an attacker of the device ascends.
``alignment`` (S2): cosine between the perturbation and the device's gradient at the original.
``combined``: their sum. Each is first counted in standard deviations of the same score on
calibration images that were made on *other* devices."""

SCORES: tuple[TraceScore, ...] = ("deviation", "alignment", "combined")

TraceAttacker = Literal["naive", "hiding"]
"""``naive``: sends what the adaptive attack on their device gives. ``hiding``: goes only as far
along the way there as their device needs, and fills the rest of the ball with random signs."""

OutsiderKind = Literal["control", "surrogate"]
"""Images of nobody's device: made on the control network, or on an attacker's own network (T0)."""


@dataclass(frozen=True)
class Confusion:
    """Where the evidence that was made on one device is traced to, best score first.

    Attributes:
        source: Device on which the images were made.
        named: How many pieces of evidence name each device, in device order; no threshold.
        accused: Of ``named``, how many are above the threshold, in device order. The others are
            answered with 'none of ours'.
    """

    source: str
    named: tuple[int, ...]
    accused: tuple[int, ...]

    def __post_init__(self) -> None:
        pairs = list(zip(self.accused, self.named, strict=True))
        if any(not 0 <= above <= all_ for above, all_ in pairs):
            raise ValueError(f"accused {self.accused} of {self.named} for {self.source}")


@dataclass(frozen=True)
class Outsider:
    """Images that were made on none of the devices.

    Attributes:
        name: Network on which they were made.
        kind: Control, or a T0 surrogate.
        n: Pieces of evidence.
        accused: How many of them accuse some device: false positives.
    """

    name: str
    kind: OutsiderKind
    n: int
    accused: int

    def __post_init__(self) -> None:
        if not 0 <= self.accused <= self.n:
            raise ValueError(f"{self.accused} of {self.n} accused for {self.name}")


@dataclass(frozen=True)
class TraceRate:
    """How well one score traces at one eps.

    Attributes:
        eps: Linf radius in pixel units.
        attacker: ``naive``, or one who hides their device.
        score: Which score.
        evidence: Images of one source that are judged together, m; groups share no image.
        threshold: Of the best device's score, in standard deviations; chosen on validation images
            of outsiders. Below it the answer is 'none of ours'.
        confusion: One for each source device, in device order.
        outsiders: False positives, one for each outsider.
    """

    eps: float
    attacker: TraceAttacker
    score: TraceScore
    evidence: int
    threshold: float
    confusion: tuple[Confusion, ...]
    outsiders: tuple[Outsider, ...]

    @property
    def n(self) -> int:
        """Pieces of evidence, all sources together."""
        return sum(sum(row.named) for row in self.confusion)

    @property
    def hits(self) -> int:
        """Of :attr:`n`, how many name their source."""
        return sum(row.named[place] for place, row in enumerate(self.confusion))

    @property
    def convicted(self) -> int:
        """Of :attr:`hits`, how many are above the threshold."""
        return sum(row.accused[place] for place, row in enumerate(self.confusion))

    @property
    def wrongly_accused(self) -> int:
        """How many of :attr:`n` accuse another device above the threshold."""
        return sum(sum(row.accused) for row in self.confusion) - self.convicted

    @property
    def chance(self) -> float:
        """Top-1 of guessing."""
        return 1 / len(self.confusion)

    @property
    def top1(self) -> float | None:
        """Share that names its source, in [0, 1], or None when :attr:`n` is 0."""
        return self.hits / self.n if self.n else None

    @property
    def top1_interval(self) -> tuple[float, float]:
        """Wilson 95 % interval of :attr:`top1`."""
        return result.wilson_interval(self.hits, self.n)

    @property
    def false_positives(self) -> tuple[int, int]:
        """Accused, and all, pieces of outsiders' evidence."""
        return sum(o.accused for o in self.outsiders), sum(o.n for o in self.outsiders)

    @property
    def false_positive_interval(self) -> tuple[float, float]:
        """Wilson 95 % interval of the false-positive rate."""
        return result.wilson_interval(*self.false_positives)


@dataclass(frozen=True)
class EvasionPrice:
    """What an attacker who hides their device pays for it.

    Attributes:
        eps: Linf radius in pixel units.
        attacker: Who.
        n: Images that their source decodes correctly, all sources together.
        evade: How many of them evade their source.
        transfers: How many pairs of such an image and another device evade there.
        pairs: How many pairs there are that this other device decodes correctly.
    """

    eps: float
    attacker: TraceAttacker
    n: int
    evade: int
    transfers: int
    pairs: int

    def __post_init__(self) -> None:
        if not (0 <= self.evade <= self.n and 0 <= self.transfers <= self.pairs):
            raise ValueError(f"price of {self.attacker} at eps {self.eps}")


@dataclass(frozen=True)
class Threshold:
    """Below it the answer is 'none of ours'.

    Attributes:
        score: Which score.
        evidence: Images that are judged together.
        value: Of the best device's score, in standard deviations.
    """

    score: TraceScore
    evidence: int
    value: float


@dataclass(frozen=True)
class Calibration:
    """What scores mean at one eps, learnt on validation images; enough to trace with.

    Attributes:
        eps: Linf radius in pixel units.
        mean: Mean of deviation and of alignment, one row each, by device, over images that were
            made on other devices.
        spread: Their standard deviations, likewise; above 0.
        thresholds: One for each score and amount of evidence.
        images: How many images each device's mean is over.
    """

    eps: float
    mean: tuple[tuple[float, ...], ...]
    spread: tuple[tuple[float, ...], ...]
    thresholds: tuple[Threshold, ...]
    images: tuple[int, ...]

    def __post_init__(self) -> None:
        shape = [len(self.images)] * 2
        if [len(row) for row in self.mean] != shape or [len(row) for row in self.spread] != shape:
            raise ValueError(f"calibration at eps {self.eps} is not two rows of {shape[0]} devices")
        if any(not value > 0 for row in self.spread for value in row):
            raise ValueError(f"a spread at eps {self.eps} is not above 0")

    def threshold(self, score: TraceScore, evidence: int) -> float:
        """The threshold of the largest amount of evidence that is not above ``evidence``.

        More evidence has a lower threshold, so that this errs on the side of 'none of ours'.

        Raises:
            KeyError: There is none.
        """
        known = [t for t in self.thresholds if t.score == score and t.evidence <= evidence]
        if not known:
            raise KeyError((score, evidence))
        return max(known, key=lambda threshold: threshold.evidence).value


@dataclass(frozen=True)
class Suspect:
    """One device's scores for images of unknown origin, in standard deviations.

    Attributes:
        name: Device name.
        deviation: Mean over the images.
        alignment: Mean over the images.
        combined: Their sum, by which suspects are ranked.
        votes: Images whose best suspect this is.
    """

    name: str
    deviation: float
    alignment: float
    combined: float
    votes: int


@dataclass(frozen=True)
class Tracing:
    """On which device were these images made? They are judged together, as from one source.

    Attributes:
        images: How many.
        distance: Largest Linf distance of an image from its original, in pixel units.
        eps: Radius of the calibration that was used.
        threshold: Of the best combined score.
        ranking: All suspects, the likeliest first.
    """

    images: int
    distance: float
    eps: float
    threshold: float
    ranking: tuple[Suspect, ...]

    @property
    def named(self) -> str | None:
        """The likeliest device, or None for 'none of ours'."""
        best = self.ranking[0]
        return best.name if best.combined > self.threshold else None


@dataclass(frozen=True)
class TraceAudit(result.AuditResult, schema=SCHEMA):
    """Everything that ``fleet audit trace`` found.

    Attributes:
        devices: The suspects, in order.
        rates: One for each eps, attacker, score and amount of evidence.
        prices: One for each eps and attacker, ``naive`` among them.
        calibrations: One for each eps.
        checks: ``T1`` and following (docs/query-and-trace.md), in order of id.
    """

    rates: tuple[TraceRate, ...]
    prices: tuple[EvasionPrice, ...]
    calibrations: tuple[Calibration, ...]

    def __post_init__(self) -> None:
        self.require_devices(least=2)
        names = [device.name for device in self.devices]
        if [found.eps for found in self.calibrations] != list(self.eps):
            raise ValueError("there is not one calibration for each eps")
        if any(len(found.images) != len(names) for found in self.calibrations):
            raise ValueError("a calibration is of another number of devices")
        for rate in self.rates:
            if [row.source for row in rate.confusion] != names:
                raise ValueError(f"sources of {rate.score} at eps {rate.eps}")
            if any(len(row.named) != len(names) for row in rate.confusion):
                raise ValueError(f"suspects of {rate.score} at eps {rate.eps}")

    def rate(
        self, eps: float, score: TraceScore, evidence: int = 1, attacker: TraceAttacker = "naive"
    ) -> TraceRate:
        """Look up one rate.

        Raises:
            KeyError: There is none.
        """
        return result.pick(self.rates, eps=eps, score=score, evidence=evidence, attacker=attacker)
