"""What ``fleet audit transfer`` found. Nothing in this module imports torch."""

from collections.abc import Iterator
from dataclasses import dataclass

from fleet.audit.core import result
from fleet.audit.core.kind import Attacker
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
