"""What the reports say in words: findings, flags and the verdict, computed from an audit.

Everything here is plain values; terminal, HTML and figures only set them in type.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from fleet.audit.result import Cell, Check, Matrix, Protocol, TransferAudit, Verdict
from fleet.reports.wording import format_eps, format_interval, format_range, format_rate, visible

Kind = Literal["flip", "reject", "evade"]

PROTOCOLS: tuple[Protocol, ...] = ("adaptive", "paper")
"""In the order of every report: the protocol that can be believed comes first."""

MASKING = frozenset({"M1", "M2", "M3", "M4", "M5", "M6", "M7", "M8", "M13"})
"""Checks whose failure means that the attack was blind, not that the device is robust."""


@dataclass(frozen=True)
class Flag:
    """Why a protocol's figures must not be read as safety.

    Attributes:
        word: ``masked`` when a check of :data:`MASKING` failed, else ``unreliable``.
        ids: The failed checks, each once.
    """

    word: Literal["masked", "unreliable"]
    ids: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The flag in words."""
        return (
            f"{self.word.upper()}: {', '.join(self.ids)} failed; "
            "a low rate here is no evidence of safety"
        )


@dataclass(frozen=True)
class Finding:
    """One matrix in a few figures.

    Attributes:
        protocol: Of the matrix.
        attack: Of the matrix.
        eps: Of the matrix, pixel units.
        worst: Off-diagonal cell of the highest rate, the first of equals; None with one device.
        mean: Mean rate off the diagonal, each pair counted once; None with one device.
        white_box: Lowest and highest rate on the diagonal.
        noise: Noise floor of the victim of ``worst``.
    """

    protocol: Protocol
    attack: str
    eps: float
    worst: Cell | None
    mean: float | None
    white_box: tuple[float, float] | None
    noise: float | None


def protocols(audit: TransferAudit, eps: float) -> tuple[Protocol, ...]:
    """Protocols that were audited at ``eps``, in the order of :data:`PROTOCOLS`."""
    present = {m.protocol for m in audit.matrices if (m.attack, m.eps) == ("worst", eps)}
    return tuple(protocol for protocol in PROTOCOLS if protocol in present)


def rows(audit: TransferAudit, matrix: Matrix) -> list[list[Cell]]:
    """Cells of a matrix as rows of surrogates, in device order."""
    found = {(cell.surrogate, cell.victim): cell for cell in matrix.cells}
    names = [device.name for device in audit.devices]
    return [[found[surrogate, victim] for victim in names] for surrogate in names]


def lift(audit: TransferAudit, cell: Cell, eps: float, kind: Kind = "evade") -> float | None:
    """Rate of a cell less the noise floor of its victim; None where either is undefined."""
    rate = cell.outcome.rate(kind)
    noise = _noise(audit, cell, eps, kind)
    return None if rate is None or noise is None else rate - noise


def worst_pairs(matrix: Matrix, kind: Kind = "evade", top: int = 10) -> list[Cell]:
    """The ``top`` off-diagonal cells of the highest rate; equals stay in matrix order."""
    rated = [(cell.outcome.rate(kind), cell) for cell in _transfers(matrix)]
    known = [(rate, cell) for rate, cell in rated if rate is not None]
    return [cell for _, cell in sorted(known, key=lambda pair: -pair[0])[:top]]


def find(audit: TransferAudit, matrix: Matrix, kind: Kind = "evade") -> Finding:
    """Boil a matrix down to a :class:`Finding`."""
    diagonal = _rates((c for c in matrix.cells if c.surrogate == c.victim), kind)
    transfer = _rates(_transfers(matrix), kind)
    worst = next(iter(worst_pairs(matrix, kind, top=1)), None)
    return Finding(
        protocol=matrix.protocol,
        attack=matrix.attack,
        eps=matrix.eps,
        worst=worst,
        mean=sum(transfer) / len(transfer) if transfer else None,
        white_box=(min(diagonal), max(diagonal)) if diagonal else None,
        noise=None if worst is None else _noise(audit, worst, matrix.eps, kind),
    )


def findings(audit: TransferAudit) -> list[Finding]:
    """One finding for each eps and protocol: the worst case over the protocol's attacks."""
    return [
        find(audit, audit.matrix(protocol, eps))
        for eps in audit.eps
        for protocol in protocols(audit, eps)
    ]


