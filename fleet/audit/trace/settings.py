"""How a trace audit makes images, and how it judges them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fleet.attacks import radius
from fleet.audit.core.members import TransferSettings
from fleet.audit.core.sets import device_attack
from fleet.errors import AuditError


@dataclass(frozen=True)
class TraceSettings:
    """How to make images, and how to judge them.

    Attributes:
        eps: Linf radii in pixel units, (0, 1], at least one 8-bit level each; kept ascending.
        evidence: Amounts of evidence, m images of one source together; kept ascending.
        false_positives: Share of innocent evidence that may accuse a device, (0, 1).
        steps: Steps of the attacks.
        batch_size: Images at once; changes the time and the memory, not the result.
        seed: Seed of images, attacks and groups.

    Raises:
        AuditError: A value is out of range.
    """

    eps: tuple[float, ...]
    evidence: tuple[int, ...] = (1, 2, 3, 5)
    false_positives: float = 0.05
    steps: int = 15
    batch_size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.eps or not self.evidence:
            raise AuditError("no eps or no evidence to audit", hint="give one or more of each")
        object.__setattr__(self, "eps", tuple(sorted(set(self.eps))))
        object.__setattr__(self, "evidence", tuple(sorted(set(self.evidence))))
        for eps in self.eps:
            radius(eps)
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise AuditError(
                    f"{name} is {getattr(self, name)}", hint=f"{name} must be 1 or more"
                )
        if self.evidence[0] < 1 or not 0 < self.false_positives < 1:
            raise AuditError(
                f"evidence is {self.evidence[0]} and false_positives {self.false_positives:g}",
                hint="judge 1 image or more, and allow a share between 0 and 1",
            )

    def attack(self) -> TransferSettings:
        """How devices and outsiders are attacked."""
        return device_attack(self.eps, steps=self.steps, seed=self.seed, batch_size=self.batch_size)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}
