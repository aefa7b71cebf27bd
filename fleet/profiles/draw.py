"""Written and drawn values to an :class:`IntervalEncoding`."""

import math
import statistics
from typing import Literal

from fleet.encoding import IntervalEncoding
from fleet.encoding.orders import Order
from fleet.profiles.schema import EncodingSection
from fleet.profiles.secret import FamilySecret

RATIO = (0.7, 0.9)  # beta / (alpha + beta); the paper's 4 and 16 give 0.8
PITCH = (4.0, 64.0)  # alpha + beta; log-uniform; carries no diversity, but marks a leaked bundle
S0 = (-100.0, 100.0)  # as the pitch
DIGITS = 4  # significant digits of drawn values, so that JSON stays readable

Lengths = float | tuple[float, ...]

FIELDS = ("alpha", "beta", "s0", "order")
ALL_AUTO = EncodingSection(alpha="auto", beta="auto", s0="auto", order="auto")


def drawn_fields(section: EncodingSection | None) -> tuple[str, ...]:
    """Names of the fields that ``auto`` leaves to the secret."""
    if section is None:
        return ()
    return tuple(name for name in FIELDS if getattr(section, name) == "auto")


def build_encoding(
    section: EncodingSection,
    *,
    device: str,
    num_classes: int,
    secret: FamilySecret,
    spread: Order | None = None,
) -> IntervalEncoding:
    """Build a device's encoding.

    Args:
        section: Both of ``alpha`` and ``beta`` are set; where one is ``auto``, the other is not 0.
        device: Name of the device, from which its draws follow.
        num_classes: Number of classes, K.
        secret: Asked only for fields that are ``auto``.
        spread: Its order if the section says ``spread``.

    Raises:
        ValueError: The values make no encoding.
    """
    alpha, beta = _lengths(section, device, secret)
    s0 = section.s0
    order = spread if section.order == "spread" else section.order
    return IntervalEncoding(
        num_classes,
        alpha,
        beta,
        s0=_rounded(_between(secret, device, "s0", S0)) if s0 == "auto" else s0,
        order=secret.permutation(device, num_classes) if order == "auto" else order,
    )


def _lengths(
    section: EncodingSection, device: str, secret: FamilySecret
) -> tuple[Lengths, Lengths]:
    """Alpha and beta. One that is written fixes the scale of one that is drawn."""
    alpha, beta = _written(section.alpha), _written(section.beta)
    if alpha is not None and beta is not None:
        return alpha, beta
    ratio = _between(secret, device, "ratio", RATIO)
    if beta is not None:
        return _rounded(_mean(beta) * (1 - ratio) / ratio), beta
    if alpha is not None:
        return alpha, _rounded(_mean(alpha) * ratio / (1 - ratio))
    low, high = map(math.log, PITCH)
    pitch = math.exp(_between(secret, device, "pitch", (low, high)))
    return _rounded(pitch * (1 - ratio)), _rounded(pitch * ratio)


def _written(value: Lengths | Literal["auto"] | None) -> Lengths | None:
    return None if isinstance(value, str) else value


def _between(secret: FamilySecret, device: str, value: str, bounds: tuple[float, float]) -> float:
    low, high = bounds
    return low + (high - low) * secret.uniform(device, value)


def _mean(value: Lengths) -> float:
    return statistics.mean(value) if isinstance(value, tuple) else value


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