def checks_with(audit: TransferAudit, *verdicts: Verdict) -> list[Check]:
    """Checks that ended with one of ``verdicts``, in the order of the verdicts asked for."""
    return [check for verdict in verdicts for check in audit.checks if check.verdict == verdict]


def flag(audit: TransferAudit, protocol: Protocol) -> Flag | None:
    """The flag that a protocol's figures carry, or None.

    A check whose subject begins with a protocol's name speaks of that protocol alone; any other
    failed check speaks of both.
    """
    failed = [c for c in checks_with(audit, "fail") if protocol in _spoken_of(c)]
    if not failed:
        return None
    ids = tuple(dict.fromkeys(visible(check.id) for check in failed))
    return Flag("masked" if MASKING.intersection(ids) else "unreliable", ids)


def verdict(audit: TransferAudit) -> tuple[Verdict, str]:
    """How far this audit can be believed: a level and one sentence or two.

    ``fail`` when every protocol audited is flagged, ``warn`` when one can still be believed. The
    paper's protocol is masked on nearly every interval classifier; that alone is no ``fail``.
    """
    if not audit.checks:
        return "warn", "No reliability check ran: nothing vouches for these figures."
    total = len(audit.checks)
    failed, warned = len(checks_with(audit, "fail")), len(checks_with(audit, "warn"))
    if failed:
        return _failed(audit, f"{failed} of {total} reliability checks failed.")
    if warned:
        return "warn", f"{warned} of {total} reliability checks warn; none failed."
    return "pass", f"All {total} reliability checks passed."


def summary_lines(audit: TransferAudit) -> list[str]:
    """The audit in plain lines: each finding, then how far it can be believed."""
    lines = [_line(audit, finding) for finding in findings(audit)]
    level, sentence = verdict(audit)
    return [*lines, sentence if level == "pass" else f"warning: {sentence}"]


def _failed(audit: TransferAudit, count: str) -> tuple[Verdict, str]:
    flags = {protocol: flag(audit, protocol) for protocol in PROTOCOLS}
    words = " and ".join(f"{protocol} protocol ({f.word})" for protocol, f in flags.items() if f)
    audited = {matrix.protocol for matrix in audit.matrices}
    sound = [protocol for protocol in PROTOCOLS if protocol in audited and not flags[protocol]]
    sentence = f"{count} A low rate of the {words} is no evidence of safety."
    if not sound:
        return "fail", sentence
    return "warn", f"{sentence} The {sound[0]} protocol failed none."


def _line(audit: TransferAudit, finding: Finding) -> str:
    head = f"{finding.protocol}, eps {format_eps(finding.eps)}: "
    flagged = flag(audit, finding.protocol)
    if flagged:
        head += f"[{flagged.word.upper()}: {', '.join(flagged.ids)}] "
    parts = []
    if finding.worst is not None:
        outcome = finding.worst.outcome
        parts.append(
            f"worst transfer {format_rate(outcome.rate('evade'))} "
            f"(95 % {format_interval(outcome.interval('evade'))}, n {outcome.n}) "
            f"{_pair(finding.worst)}, noise floor {format_rate(finding.noise)}"
        )
        parts.append(f"mean transfer {format_rate(finding.mean)}")
    parts.append(f"white-box {format_range(finding.white_box)}")
    return head + "; ".join(parts)


def _pair(cell: Cell) -> str:
    return f"{visible(cell.surrogate)} → {visible(cell.victim)}"


def _noise(audit: TransferAudit, cell: Cell, eps: float, kind: Kind) -> float | None:
    return audit.noise_floor(cell.victim, eps).outcome.rate(kind)


def _transfers(matrix: Matrix) -> list[Cell]:
    return [cell for cell in matrix.cells if cell.surrogate != cell.victim]


def _rates(cells: Iterable[Cell], kind: Kind) -> list[float]:
    return [rate for cell in cells if (rate := cell.outcome.rate(kind)) is not None]


def _spoken_of(check: Check) -> tuple[Protocol, ...]:
    first = check.subject.partition(" ")[0].rstrip(",:")
    return tuple(protocol for protocol in PROTOCOLS if protocol == first) or PROTOCOLS
