"""What audits find: frozen values, and one JSON document with a schema's name as their stored form.

``audit.json`` is the source of truth: tables, CSV, HTML and figures are pure functions of a result.
Nothing in this module imports torch.
"""

import math
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeVar, get_args

from fleet.audit.core.document import Stored
from fleet.audit.core.exhibits import Exhibit, Turn
from fleet.audit.core.kind import Attacker, Drawn

Protocol = Literal["paper", "adaptive"]

Verdict = Literal["pass", "warn", "fail"]

Role = Literal["device", "control", "twin"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of ``n`` originally correct examples.

    Attributes:
        n: Examples that the victim decodes correctly without an attack (the denominator).
        flip: Of these, how many are decoded as a *wrong class*.
        reject: Of these, how many are decoded as None.
    """

    n: int
    flip: int
    reject: int

    def __post_init__(self) -> None:
        counts = (self.n, self.flip, self.reject)
        if any(type(count) is not int or count < 0 for count in counts) or self.evade > self.n:
            raise ValueError(f"{self.flip} flips and {self.reject} rejects of {self.n}")

    @property
    def evade(self) -> int:
        """Flip or reject."""
        return self.flip + self.reject

    def rate(self, kind: Literal["flip", "reject", "evade"]) -> float | None:
        """Attack success rate in [0, 1], or None when ``n`` is 0."""
        return getattr(self, kind) / self.n if self.n else None

    def interval(self, kind: Literal["flip", "reject", "evade"]) -> tuple[float, float]:
        """Wilson 95 % interval of :meth:`rate`; (0, 1) when ``n`` is 0."""
        return wilson_interval(getattr(self, kind), self.n)


@dataclass(frozen=True)
class Reached:
    """What one attack reached, for a gate to judge.

    Attributes:
        attacker: Whom it counts.
        eps: Radius in pixel units.
        rate: Adaptive evade rate, [0, 1], or what the gate counts instead; None where nothing was
            measured.
        interval: Its 95 % interval.
        n: Images that the rate is of.
        words: Where, for example ``from cam-01 to cam-02``.
        victim: Who was attacked, for the message if nothing was measured.
        note: What to know of the rate; where there is none, why.
    """

    attacker: Attacker
    eps: float
    rate: float | None
    interval: tuple[float, float]
    n: int
    words: str
    victim: str
    note: str = ""

    @classmethod
    def of(cls, attacker: Attacker, eps: float, found: Outcome, words: str, victim: str) -> Self:
        """What an outcome says."""
        rate, interval = found.rate("evade"), found.interval("evade")
        return cls(attacker, eps, rate, interval, found.n, words, victim)


@dataclass(frozen=True, slots=True)
class Cell:
    """One surrogate (row) against one victim (column).

    Attributes:
        surrogate: Device on which the adversarial examples are made.
        victim: Device on which they are tried.
        outcome: Over the examples that the victim decodes correctly.
        joint: Over those that surrogate and victim both decode correctly.
        given_success: Over those of ``joint`` whose attack evades the surrogate itself.
    """

    surrogate: str
    victim: str
    outcome: Outcome
    joint: Outcome
    given_success: Outcome


@dataclass(frozen=True)
class Matrix:
    """All cells of one attack at one eps.

    Attributes:
        protocol: ``paper`` (ascends Eq. 3) or ``adaptive``.
        attack: Name of the attack, or ``worst`` for the per-example worst case over the
            protocol's portfolio.
        eps: Linf radius in pixel units, [0, 1].
        cells: Row by row, surrogates then victims in device order.
    """

    protocol: Protocol
    attack: str
    eps: float
    cells: tuple[Cell, ...]

    def cell(self, surrogate: str, victim: str) -> Cell:
        """Look up one cell.

        Raises:
            KeyError: There is no such pair.
        """
        return pick(self.cells, surrogate=surrogate, victim=victim)

    def white_box(self) -> dict[str, float]:
        """Evade rate of each device under its own images; those without a correct one left out."""
        own = (cell for cell in self.cells if cell.surrogate == cell.victim)
        rates = {cell.victim: cell.outcome.rate("evade") for cell in own}
        return {name: rate for name, rate in rates.items() if rate is not None}


@dataclass(frozen=True)
class NoiseFloor:
    """A victim under random sign noise of one eps: no gradients, no model.

    Attributes:
        victim: Device name.
        eps: Linf radius in pixel units.
        outcome: Worst case per example over ``draws`` independent draws.
        draws: Number of draws.
    """

    victim: str
    eps: float
    outcome: Outcome
    draws: int


@dataclass(frozen=True)
class AuditedDevice:
    """One device as the audit saw it.

    Attributes:
        name: Device name.
        task: ``int``, ``tra`` or ``hin``.
        architecture: Backbone name.
        head: Head name.
        encoding: ``IntervalEncoding.to_dict()``; None for ``tra`` and ``hin``, and for encodings
            drawn from a secret, which an audit does not give away.
        weights_sha256: SHA-256 of the weights.
        images: Audited images.
        correct: How many of them are decoded correctly without an attack.
        rejected: How many are decoded as None without an attack.
        role: ``device``, or what is compared with and shipped to nobody: ``control``, an ordinary
            network of the same backbone (task ``tra``), or ``twin``, the first device with other
            weights.
    """

    name: str
    task: str
    architecture: str
    head: str
    encoding: dict[str, Any] | None
    weights_sha256: str
    images: int
    correct: int
    rejected: int
    role: Role = "device"

    @property
    def clean_accuracy(self) -> float:
        """Share decoded correctly, None counted as wrong."""
        return self.correct / self.images

    @property
    def clean_reject_rate(self) -> float:
        """Share decoded as None."""
        return self.rejected / self.images


@dataclass(frozen=True)
class Check:
    """One reliability check (docs/audit-checks.md).

    Attributes:
        id: ``M1`` ... ``M18``, ``BT``; other audits have their own letters.
        title: A few words.
        verdict: ``pass``, ``warn`` or ``fail``.
        finding: One sentence with the figure that decided.
        threshold: The rule in words.
        subject: What was checked, for example a device, a protocol or a cell; may be empty.
    """

    id: str
    title: str
    verdict: Verdict
    finding: str
    threshold: str
    subject: str = ""

    def about(self, protocol: Protocol) -> bool:
        """Whether it speaks of a protocol's figures: its subject begins with it, or with none."""
        first = self.subject.partition(" ")[0].rstrip(",:")
        return first == protocol or first not in get_args(Protocol)


class Checked(typing.Protocol):
    """What holds checks."""

    @property
    def checks(self) -> tuple[Check, ...]:
        """In order of id."""


@dataclass(frozen=True)
class AuditResult(Drawn, Stored):
    """What the results of all kinds of audits have in common.

    Attributes:
        run: Name of the audited run, or a label for models in memory.
        created: ISO 8601 UTC time.
        devices: As the audit saw them; controls last.
        eps: The radii audited, ascending, pixel units.
        checks: Reliability checks, in order of id.
        settings: Attack hyper-parameters, seed, images, decode rule, scoring precision.
        provenance: Dataset digest, versions, machine, command line.
        seconds: How long it took, without what an earlier, interrupted one had kept; None where it
            was not measured.
    """

    run: str
    created: str
    devices: tuple[AuditedDevice, ...]
    eps: tuple[float, ...]
    checks: tuple[Check, ...]
    settings: dict[str, Any]
    provenance: dict[str, Any]
    seconds: float | None = field(default=None, kw_only=True, compare=False)

    def row(self, rows: str, **keys: Any) -> Any:
        """:func:`pick` of a field's rows, of which an index is made the first time.

        Raises:
            KeyError: There is none.
        """
        indices: dict[tuple[str, ...], dict[Any, Any]] = self.__dict__.setdefault("_indices", {})
        index = indices.setdefault((rows, *keys), {})
        for each in () if index else getattr(self, rows):
            index.setdefault(tuple(getattr(each, key) for key in keys), each)
        wanted = tuple(keys.values())
        return index[wanted] if wanted in index else pick(getattr(self, rows), **keys)

    @property
    def fleet(self) -> tuple[str, ...]:
        """Names of the devices that are shipped: controls left out."""
        return tuple(device.name for device in self.devices if device.role == "device")

    def reached(self) -> Iterator[Reached]:
        """What attacks on devices of the fleet reached, for gates; nothing unless a kind says."""
        return iter(())

    def require_devices(self, least: int = 1) -> None:
        """Raise ``ValueError`` unless devices have names of their own and possible figures.

        Args:
            least: Devices that are shipped or controls, at least.
        """
        names = [device.name for device in self.devices]
        if len(names) < least or len(set(names)) != len(names):
            raise ValueError(f"device names are {names}")
        for device in self.devices:
            if not 0 <= device.correct + device.rejected <= device.images or not device.images:
                raise ValueError(f"clean figures of {device.name}")


@dataclass(frozen=True)
class AttackResult(AuditResult):
    """A result whose attacks stand beside noise.

    Attributes:
        noise: One for each device that is attacked, and eps.
        exhibits: A few adversarial images beside their originals.
        turns: Which class becomes which, over the devices of the fleet.
    """

    noise: tuple[NoiseFloor, ...]
    exhibits: tuple[Exhibit, ...] = field(default=(), kw_only=True)
    turns: tuple[Turn, ...] = field(default=(), kw_only=True)

    def noise_floor(self, victim: str, eps: float) -> NoiseFloor:
        """Look up one victim's noise floor.

        Raises:
            KeyError: There is none.
        """
        found: NoiseFloor = self.row("noise", victim=victim, eps=eps)
        return found


class AbsentError(KeyError, ValueError):
    """There is no such row; a result that lacks one that it must have contradicts itself."""

    __str__ = Exception.__str__


Row = TypeVar("Row")


def pick(rows: Iterable[Row], **keys: Any) -> Row:
    """Look up the first row whose fields are these.

    Raises:
        KeyError: There is none.
    """
    for row in rows:
        if all(getattr(row, name) == value for name, value in keys.items()):
            return row
    raise AbsentError("nothing of " + ", ".join(f"{name} {value}" for name, value in keys.items()))


Z95 = 1.959963984540054
"""Two-sided 95 % quantile of the standard normal distribution."""


def difference_interval(
    one: tuple[float, tuple[float, float]], other: tuple[float, tuple[float, float]]
) -> tuple[float, float]:
    """95 % interval of ``one - other`` from each rate and its own (Newcombe 1998, method 10).

    It takes the rates as independent; of rates on the same images it is too wide rather than too
    narrow, as long as they rise and fall together.
    """
    (p, (low, high)), (q, (other_low, other_high)) = one, other
    down = math.hypot(p - low, other_high - q)
    return p - q - down, p - q + math.hypot(high - p, q - other_low)


def mean_rate(rates: Iterable[float | None]) -> float | None:
    """Mean of rates, each counted once; None, a rate over no example, is left out.

    Returns:
        In the range of the rates, or None if there are none.
    """
    known = [rate for rate in rates if rate is not None]
    return sum(known) / len(known) if known else None


def wilson_interval(successes: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson score interval of a binomial proportion (Wilson 1927).

    Unlike the normal approximation it stays inside [0, 1] and has a width at 0 of n.

    Args:
        successes: In [0, n].
        n: Trials; 0 gives (0, 1).
        z: Normal quantile; 95 % two-sided by default.

    Returns:
        Lower and upper bound in [0, 1].
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes in {n} trials")
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    scale = 1 + z * z / n
    center = (share + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the ends the bound is exactly 0 or 1; the floating-point form misses it by an ulp.
    low = 0.0 if successes == 0 else max(0.0, center - half)
    high = 1.0 if successes == n else min(1.0, center + half)
    return low, high
