"""How much is proven."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.audit.core.members import Settings
from fleet.errors import AuditError


@dataclass(frozen=True)
class CertifySettings(Settings):
    """Settings of a certificate audit.

    Attributes:
        eps: Largest changes of a pixel, on the [0, 1] scale; sorted, doubles dropped.
        radii: Images, the first of the sample, whose largest certified eps is searched for.
        seed: Seed of the sample.
        tight: Try CROWN-IBP where intervals prove nothing (networks of the architecture ``cnn``).
    """

    eps: tuple[float, ...]
    radii: int = 500
    seed: int = 0
    tight: bool = False

    def __post_init__(self) -> None:
        if not self.eps or not all(0 < eps <= 1 for eps in self.eps):
            raise AuditError(
                f"eps to certify are {self.eps}", hint="give one or more in (0, 1], for example 0.1"
            )
        if self.radii < 0:
            raise AuditError(f"radii is {self.radii}", hint="radii must be 0 or more")
        object.__setattr__(self, "eps", tuple(sorted(set(self.eps))))
