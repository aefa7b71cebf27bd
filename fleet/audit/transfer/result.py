"""What ``fleet audit transfer`` found, of all pairs or of a sample. No torch here."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fleet.audit.core import result
from fleet.audit.core.document import Stored
from fleet.audit.core.kind import Attacker
from fleet.audit.transfer.estimate import Drawn, Estimate
from fleet.encoding import IntervalEncoding

SCHEMA = "fleet.audit.transfer/2"


@dataclass(frozen=True)
class TransferAudit(result.AttackResult, schema=SCHEMA):
    """Everything that ``fleet audit transfer`` found.

    Attributes:
        devices: In matrix order.
        matrices: One for each protocol, attack and eps, the protocol's ``worst`` included.
        noise: One for each victim and eps.
        checks: Reliability checks, in order of id.
    """

    matrices: tuple[result.Matrix, ...]

    @property
    def protocols(self) -> frozenset[result.Protocol]:
        """Those that were audited."""
        return frozenset(matrix.protocol for matrix in self.matrices)

    def matrix(self, protocol: result.Protocol, eps: float, attack: str = "worst") -> result.Matrix:
        """Look up one matrix.

        Raises:
            KeyError: There is no such matrix.
        """
        return result.pick(self.matrices, protocol=protocol, eps=eps, attack=attack)

    def reached(self) -> Iterator[result.Reached]:
        """The adaptive worst case from each other network to each device, for gates.

        The twin is left out: no attacker has it.
        """
        twins = {device.name for device in self.devices if device.role == "twin"}
        for eps in self.eps:
            for cell in self.matrix("adaptive", eps).cells:
                if cell.surrogate not in {cell.victim, *twins} and cell.victim in self.fleet:
                    words = f"from {cell.surrogate} to {cell.victim}"
                    who: Attacker = "device" if cell.surrogate in self.fleet else "outsider"
                    yield result.Reached.of(who, eps, cell.outcome, words, cell.victim)

    def require_whole(self) -> None:
        """Raise ``KeyError`` or ``ValueError`` unless every figure that a report shows is there."""
        self.require_devices()
        names = [device.name for device in self.devices]
        for device in self.devices:
            if device.encoding is not None:
                IntervalEncoding.from_dict(device.encoding)
        pairs = sorted((surrogate, victim) for surrogate in names for victim in names)
        for eps in self.eps:
            for name in names:
                self.noise_floor(name, eps)
            for protocol in self.protocols:
                cells = self.matrix(protocol, eps).cells
                if sorted((cell.surrogate, cell.victim) for cell in cells) != pairs:
                    raise ValueError(f"cells of protocol {protocol} at eps {eps}")


SAMPLE_SCHEMA = "fleet.audit.transfer.sample/1"

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
class PairSample(Stored, schema=SAMPLE_SCHEMA):
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
