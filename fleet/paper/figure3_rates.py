"""Rates of a transfer audit as arrays, for the statistics of Figure 3. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleet.audit.core.result import AuditedDevice, Matrix, Protocol, TransferAudit
from fleet.encoding import IntervalEncoding
from fleet.errors import AuditError
from fleet.paper.figure3_result import Network
from fleet.paper.figure3_statistics import Kind, Lengths, Range, Rates

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Coded:
    """A network and its encoding.

    Attributes:
        network: As the result shows it.
        encoding: In full.
    """

    network: Network
    encoding: IntervalEncoding

    @property
    def name(self) -> str:
        """Device name."""
        return self.network.name

    @property
    def lengths(self) -> Lengths:
        """Gap and interval length."""
        return self.network.lengths


@dataclass(frozen=True)
class Transfer:
    """One attack at one eps between all networks; arrays are (surrogates, victims).

    Attributes:
        protocol: ``paper`` or ``adaptive``.
        attack: Its name.
        eps: Linf radius in pixel units.
        trials: int: images that the victim decodes correctly, the denominators.
        flip: float64 in [0, 1].
        evade: float64 in [0, 1].
    """

    protocol: Protocol
    attack: str
    eps: float
    trials: NDArray[np.int64]
    flip: Floats
    evade: Floats

    def rates(self, kind: Kind) -> Floats:
        """Rates of one kind."""
        return self.flip if kind == "flip" else self.evade

    def over(self, rows: Sequence[int], columns: Sequence[int]) -> Rates | None:
        """Ordered pairs of a surrogate in ``rows`` and another network in ``columns``."""
        pairs = [(i, j) for i in rows for j in columns if i != j]
        return rates_of([(self.flip[p], self.evade[p]) for p in pairs]) if pairs else None


def rates_of(values: Sequence[tuple[float, float]]) -> Rates:
    """Summarise (flip, evade) of one or more networks or pairs."""
    flips, evades = zip(*values, strict=True)
    return Rates(Range.of([float(v) for v in flips]), Range.of([float(v) for v in evades]))


def read_networks(audit: TransferAudit) -> tuple[Coded, ...]:
    """The networks that decode an image, controls left out.

    Raises:
        AuditError: A device has no encoding, an alpha or beta for each class, or another order
            of classes than the first, which would be a second thing that varies; or there is no
            device left.
    """
    found = [_coded(device) for device in audit.devices if device.role == "device"]
    if len({coded.encoding.classes for coded in found}) > 1:
        raise AuditError(
            f"run {audit.run} varies the order of classes, not alpha and beta alone",
            hint="give all devices one order, as fleet/paper/profiles/figure3-mnist.yaml does",
        )
    alive = tuple(coded for coded in found if coded.network.correct)
    if not alive:
        raise AuditError(
            f"no device of run {audit.run} decodes a single image correctly",
            hint="train for longer, or audit more images",
        )
    return alive


def read_transfer(
    audit: TransferAudit, networks: Sequence[Coded], protocol: Protocol, eps: float
) -> Transfer:
    """Gather one matrix: the paper's PGD, or the adaptive attacks' worst case.

    Figure 3 of the paper shows PGD alone, so FGSM stays out of the paper's protocol.
    """
    attacks = {m.attack for m in audit.matrices if m.protocol == protocol}
    attack = "pgd" if protocol == "paper" and "pgd" in attacks else "worst"
    matrix = audit.matrix(protocol, eps, attack)
    trials, flips, evades = _counts(matrix, [coded.name for coded in networks])
    return Transfer(protocol, attack, eps, trials, flips / trials, evades / trials)


def _counts(matrix: Matrix, names: Sequence[str]) -> tuple[NDArray[np.int64], ...]:
    outcomes = {(cell.surrogate, cell.victim): cell.outcome for cell in matrix.cells}
    grid = [[outcomes[surrogate, victim] for victim in names] for surrogate in names]
    counts = [[(o.n, o.flip, o.evade) for o in row] for row in grid]
    return tuple(np.moveaxis(np.array(counts, dtype=np.int64), -1, 0))


def _coded(device: AuditedDevice) -> Coded:
    encoding = IntervalEncoding.from_dict(device.encoding) if device.encoding else None
    if encoding is None or isinstance(encoding.alpha, tuple) or isinstance(encoding.beta, tuple):
        raise AuditError(
            f"device {device.name} has no single alpha and beta to compare",
            hint="audit interval devices with a disclosed encoding of one alpha and one beta",
        )
    lengths = Lengths(encoding.alpha, encoding.beta)
    network = Network(device.name, lengths, device.images, device.correct, device.rejected)
    return Coded(network, encoding)
