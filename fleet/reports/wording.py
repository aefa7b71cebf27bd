"""How every report writes a number, a radius and a name."""

from dataclasses import dataclass
from typing import Literal

from fleet.audit.core.result import AuditedDevice
from fleet.encoding import IntervalEncoding

Success = Literal["flip", "reject", "evade"]

ABSENT = "–"
"""Stands where there is nothing to divide by."""


def visible(text: str) -> str:
    """Replace what does not print by U+FFFD.

    Names reach a report from a file that anybody may have written. Control characters drive a
    terminal, bidirectional overrides make one name look like another, and a lone surrogate cannot
    be written as UTF-8.
    """
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def format_rate(rate: float | None, digits: int = 3) -> str:
    """Write a share of [0, 1] so that only an exact 0 reads as 0 and only an exact 1 as 1.

    >>> format_rate(0.0004), format_rate(0.0), format_rate(0.9999), format_rate(None)
    ('<0.001', '0.000', '>0.999', '–')
    """
    if rate is None:
        return ABSENT
    smallest = 10**-digits
    text = f"{rate:.{digits}f}"
    if rate > 0 and float(text) == 0:
        return f"<{smallest:.{digits}f}"
    if rate < 1 and float(text) == 1:
        return f">{1 - smallest:.{digits}f}"
    return text


def format_interval(interval: tuple[float, float]) -> str:
    """Write an interval of shares, for example ``0.381–0.443``."""
    return "–".join(f"{bound:.3f}" for bound in interval)


def format_range(bounds: tuple[float, float] | None) -> str:
    """Write the lowest and the highest of some rates, for example ``0.951 to 0.998``."""
    if bounds is None:
        return ABSENT
    return " to ".join(format_rate(bound) for bound in bounds)


def format_lift(lift: float | None) -> str:
    """Write a difference of two shares with its sign."""
    return ABSENT if lift is None else f"{lift:+.3f}"


def format_eps(eps: float) -> str:
    """Write a radius as a share of the pixel range and in steps of 8 bits.

    >>> format_eps(8 / 255), format_eps(0.1), format_eps(0.2)
    ('8/255 (0.0314)', '0.1 (25.5/255)', '0.2 (51/255)')
    """
    short = short_eps(eps)
    return f"{short} ({eps:.3g})" if "/" in short else f"{short} ({eps * 255:.3g}/255)"


def short_eps(eps: float) -> str:
    """Write a radius as briefly as an axis needs: the form in which it was probably asked for.

    >>> short_eps(8 / 255), short_eps(0.1), short_eps(0.2)
    ('8/255', '0.1', '0.2')
    """
    steps = eps * 255
    whole = abs(steps - round(steps)) < 1e-6
    plain = f"{eps:.4g}"
    return f"{round(steps)}/255" if whole and len(plain) > 4 else plain


def format_count(number: float, word: str) -> str:
    """Write a number of things.

    >>> format_count(1, "device"), format_count(3, "device"), format_count(-1.0, "point")
    ('1 device', '3 devices', '-1 point')
    """
    told = number if isinstance(number, int) else f"{number:g}"
    return f"{told} {word}{'' if abs(number) == 1 else 's'}"


NOT_DISCLOSED = "not disclosed"
NO_INTERVALS = "no intervals"
IDENTITY = "identity"


@dataclass(frozen=True)
class OrderLabel:
    """What tells one device's encoding from another's.

    Attributes:
        classes: Class at each slot, from the lowest; None if it is private or there are no slots.
        order: ``identity``, the classes along the line, or why there is nothing to show.
        alpha: Gap, or the range of the gaps; empty without intervals.
        beta: Interval length, or the range of the lengths; empty without intervals.
        ratio: beta / (alpha + beta), to four digits; empty without intervals.
        s0: Lower edge of slot 0; empty without intervals.
    """

    classes: tuple[int, ...] | None
    order: str
    alpha: str = ""
    beta: str = ""
    ratio: str = ""
    s0: str = ""

    @property
    def along(self) -> str:
        """The classes along the line, or why there is nothing to show."""
        return self.order if self.classes is None else " ".join(map(str, self.classes))

    @property
    def brief(self) -> str:
        """One short line, for example ``α 4, β 16``."""
        return f"α {self.alpha}, β {self.beta}" if self.alpha else self.order


def control_mark(device: AuditedDevice) -> str:
    """What stands behind the name of a control or twin, unless the name says so itself."""
    return "" if device.role in {"device", device.name} else f" ({device.role})"


def order_label(device: AuditedDevice) -> OrderLabel:
    """Describe the encoding of a device, a control or a device whose encoding is private."""
    if device.encoding is None:
        return OrderLabel(None, NOT_DISCLOSED if device.task == "int" else NO_INTERVALS)
    encoding = IntervalEncoding.from_dict(device.encoding)
    alphas, betas = _per_class(encoding, encoding.alpha), _per_class(encoding, encoding.beta)
    shares = [beta / (alpha + beta) for alpha, beta in zip(alphas, betas, strict=True)]
    identity = encoding.classes == tuple(range(encoding.num_classes))
    return OrderLabel(
        classes=encoding.classes,
        order=IDENTITY if identity else " ".join(map(str, encoding.classes)),
        alpha=_extent(alphas),
        beta=_extent(betas),
        ratio=_extent([round(share, 4) for share in shares]),
        s0=f"{encoding.s0:g}",
    )


def _per_class(encoding: IntervalEncoding, value: float | tuple[float, ...]) -> list[float]:
    return list(value) if isinstance(value, tuple) else [value] * encoding.num_classes


def _extent(values: list[float]) -> str:
    low, high = f"{min(values):g}", f"{max(values):g}"
    return low if low == high else f"{low} to {high}"
