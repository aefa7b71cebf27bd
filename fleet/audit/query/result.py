"""What a query audit found: frozen values, stored as ``audit.json``.

The attacker owns no device (or, for ``transfer+queries``, some of the others) and may ask the
victim about images of their own making. Nothing in this module imports torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from fleet.audit.core import result
from fleet.audit.core.kind import Attacker

SCHEMA = "fleet.audit.query/1"

QueryMethod = Literal["noise", "square", "decision", "extraction", "transfer+queries"]
"""``noise``: random signs of full strength, one draw a query, the floor that the others must beat.
``square``: Square on the answer. ``decision``: an attack that sees the class or None only.
``extraction``: a surrogate trained on the victim's answers to the attacker's own images, attacked
white-box. ``transfer+queries``: images made on owned devices, tried one after the other, then
Square from the one that answered best."""

Answer = Literal["scores", "label"]
"""What the victim tells: its scalar or its logits, or only the class or None."""


@dataclass(frozen=True)
class QueryPoint:
    """What the attacker has reached with one budget.

    Attributes:
        queries: Queries spent: on each image, or in total (``QueryCurve.counted``).
        outcome: Over the images that the victim decodes correctly; worst answer so far.
    """

    queries: int
    outcome: result.Outcome


@dataclass(frozen=True)
class QueryCurve:
    """One method against one victim at one eps.

    Attributes:
        victim: Device that is asked and attacked.
        eps: Linf radius in pixel units.
        method: How the attacker asks.
        answer: What the victim answers.
        counted: ``image``: queries on each attacked image. ``total``: queries that were spent
            once, on images of the attacker's own, for all attacked images together.
        owned: Devices that the attacker owns; empty unless the method is ``transfer+queries``.
        points: Ascending budgets.
        median_queries: Queries until half of the ``n`` images evade, images that never do counted
            as later than all others; None if fewer than half evade, or ``counted`` is ``total``.
    """

    victim: str
    eps: float
    method: QueryMethod
    answer: Answer
    counted: Literal["image", "total"]
    owned: tuple[str, ...]
    points: tuple[QueryPoint, ...]
    median_queries: int | None

    def __post_init__(self) -> None:
        budgets = [point.queries for point in self.points]
        if not budgets or budgets[0] < 1 or any(b <= a for a, b in pairwise(budgets)):
            raise ValueError(f"budgets of {self.method} on {self.victim} are {budgets}")
        if len({point.outcome.n for point in self.points}) != 1:
            raise ValueError(f"n of {self.method} on {self.victim} changes along the curve")

    @property
    def n(self) -> int:
        """Images that the victim decodes correctly without an attack."""
        return self.points[0].outcome.n

    @property
    def last(self) -> QueryPoint:
        """The point of the largest budget."""
        return self.points[-1]


@dataclass(frozen=True)
class Fidelity:
    """How well a surrogate trained on answers imitates its victim.

    Attributes:
        victim: Device that was asked.
        queries: Answers that the surrogate was trained on.
        n: Held-out images, neither among the queries nor attacked.
        agree: Of these, how many surrogate and victim decode alike; where the victim says None,
            the surrogate must say None.
        correct: Of these, how many the surrogate decodes correctly.
    """

    victim: str
    queries: int
    n: int
    agree: int
    correct: int

    def __post_init__(self) -> None:
        if not (0 <= self.agree <= self.n and 0 <= self.correct <= self.n and self.n > 0):
            raise ValueError(f"{self.agree} agree and {self.correct} correct of {self.n}")


@dataclass(frozen=True)
class WhiteBox:
    """The same images of a victim attacked with its own gradients, for comparison.

    Attributes:
        victim: Device name.
        eps: Linf radius in pixel units.
        outcome: Worst case over the adaptive portfolio.
    """

    victim: str
    eps: float
    outcome: result.Outcome


@dataclass(frozen=True)
class QueryAudit(result.AuditResult, schema=SCHEMA):
    """Everything that ``fleet audit query`` found.

    Attributes:
        devices: The victims, in order.
        curves: One for each victim, eps and method.
        fidelity: One for each victim and extraction budget; empty without that method.
        white_box: One for each victim and eps.
        checks: ``Q1`` and following (docs/query-and-trace.md), in order of id.
    """

    curves: tuple[QueryCurve, ...]
    fidelity: tuple[Fidelity, ...]
    white_box: tuple[WhiteBox, ...]

    def __post_init__(self) -> None:
        self.require_devices()
        for victim in (device.name for device in self.devices):
            for eps in self.eps:
                self.white_box_of(victim, eps)
                for method in self.methods:
                    self.curve(victim, eps, method)

    @property
    def methods(self) -> tuple[QueryMethod, ...]:
        """The methods audited, in the order of the curves."""
        return tuple(dict.fromkeys(curve.method for curve in self.curves))

    def curve(self, victim: str, eps: float, method: QueryMethod) -> QueryCurve:
        """Look up one curve.

        Raises:
            KeyError: There is none.
        """
        found: QueryCurve = self.row("curves", victim=victim, eps=eps, method=method)
        return found

    def reached(self) -> Iterator[result.Reached]:
        """What every way of asking each device reached with its largest budget, for gates."""
        for curve in self.curves:
            if curve.victim in self.fleet:
                who: Attacker = "device" if curve.owned else "outsider"
                words = f"by {curve.method} of {curve.victim}"
                found = curve.last.outcome
                yield result.Reached.of(who, curve.eps, found, words, curve.victim)

    def white_box_of(self, victim: str, eps: float) -> WhiteBox:
        """Look up one victim's white-box figures.

        Raises:
            KeyError: There are none.
        """
        found: WhiteBox = self.row("white_box", victim=victim, eps=eps)
        return found
