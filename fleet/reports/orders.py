"""A device's encoding as briefly as the axes of a figure and the tables need it."""

from dataclasses import dataclass

from fleet.audit.core.result import AuditedDevice
from fleet.encoding import IntervalEncoding

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
