"""Interval edges along the number line, exact and on the float32 grid.

A network's output is a float32, so decoding compares float32 numbers. Edges are computed in
float64 and rounded once; rounding is monotone, so no point of an interval is lost to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleet.encoding.fields import FLOAT32_MAX

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
