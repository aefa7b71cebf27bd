"""What a device demands of a bundle before it installs it: ``certified>=0.9@0.1``."""

import re
from dataclasses import dataclass

from fleet.bundle import Envelope
from fleet.errors import RolloutError

_FORM = re.compile(r"(certified|accuracy|transfer)(>=|<=)([0-9.]+)(?:@([0-9.]+(?:/[0-9.]+)?))?")


@dataclass(frozen=True)
class Requirement:
    """One demand; make one with :func:`parse_requirement`.

    Attributes:
        figure: ``certified`` (share of all test images), ``accuracy`` or ``transfer``.
        least: Whether ``limit`` is the least that will do; else the most.
        limit: A share, in [0, 1].
        eps: Linf radius in pixel units; None for ``accuracy``.
        text: As it was written.
    """

    figure: str
    least: bool
    limit: float
    eps: float | None
    text: str

    def check(self, envelope: Envelope) -> None:
        """Compare a bundle with the demand.

        Raises:
            RolloutError: The bundle does not say it, or says less.
        """
        found = self._value(envelope)
        if found is None or (found < self.limit if self.least else found > self.limit):
            said = "says nothing about it" if found is None else f"has {found:.4f}"
            raise RolloutError(
                f"this device asks for {self.text}; release {envelope.release} {said}",
                hint="the operator makes that audit, and packages the release again",
            )

    def _value(self, envelope: Envelope) -> float | None:
        if self.figure == "accuracy":
            metrics = envelope.public.get("metrics") or {}
            return _number(metrics.get("accuracy"))
        if self.figure == "transfer":
            rows, key = (envelope.public.get("audit") or {}).get("rows", []), "transfer_evade"
        else:
            rows, key = (envelope.certificate or {}).get("rows", []), "stay"
        near = [row for row in rows if abs(float(row["eps"]) - (self.eps or 0)) < 1e-6]
        return _number(near[0].get(key)) if near else None


def parse_requirement(text: str) -> Requirement:
    """Read one demand.

    Raises:
        RolloutError: It has another form.
    """
    match = _FORM.fullmatch(text.replace(" ", ""))
    try:
        if match is None:
            raise ValueError
        figure, sign, limit, at = match.groups()
        if (at is None) != (figure == "accuracy") or not 0 <= float(limit) <= 1:
            raise ValueError
        over = at.split("/") if at else []
        eps = None if at is None else float(over[0]) / (float(over[1]) if over[1:] else 1)
    except (ValueError, ZeroDivisionError) as error:
        raise RolloutError(
            f"{text!r} is no requirement",
            hint="write certified>=0.9@0.1, transfer<=0.05@8/255 or accuracy>=0.97",
        ) from error
    return Requirement(figure, sign == ">=", float(limit), eps, text)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
