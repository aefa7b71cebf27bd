"""Checks of the plain values that an encoding is made of.

Values come from profiles and from bundles, so nothing is trusted: every function returns a plain
Python value or raises ``ValueError`` with the name of the field.
"""

from __future__ import annotations

import math
import operator
from numbers import Real

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
