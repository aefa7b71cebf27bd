"""What ``fleet audit transfer`` found. Nothing in this module imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fleet.audit.core.result import (
    AuditedDevice,
    Check,
    Matrix,
    NoiseFloor,
    Protocol,
    Reached,
    Stored,
)
from fleet.encoding import IntervalEncoding

SCHEMA = "fleet.audit.transfer/2"


@dataclass(frozen=True)
class TransferAudit(Stored, schema=SCHEMA):
    """Everything that ``fleet audit transfer`` found.

    Attributes:
        run: Name of the audited run, or a label for in-memory models.
        created: ISO 8601 UTC time.
        devices: In matrix order.
        eps: The radii audited, ascending, pixel units.
        matrices: One for each protocol, attack and eps, the protocol's ``worst`` included.
        noise: One for each victim and eps.
        checks: Reliability checks, in order of id.
        settings: Attack hyper-parameters, seed, images, decode rule, scoring precision.
        provenance: Dataset digest, versions, machine, command line.
    """

    run: str
    created: str
    devices: tuple[AuditedDevice, ...]
    eps: tuple[float, ...]
    matrices: tuple[Matrix, ...]
    noise: tuple[NoiseFloor, ...]
    checks: tuple[Check, ...]
    settings: dict[str, Any]
    provenance: dict[str, Any]

    @property
    def protocols(self) -> frozenset[Protocol]:
        """Those that were audited."""
        return frozenset(matrix.protocol for matrix in self.matrices)

    def matrix(self, protocol: Protocol, eps: float, attack: str = "worst") -> Matrix:
        """Look up one matrix.

        Raises:
            KeyError: There is no such matrix.
        """
        for matrix in self.matrices:
            if (matrix.protocol, matrix.attack) == (protocol, attack) and matrix.eps == eps:
                return matrix
        raise KeyError((protocol, attack, eps))

    def noise_floor(self, victim: str, eps: float) -> NoiseFloor:
        """Look up one victim's noise floor.

        Raises:
            KeyError: There is none.
        """
        for floor in self.noise:
            if floor.victim == victim and floor.eps == eps:
                return floor
        raise KeyError((victim, eps))

    def reached(self) -> Iterator[Reached]:
        """The adaptive worst case from each other network to each device, for gates."""
        shipped = {device.name for device in self.devices if device.role == "device"}
        for eps in self.eps:
            for cell in self.matrix("adaptive", eps).cells:
                if cell.surrogate != cell.victim and cell.victim in shipped:
                    words = f"from {cell.surrogate} to {cell.victim}"
                    yield Reached(eps, cell.outcome.rate("evade"), words, cell.victim)

    def require_whole(self) -> None:
        """Raise ``KeyError`` or ``ValueError`` unless every figure that a report shows is there."""
        names = [device.name for device in self.devices]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"device names are {names}")
        for device in self.devices:
            if device.encoding is not None:
                IntervalEncoding.from_dict(device.encoding)
            if not 0 <= device.correct + device.rejected <= device.images or not device.images:
                raise ValueError(f"clean figures of {device.name}")
        pairs = sorted((surrogate, victim) for surrogate in names for victim in names)
        for eps in self.eps:
            for name in names:
                self.noise_floor(name, eps)
            for protocol in {matrix.protocol for matrix in self.matrices}:
                cells = self.matrix(protocol, eps).cells
                if sorted((cell.surrogate, cell.victim) for cell in cells) != pairs:
                    raise ValueError(f"cells of protocol {protocol} at eps {eps}")
