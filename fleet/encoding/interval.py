"""The interval encoding of one device: Eq. 1 and Eq. 2 of the paper, without torch.

Eq. 1 gives the class y at slot p the closed interval [M_L, M_U]::

    M_L(y) = s0 + p * (alpha + beta)        M_U(y) = M_L(y) + beta

Outputs are rounded to float32 before they are compared, and so are the edges (docs/encoding.md).
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from fleet.encoding.edges import (
    Edges,
    class_count,
    lengths,
    make_edges,
    permutation,
    real,
    to_float32,
)
from fleet.encoding.orders import inverse

DecodeMode = Literal["strict", "floor"]

REJECTED = -1
"""What array forms of decoding give for an output that belongs to no class."""

# Parts of the mean distance in which lengths are compared. A fixed grid makes equivalence
# transitive. A power of two, so that no ratio of whole numbers below two million lies half way
# between two grid points, where the last bit of a float would decide.
_GRID = 2**20


class CanonicalEncoding(NamedTuple):
    """What survives an affine change of the output, ``o -> c*o + d`` with c != 0.

    Attributes:
        classes: Classes along the line, in the direction that puts the smaller end class first.
        lengths: interval, gap, interval, ..., interval (2K - 1 values) along the same direction,
            in 2^-20 parts of the mean distance between neighbouring interval centres, rounded.
    """

    classes: tuple[int, ...]
    lengths: tuple[int, ...]


@dataclass(frozen=True)
class IntervalEncoding:
    """Intervals of one device; hashable, plain values.

    Attributes:
        num_classes: Number of classes K, 2 to 65,536.
        alpha: Gap after a class's interval, > 0; one number, or one for each class.
        beta: Length of a class's interval, >= 0; one number, or one for each class.
        s0: Lower edge of slot 0.
        order: Slot of each class (class -> slot), or None for the identity.

    Raises:
        ValueError: A value is out of range, or the intervals merge in float32.
    """

    num_classes: int
    alpha: float | tuple[float, ...] = 1.0
    beta: float | tuple[float, ...] = 3.0
    s0: float = 0.0
    order: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        count = class_count(self.num_classes)
        checked = {
            "num_classes": count,
            "alpha": lengths("alpha", self.alpha, count, zero=False),
            "beta": lengths("beta", self.beta, count, zero=True),
            "s0": real("s0", self.s0),
            "order": permutation(self.order, count),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        _ = self.edges  # refuses edges that merge in float32

    @cached_property
    def slots(self) -> tuple[int, ...]:
        """Slot of each class: ``order``, written out."""
        return tuple(range(self.num_classes)) if self.order is None else self.order

    @cached_property
    def classes(self) -> tuple[int, ...]:
        """Class at each slot."""
        return inverse(self.slots)

    @cached_property
    def edges(self) -> Edges:
        """All edges by slot, in float64 and in float32."""
        return make_edges(
            self.s0, self._by_slot(self.alpha), self._by_slot(self.beta), self.classes
        )

    def slot(self, y: int) -> int:
        """Slot of class ``y``, counted from 0.

        Raises:
            IndexError: There is no such class.
        """
        return self.slots[self._index("class", y)]

    def class_at(self, slot: int) -> int:
        """Class at ``slot``.

        Raises:
            IndexError: There is no such slot.
        """
        return self.classes[self._index("slot", slot)]

    def lower(self, y: int) -> float:
        """M_L of class ``y`` (Eq. 1), in float64."""
        return float(self.edges.exact_lower[self.slot(y)])

    def upper(self, y: int) -> float:
        """M_U of class ``y`` (Eq. 1), in float64."""
        return float(self.edges.exact_upper[self.slot(y)])

    def center(self, y: int) -> float:
        """Middle of the interval of class ``y``, in float64."""
        lower = self.lower(y)
        return lower + (self.beta[y] if isinstance(self.beta, tuple) else self.beta) / 2

    @cached_property
    def pitch(self) -> float:
        """Mean distance between neighbouring lower edges; ``alpha + beta`` if both are scalars."""
        alphas, betas = self._by_slot(self.alpha), self._by_slot(self.beta)
        return statistics.mean([a + b for a, b in zip(alphas, betas, strict=True)][:-1])

    @property
    def span(self) -> tuple[float, float]:
        """Lowest lower and highest upper edge, in float64."""
        return float(self.edges.exact_lower[0]), float(self.edges.exact_upper[-1])

    def decode(self, o: float, mode: DecodeMode = "strict") -> int | None:
        """Class of one output, or None for rejected; see :meth:`decode_array`."""
        label = int(self.decode_array(o, mode))
        return None if label == REJECTED else label

    def decode_array(self, o: Any, mode: DecodeMode = "strict") -> NDArray[np.int64]:
        """Classes of many outputs.

        Args:
            o: Outputs, real numbers of any shape; rounded to float32 first.
            mode: ``strict`` gives the class whose closed interval holds ``o``. ``floor`` is Eq. 2
                alone: it gives a gap to the class below it and rejects only outside
                [s0, s0 + K * (alpha + beta)).

        Returns:
            Classes, int64 of the same shape; ``REJECTED`` (-1) where there is none, and always
            for NaN and infinities.

        Raises:
            ValueError: ``mode`` is neither.
            TypeError: ``o`` does not hold real numbers.
        """
        if mode not in get_args(DecodeMode):
            raise ValueError(f"decode mode must be 'strict' or 'floor', not {mode!r}")
        outputs, edges = to_float32(o), self.edges
        # NaN sorts last and -inf first; the comparisons below refuse both.
        slots = np.maximum(np.searchsorted(edges.lower, outputs, side="right") - 1, 0)
        below = outputs <= edges.upper[slots] if mode == "strict" else outputs < edges.end
        inside = below & (outputs >= edges.lower[slots])
        return np.where(inside, np.array(self.classes, dtype=np.int64)[slots], REJECTED)

    def margin(self, o: float) -> float:
        """Margin of one output; see :meth:`margin_array`."""
        return float(self.margin_array(o))

    def margin_array(self, o: Any) -> NDArray[np.float64]:
        """How far outputs are from a change of decision, in units of the pitch.

        Args:
            o: Outputs, real numbers of any shape; rounded to float32 first.

        Returns:
            float64 of the same shape. Inside an interval: the distance to its nearer edge, >= 0.
            Rejected: minus the distance to the nearest interval, < 0. NaN and infinities: -inf.
            The sign agrees with strict decoding everywhere.
        """
        outputs, edges = to_float32(o).astype(np.float64), self.edges
        slots = np.searchsorted(edges.lower, outputs, side="right")
        depths = [
            np.minimum(outputs - edges.lower[near], edges.upper[near] - outputs)
            for near in (np.maximum(slots - 1, 0), np.minimum(slots, self.num_classes - 1))
        ]
        depth = np.where(np.isnan(outputs), -np.inf, np.maximum(*depths))
        return np.asarray(depth / self.pitch)

    def decide(self, outputs: Sequence[float]) -> list[tuple[int, float]]:
        """:meth:`decode_array` and :meth:`margin_array` of few outputs, bit by bit the same.

        Without arrays: for one image these two cost as much as a small network.

        Args:
            outputs: float32 numbers as Python floats.
        """
        lower, upper, classes = self._by_number
        last, found = len(lower) - 1, []
        for o in outputs:
            after = bisect_right(lower, o)
            slot, following = max(after - 1, 0), min(after, last)
            depth = max(
                min(o - lower[slot], upper[slot] - o),
                min(o - lower[following], upper[following] - o),
            )
            inside = lower[slot] <= o <= upper[slot]
            margin = -math.inf if math.isnan(o) else depth / self.pitch
            found.append((classes[slot] if inside else REJECTED, margin))
        return found

    @cached_property
    def _by_number(self) -> tuple[list[float], list[float], tuple[int, ...]]:
        return self.edges.lower.tolist(), self.edges.upper.tolist(), self.classes

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; :meth:`from_dict` is the exact inverse."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in plain.items()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> IntervalEncoding:
        """Rebuild an encoding from :meth:`to_dict`.

        Raises:
            ValueError: A field is missing, unknown, or has a value that is not allowed.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(data, dict) or set(data) != names:
            raise ValueError(f"an encoding has exactly the fields {', '.join(sorted(names))}")
        return cls(**data)

    def canonical(self) -> CanonicalEncoding:
        """Reduce to what survives ``o -> c*o + d``: strict decoding sees nothing else."""
        alphas, betas = self._by_slot(self.alpha), self._by_slot(self.beta)
        line = [length for pair in zip(betas, alphas, strict=True) for length in pair][:-1]
        classes = self.classes
        if classes[0] > classes[-1]:
            line, classes = line[::-1], classes[::-1]
        unit = (math.fsum(line) - (line[0] + line[-1]) / 2) / (self.num_classes - 1)
        return CanonicalEncoding(classes, tuple(round(x / unit * _GRID) for x in line))

    def _by_slot(self, value: float | tuple[float, ...]) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return tuple(value[y] for y in self.classes)
        return (value,) * self.num_classes

    def _index(self, name: str, value: int) -> int:
        if not 0 <= value < self.num_classes:
            raise IndexError(f"{name} {value} is not in 0 to {self.num_classes - 1}")
        return value


def equivalent(a: IntervalEncoding, b: IntervalEncoding) -> bool:
    """Whether an affine map ``c*o + d`` (c < 0 reverses) turns one encoding into the other.

    A last linear layer absorbs such a map, so equivalent encodings give the same device twice:
    only beta/(alpha+beta), the order up to reversal and the weights tell devices apart. Compares
    :meth:`IntervalEncoding.canonical`, hence lengths to a millionth of the pitch.
    """
    return a.canonical() == b.canonical()
