"""What a transfer audit says in words: its matrices boiled down to a few figures.

Everything here is plain values; terminal, HTML and figures only set them in type. A control (a
network that is shipped to nobody) never counts as a device of the fleet: it has figures of its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from fleet.audit.core import result
from fleet.audit.transfer.result import TransferAudit
from fleet.encoding import CanonicalEncoding, IntervalEncoding
from fleet.reports.flags import PROTOCOLS
from fleet.reports.ladder import mean_interval
from fleet.reports.rate_map import RateMap


@dataclass(frozen=True)
class Finding:
    """One matrix in a few figures: of the fleet, and in the last two of the controls.

    Attributes:
        protocol: Of the matrix.
        attack: Of the matrix.
        eps: Of the matrix, pixel units.
        worst: Off-diagonal cell of the highest rate, the first of equals; None with one device.
        mean: Mean rate off the diagonal, each pair counted once; None with one device.
        white_box: Lowest and highest rate on the diagonal.
        noise: Noise floor of the victim of ``worst``.
        nobody: Mean rate of the devices under images made on the controls, what an attacker
            without any device gets; None without a control.
        baseline: Lowest and highest white-box rate of the controls, the undefended networks.
    """

    protocol: result.Protocol
    attack: str
    eps: float
    worst: result.Cell | None
    mean: float | None
    white_box: tuple[float, float] | None
    noise: float | None
    nobody: float | None
    baseline: tuple[float, float] | None


def controls(audit: TransferAudit) -> tuple[result.AuditedDevice, ...]:
    """The undefended networks; they and the twin stand last in every matrix."""
    return tuple(device for device in audit.devices if device.role == "control")


def beside(audit: TransferAudit) -> set[str]:
    """Names of the networks that are shipped to nobody: the controls and the twin."""
    return {device.name for device in audit.devices if device.role != "device"}


def protocols(audit: TransferAudit, eps: float) -> tuple[result.Protocol, ...]:
    """Protocols that were audited at ``eps``, in the order of :data:`PROTOCOLS`."""
    present = {m.protocol for m in audit.matrices if (m.attack, m.eps) == ("worst", eps)}
    return tuple(protocol for protocol in PROTOCOLS if protocol in present)


def rows(audit: TransferAudit, matrix: result.Matrix) -> list[list[result.Cell]]:
    """Cells of a matrix as rows of surrogates, in device order."""
    found = {(cell.surrogate, cell.victim): cell for cell in matrix.cells}
    names = [device.name for device in audit.devices]
    return [[found[surrogate, victim] for victim in names] for surrogate in names]


def fleet_cells(audit: TransferAudit, matrix: result.Matrix) -> list[result.Cell]:
    """Cells between devices of the fleet, the diagonal left out."""
    outside = beside(audit)
    return [
        cell
        for cell in matrix.cells
        if cell.surrogate != cell.victim and not outside & {cell.surrogate, cell.victim}
    ]


def nobody_cells(audit: TransferAudit, matrix: result.Matrix) -> list[result.Cell]:
    """Cells from a control to a device of the fleet."""
    undefended = {device.name for device in controls(audit)}
    outside = beside(audit)
    return [c for c in matrix.cells if c.surrogate in undefended and c.victim not in outside]


@dataclass(frozen=True)
class Bought:
    """What a different encoding bought, beside other weights alone.

    Attributes:
        surrogate: The first device, on which the images were made.
        others: Mean rate on the other devices of the fleet, whose encodings differ.
        twin: Rate on the twin, which has the first device's encoding.
        interval: 95 % interval of ``twin - others`` over images; other weights may give others.
        n: Images behind the twin's rate.
    """

    surrogate: str
    others: float
    twin: float
    interval: tuple[float, float]
    n: int


def bought(audit: TransferAudit, eps: float) -> Bought | None:
    """Compare the first device's images on devices of other encodings and on its twin.

    Adaptive protocol, worst case over the attacks, evade; None without a twin or other devices.
    """
    twins = [device for device in audit.devices if device.role == "twin"]
    shapes = {d.name: _shape(d) for d in audit.devices}
    if not twins or "adaptive" not in protocols(audit, eps):
        return None
    first = audit.fleet[0]
    if shapes[first] != shapes[twins[0].name]:  # a rotation gave the first device another order
        return None
    cells = [c for c in audit.matrix("adaptive", eps).cells if c.surrogate == first]
    known = [c for c in cells if c.victim in audit.fleet[1:] and c.outcome.n]
    known = [c for c in known if shapes[first] is None or shapes[c.victim] != shapes[first]]
    on_twin = next(c.outcome for c in cells if c.victim == twins[0].name)
    rate, others = on_twin.rate("evade"), result.mean_rate(c.outcome.rate("evade") for c in known)
    if rate is None or others is None:
        return None
    n = min(c.outcome.n for c in known)
    interval = result.difference_interval(
        (rate, on_twin.interval("evade")), (others, mean_interval(others, n))
    )
    return Bought(first, others, rate, interval, on_twin.n)


def _shape(device: result.AuditedDevice) -> CanonicalEncoding | None:
    """What two equivalent encodings share; None where it is private."""
    encoding = device.encoding
    return None if encoding is None else IntervalEncoding.from_dict(encoding).canonical()


def lift(audit: TransferAudit, cell: result.Cell, eps: float) -> float | None:
    """Rate of a cell less the noise floor of its victim; None where either is undefined."""
    rate, noise = cell.outcome.rate("evade"), _noise(audit, cell, eps)
    return None if rate is None or noise is None else rate - noise


def worst_pairs(audit: TransferAudit, matrix: result.Matrix, top: int = 10) -> list[result.Cell]:
    """The ``top`` cells between devices of the highest rate; equals stay in matrix order."""
    places = RateMap.of(matrix).worst(set(audit.fleet), top)
    return [matrix.cells[place] for place in places]


def find(audit: TransferAudit, matrix: result.Matrix) -> Finding:
    """Boil a matrix down to a :class:`Finding`."""
    outside, undefended = beside(audit), {device.name for device in controls(audit)}
    diagonal = [cell for cell in matrix.cells if cell.surrogate == cell.victim]
    worst = next(iter(worst_pairs(audit, matrix, top=1)), None)
    return Finding(
        protocol=matrix.protocol,
        attack=matrix.attack,
        eps=matrix.eps,
        worst=worst,
        mean=result.mean_rate(RateMap.of(matrix).listed(set(audit.fleet))),
        white_box=_extent(c for c in diagonal if c.victim not in outside),
        noise=None if worst is None else _noise(audit, worst, matrix.eps),
        nobody=result.mean_rate(cell.outcome.rate("evade") for cell in nobody_cells(audit, matrix)),
        baseline=_extent(c for c in diagonal if c.victim in undefended),
    )


def findings(audit: TransferAudit) -> list[Finding]:
    """One finding for each eps and protocol: the worst case over the protocol's attacks."""
    return [
        find(audit, audit.matrix(protocol, eps))
        for eps in audit.eps
        for protocol in protocols(audit, eps)
    ]


def _noise(audit: TransferAudit, cell: result.Cell, eps: float) -> float | None:
    return audit.noise_floor(cell.victim, eps).outcome.rate("evade")


def _extent(cells: Iterable[result.Cell]) -> tuple[float, float] | None:
    rates = [rate for cell in cells if (rate := cell.outcome.rate("evade")) is not None]
    return (min(rates), max(rates)) if rates else None
