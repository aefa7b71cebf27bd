"""Interval edges along the number line, exact and on the float32 grid, and checks of their values.

Values come from profiles and from bundles, so nothing is trusted: every check returns a plain
Python value or raises ``ValueError`` with the name of the field. A network's output is a float32,
so decoding compares float32 numbers. Edges are computed in float64 and rounded once; rounding is
monotone, so no point of an interval is lost to it.
"""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_CLASSES = 65_536
FLOAT32_MAX = (2 - 2**-23) * 2.0**127


def class_count(value: object) -> int:
    """Return ``value`` as a number of classes, 2 to ``MAX_CLASSES``.

    Raises:
        ValueError: It is not a whole number in that range.
    """
    count = _whole("num_classes", value)
    if not 2 <= count <= MAX_CLASSES:
        raise ValueError(f"num_classes must be 2 to {MAX_CLASSES}, not {count}")
    return count


def real(name: str, value: object) -> float:
    """Return ``value`` as a float that float32 can hold.

    Raises:
        ValueError: It is not a number (booleans and strings are none), or not finite in float32.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{name} must be a number, not {value!r}")  # noqa: TRY004
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not abs(number) <= FLOAT32_MAX:
        raise ValueError(f"{name} must be finite in float32 (at most 3.4e38), not {number!r}")
    return number


def lengths(name: str, value: object, num_classes: int, *, zero: bool) -> float | tuple[float, ...]:
    """Return ``value`` as one length, or as a tuple with one length for each class.

    Args:
        name: Field name for messages.
        value: A number, or a list or tuple of numbers.
        num_classes: Length that a list must have.
        zero: Whether a length of 0 is legal.

    Raises:
        ValueError: A value is no number, too small, or the list has another length.
    """
    if not isinstance(value, list | tuple):
        return _length(name, value, zero=zero)
    if len(value) != num_classes:
        raise ValueError(f"{name} has {len(value)} values for {num_classes} classes")
    return tuple(_length(f"{name}[{y}]", item, zero=zero) for y, item in enumerate(value))


def permutation(value: object, num_classes: int) -> tuple[int, ...] | None:
    """Return ``value`` as an order (class -> slot), or None for the identity.

    Raises:
        ValueError: It does not name every slot once.
    """
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        raise ValueError(f"order must be a list of slots, not {value!r}")  # noqa: TRY004
    if len(value) != num_classes:
        raise ValueError(f"order has {len(value)} slots for {num_classes} classes")
    order = tuple(_whole(f"order[{y}]", slot) for y, slot in enumerate(value))
    if sorted(order) != list(range(num_classes)):
        raise ValueError(f"order must name each slot 0 to {num_classes - 1} exactly once")
    return order


def _whole(name: str, value: object) -> int:
    if not isinstance(value, bool):
        try:
            return operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            pass
    raise ValueError(f"{name} must be a whole number, not {value!r}")


def _length(name: str, value: object, *, zero: bool) -> float:
    number = real(name, value)
    if number < 0 or (number == 0 and not zero):
        raise ValueError(f"{name} must be {'0 or more' if zero else 'above 0'}, not {number!r}")
    return number


Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Edges:
    """Edges of K intervals by slot, ascending; all arrays are read-only.

    Attributes:
        exact_lower: Eq. 1's M_L, float64 (K,).
        exact_upper: Eq. 1's M_U, float64 (K,).
        lower: ``exact_lower`` rounded to float32 (K,); what decoding compares with.
        upper: ``exact_upper`` rounded to float32 (K,).
        end: Where the last slot and its gap end, a float32 number; only floor decoding uses it.
    """

    exact_lower: Float64Array
    exact_upper: Float64Array
    lower: Float32Array
    upper: Float32Array
    end: float


def to_float32(o: Any) -> Float32Array:
    """Round numbers to float32, to nearest; what is beyond its range becomes an infinity.

    Raises:
        TypeError: ``o`` does not hold real numbers.
    """
    values = np.asarray(o)
    if values.dtype.kind not in "fiu":
        raise TypeError(f"outputs must be real numbers, not {values.dtype}")
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def make_edges(
    s0: float, alphas: Sequence[float], betas: Sequence[float], classes: Sequence[int]
) -> Edges:
    """Lay intervals side by side from ``s0`` upwards (Eq. 1; a running sum where lengths vary).

    Args:
        s0: Lower edge of slot 0.
        alphas: Gap after each slot's interval, > 0.
        betas: Length of each slot's interval, >= 0.
        classes: Class at each slot, for messages.

    Raises:
        ValueError: Some edges are beyond float32's range, or merge there.
    """
    # Sums are exact before they are rounded: for equal lengths this is Eq. 1 as printed, bit by
    # bit, since the rounded sum of p equal numbers is the float64 product with p.
    pitches = (Fraction(alpha + beta) for alpha, beta in zip(alphas, betas, strict=True))
    sums = accumulate(pitches, initial=Fraction(0))
    starts = np.array([s0 + float(total) for total in sums])
    ends = starts[:-1] + np.array(betas)
    lower, upper = to_float32(starts), to_float32(ends)
    _refuse_out_of_range(lower)
    _refuse_merged(lower, upper, betas, classes)
    for array in (starts, ends, lower, upper):
        array.setflags(write=False)
    return Edges(starts[:-1], ends, lower[:-1], upper, float(lower[-1]))


def _refuse_out_of_range(lower: Float32Array) -> None:
    if not (np.abs(lower) < np.float32(FLOAT32_MAX)).all():
        raise ValueError(
            f"with {len(lower) - 1} classes the edges leave float32's range (3.4e38); "
            "make s0, alpha or beta smaller"
        )


def _refuse_merged(
    lower: Float32Array, upper: Float32Array, betas: Sequence[float], classes: Sequence[int]
) -> None:
    """Each gap needs a float32 number strictly inside, each interval of length > 0 two edges."""
    spacing = np.spacing(np.maximum(np.abs(lower[:-1]), np.abs(lower[1:])))
    closed = np.nextafter(upper, np.float32(np.inf)) >= lower[1:]
    collapsed = (upper == lower[:-1]) & (np.array(betas) > 0)
    for vanished, what, field, smallest in (
        (closed, "the gap after", "alpha", 2 * spacing),
        (collapsed, "the interval of", "beta", spacing),
    ):
        if vanished.any():
            slot = int(vanished.argmax())
            raise ValueError(
                f"{what} class {classes[slot]} vanishes in float32, whose numbers near "
                f"{lower[slot]:.7g} are {spacing[slot]:.3g} apart; make {field} at least "
                f"{smallest[slot]:.3g} there, or move s0 nearer to 0"
            )
