"""What an audit found: frozen values, and ``audit.json`` as their only stored form.

``audit.json`` is the source of truth: tables, CSV, HTML and figures are pure functions of a
:class:`TransferAudit`. Nothing in this module imports torch.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

from fleet.audit.core.statistics import wilson_interval
from fleet.audit.core.stored import Stored
from fleet.encoding import IntervalEncoding

SCHEMA = "fleet.audit.transfer/2"

Protocol = Literal["paper", "adaptive"]
Verdict = Literal["pass", "warn", "fail"]
Role = Literal["device", "control"]


@dataclass(frozen=True)
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
        eps: Radius in pixel units.
        rate: Adaptive evade rate, [0, 1]; None where nothing was measured.
        words: Where, for example ``from cam-01 to cam-02``.
        victim: Who was attacked, for the message if nothing was measured.
    """

    eps: float
    rate: float | None
    words: str
    victim: str


@dataclass(frozen=True)
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
        for cell in self.cells:
            if cell.surrogate == surrogate and cell.victim == victim:
                return cell
        raise KeyError((surrogate, victim))


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
        role: ``device``, or ``control``: an ordinary network of the same backbone (task ``tra``)
            that goes through the same audit for comparison and is shipped to nobody.
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
    """A result that holds checks."""

    @property
    def checks(self) -> tuple[Check, ...]:
        """In order of id."""


@dataclass(frozen=True)
class TransferAudit(Stored, schema=SCHEMA):
    """Everything that ``fleet audit transfer`` found.

    Attributes:
        run: Name of the audited run, or a label for in-memory models.
        created: ISO 8601 UTC time.
        devices: In matrix order.
        eps: The radii audited, ascending, pixel units.
        matrices: One for each protocol, attack and eps, the protocol's ``worst`` included.
        noise: One for each victim and eps.
        checks: Reliability checks, in order of id.
        settings: Attack hyper-parameters, seed, images, decode rule, scoring precision.
        provenance: Dataset digest, versions, machine, command line.
    """

    run: str
    created: str
    devices: tuple[AuditedDevice, ...]
    eps: tuple[float, ...]
    matrices: tuple[Matrix, ...]
    noise: tuple[NoiseFloor, ...]
    checks: tuple[Check, ...]
    settings: dict[str, Any]
    provenance: dict[str, Any]

    @property
    def protocols(self) -> frozenset[Protocol]:
        """Those that were audited."""
        return frozenset(matrix.protocol for matrix in self.matrices)

    def matrix(self, protocol: Protocol, eps: float, attack: str = "worst") -> Matrix:
        """Look up one matrix.

        Raises:
            KeyError: There is no such matrix.
        """
        for matrix in self.matrices:
            if (matrix.protocol, matrix.attack) == (protocol, attack) and matrix.eps == eps:
                return matrix
        raise KeyError((protocol, attack, eps))

    def noise_floor(self, victim: str, eps: float) -> NoiseFloor:
        """Look up one victim's noise floor.

        Raises:
            KeyError: There is none.
        """
        for floor in self.noise:
            if floor.victim == victim and floor.eps == eps:
                return floor
        raise KeyError((victim, eps))

    def reached(self) -> Iterator[Reached]:
        """The adaptive worst case from each other network to each device, for gates."""
        shipped = {device.name for device in self.devices if device.role == "device"}
        for eps in self.eps:
            for cell in self.matrix("adaptive", eps).cells:
                if cell.surrogate != cell.victim and cell.victim in shipped:
                    words = f"from {cell.surrogate} to {cell.victim}"
                    yield Reached(eps, cell.outcome.rate("evade"), words, cell.victim)

    def require_whole(self) -> None:
        """Raise ``KeyError`` or ``ValueError`` unless every figure that a report shows is there."""
        names = [device.name for device in self.devices]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"device names are {names}")
        for device in self.devices:
            if device.encoding is not None:
                IntervalEncoding.from_dict(device.encoding)
            if not 0 <= device.correct + device.rejected <= device.images or not device.images:
                raise ValueError(f"clean figures of {device.name}")
        pairs = sorted((surrogate, victim) for surrogate in names for victim in names)
        for eps in self.eps:
            for name in names:
                self.noise_floor(name, eps)
            for protocol in {matrix.protocol for matrix in self.matrices}:
                cells = self.matrix(protocol, eps).cells
                if sorted((cell.surrogate, cell.victim) for cell in cells) != pairs:
                    raise ValueError(f"cells of protocol {protocol} at eps {eps}")
