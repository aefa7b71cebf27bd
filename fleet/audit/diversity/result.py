"""What ``fleet audit diversity`` found. Nothing in this module imports torch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

from fleet.audit.core.permutation import LEVEL
from fleet.audit.core.result import AuditResult, Reached, pick

SCHEMA = "fleet.audit.diversity/1"

Factor = Literal["order", "ratio", "method", "network"]
FACTORS: tuple[Factor, ...] = get_args(Factor)
"""What two networks can share: the order of classes (or its reversal), beta / (alpha + beta), the
training method, and architecture, width and head. All networks differ in their seed."""

Difference = Factor | Literal["any"]
"""What can buy something: a difference in one factor, or in any of them, against the seed alone."""

Event = Literal["mistake", "failure", "certificate"]
EVENTS: tuple[Event, ...] = get_args(Event)
"""What can befall one image on two devices at once: it is decoded wrongly without an attack; images
made on other devices evade; no perturbation can change the right answer, proven."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Network:
    """What a network shares with others, as numbers from 0: equal numbers are equal values.

    Values themselves are not named: they may come from a secret.

    Attributes:
        name: Device name.
        order: Of the classes; an order and its reversal are one.
        ratio: beta / (alpha + beta).
        method: Of the training.
        network: Architecture, width and head.
    """

    name: str
    order: int
    ratio: int
    method: int
    network: int


@dataclass(frozen=True)
class Group:
    """Pairs of networks that differ in the same things.

    Attributes:
        eps: Radius in pixel units.
        differs: In what; empty: in the seed alone.
        pairs: Pairs, each counted once.
        transfer: Mean adaptive evade rate, both directions of each pair.
        interval: Its 95 % interval over images, of these very networks.
        noise: Mean evade rate of noise on the same victims.
        excess_interval: 95 % interval of :attr:`excess` over images.
        beyond_seed: :attr:`excess` less that of the pairs that differ in the seed alone, [-1, 1];
            None of these themselves and where there are none.
        beyond_interval: Its 95 % interval over images.
    """

    eps: float
    differs: tuple[Factor, ...]
    pairs: int
    transfer: float
    interval: Interval
    noise: float
    excess_interval: Interval | None = None
    beyond_seed: float | None = None
    beyond_interval: Interval | None = None

    @property
    def excess(self) -> float:
        """Transfer above noise."""
        return self.transfer - self.noise


@dataclass(frozen=True)
class Effect:
    """What a difference in one thing bought, effects of surrogate and victim removed.

    Attributes:
        eps: Radius in pixel units.
        factor: The thing; ``any``: all of them together.
        values: How many values the networks have of it.
        same: Pairs that share it, each counted once.
        different: Pairs that do not.
        bought: By how much transfer is lower where it differs, as a share; below 0 it is higher.
            None where ``why_not`` says why it cannot be estimated.
        over_images: 95 % interval for other images and these networks.
        over_networks: 95 % interval for other networks too, an inverted permutation test; None
            where no shift at all could be rejected.
        p: Two-sided, permutation of whole networks.
        smallest_p: Smallest p that these networks could give.
        detectable: Smallest effect that would be told from luck with 80 % power; None if none is.
        why_not: Why there is no estimate.
    """

    eps: float
    factor: Difference
    values: int
    same: int
    different: int
    bought: float | None = None
    over_images: Interval | None = None
    over_networks: Interval | None = None
    p: float | None = None
    smallest_p: float | None = None
    detectable: float | None = None
    why_not: str = ""

    @property
    def told(self) -> bool:
        """Whether it can be told from luck."""
        return self.p is not None and self.p <= LEVEL


@dataclass(frozen=True)
class Together:
    """One event on two devices of the fleet.

    Attributes:
        event: Which.
        devices: Two names.
        eps: Radius in pixel units; 0 for ``mistake``.
        n: Images counted: all of them; for ``failure`` those that both decode correctly.
        first: On how many it befalls the first device.
        second: The second.
        both: Both.
    """

    event: Event
    devices: tuple[str, str]
    eps: float
    n: int
    first: int
    second: int
    both: int

    def __post_init__(self) -> None:
        if not 0 <= self.both <= min(self.first, self.second) <= self.n:
            raise ValueError(f"{self.both} of {self.first} and {self.second} of {self.n}")

    @property
    def chance(self) -> float | None:
        """Share of images that it would befall both, were the devices independent."""
        return self.first * self.second / self.n**2 if self.n else None


