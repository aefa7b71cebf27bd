"""What a sample of the pairs of a large fleet says. Nothing in this module imports torch."""

from dataclasses import dataclass
from typing import Any

from fleet.audit.core.document import Stored
from fleet.audit.transfer.estimate import Drawn, Estimate

SCHEMA = "fleet.audit.transfer.sample/1"

SAMPLE_FILE = "sample.json"
"""Name of the result, beside what a whole audit keeps."""

WORST_PAIRS = 20


@dataclass(frozen=True)
class SampledPairs:
    """What a sample of a fleet's pairs says at one eps.

    Attributes:
        eps: Radius in pixel units.
        estimate: Mean adaptive evade rate over all pairs of the fleet.
        quantiles: Of the sampled pairs' rates: 0, 10, 50, 90 and 100 %.
        worst: The sampled pairs with the highest rates: surrogate, victim, rate. A worse one may
            be outside the sample.
    """

    eps: float
    estimate: Estimate
    quantiles: tuple[float, ...]
    worst: tuple[tuple[str, str, float], ...]


@dataclass(frozen=True)
class PairSample(Stored, schema=SCHEMA):
    """Everything that a sampled audit found.

    Attributes:
        devices: Of the fleet, which the estimates are for.
        provenance: Versions and machine; settings and number of images.
        surrogates: Devices that were attacked.
        victims: Devices that their images were tried on.
        at: One for each eps.
    """

    devices: int
    provenance: dict[str, Any]
    surrogates: Drawn
    victims: Drawn
    at: tuple[SampledPairs, ...]

    @property
    def tried(self) -> int:
        """Pairs of two devices that were tried."""
        both = set(self.surrogates.names) & set(self.victims.names)
        return len(self.surrogates.names) * len(self.victims.names) - len(both)

    @property
    def pairs(self) -> int:
        """Ordered pairs of two devices that the fleet has."""
        return self.devices * (self.devices - 1)

    def require_whole(self) -> None:
        """Raise ``ValueError`` unless the sample is one of the fleet, with rates in [0, 1]."""
        for drawn in (self.surrogates, self.victims):
            if not 0 < len(set(drawn.names)) == len(drawn.strata) == len(drawn.sizes):
                raise ValueError(f"devices drawn are {drawn.names}")
            if len(drawn.names) > self.devices:
                raise ValueError(f"{len(drawn.names)} devices drawn of {self.devices}")
        for found in self.at:
            estimate, rates = found.estimate, [rate for _, _, rate in found.worst]
            if any(not 0 <= rate <= 1 for rate in (*rates, *found.quantiles, estimate.rate)):
                raise ValueError(f"rates at eps {found.eps}")
            if len(found.quantiles) not in {0, 5}:
                raise ValueError(f"quantiles at eps {found.eps}")