@dataclass(frozen=True)
class Agreement:
    """How far one event befalls devices on the same images.

    Attributes:
        event: Which.
        eps: Radius in pixel units; 0 for ``mistake``.
        pairs: Pairs with a correlation.
        correlation: Mean over these pairs, [-1, 1]; None if there are none.
        interval: Its 95 % interval over images.
        devices: Of the fleet.
    """

    event: Event
    eps: float
    pairs: int
    correlation: float | None
    interval: Interval | None
    devices: int

    @property
    def effective(self) -> float | None:
        """How many independent devices these are worth: ``N / (1 + (N - 1) r)`` with r >= 0."""
        if self.correlation is None:
            return None
        return self.devices / (1 + (self.devices - 1) * max(0.0, self.correlation))


@dataclass(frozen=True)
class DiversityAudit(AuditResult, schema=SCHEMA):
    """Everything that ``fleet audit diversity`` found.

    Attributes:
        devices: As the audit saw them; controls last.
        networks: Those of task ``int``, the twin included.
        groups: By eps; those that differ in the seed alone first.
        effects: One for each eps and factor, and for any difference.
        together: One for each event, pair of devices and eps.
        agreements: One for each event and eps that there is something of.
        checks: Those of the attacks, then what weakens the comparison.
    """

    networks: tuple[Network, ...]
    groups: tuple[Group, ...]
    effects: tuple[Effect, ...]
    together: tuple[Together, ...]
    agreements: tuple[Agreement, ...]

    def effect(self, factor: Difference, eps: float) -> Effect:
        """Look up one effect.

        Raises:
            KeyError: There is none.
        """
        return pick(self.effects, factor=factor, eps=eps)

    def seed_alone(self, eps: float) -> Group | None:
        """Pairs that differ in the seed alone; None where there are none."""
        found = (group for group in self.groups if (group.eps, group.differs) == (eps, ()))
        return next(found, None)

    def shown(self, eps: float | None = None) -> list[Effect]:
        """Effects of what varies; that of any difference where several things do."""
        found = []
        for level in self.eps if eps is None else (eps,):
            varied = [e for e in self.effects if e.eps == level and e.values > 1]
            found += varied if len(varied) > 2 else [e for e in varied if e.factor != "any"]
        return found

    def reached(self) -> Iterator[Reached]:
        """What any difference bought, for gates."""
        images = max(device.images for device in self.devices)
        old = "the audit is of an earlier version; `fleet audit diversity` makes it anew"
        for eps in self.eps:
            try:
                found = self.effect("any", eps)
            except KeyError:
                found = Effect(eps, "any", 0, 0, 0, why_not=old)
            note, seed = found.why_not, self.seed_alone(eps)
            if found.bought is not None and seed is not None:
                note = (
                    f"at eps {eps:.4g} another seed alone transfers {seed.transfer:.3f}, noise "
                    f"does {seed.noise:.3f}"
                    + ("" if found.told else "; over networks, what differs may be luck")
                )
            reached = (found.bought, found.over_images or (-1.0, 1.0), images)
            yield Reached("twin", eps, *reached, "by what devices differ in", "the fleet", note)

    def of(self, event: Event, eps: float) -> Sequence[Together]:
        """Every pair at one event."""
        return [row for row in self.together if (row.event, row.eps) == (event, eps)]

    def require_whole(self) -> None:
        """Raise ``KeyError`` or ``ValueError`` unless every figure that a report shows is there."""
        self.require_devices()
        for eps in self.eps:
            for factor in FACTORS:
                self.effect(factor, eps)
            pairs = {row.devices for row in self.of("failure", eps)}
            if pairs != set(combinations(self.fleet, 2)):
                raise ValueError(f"pairs of devices at eps {eps}")
