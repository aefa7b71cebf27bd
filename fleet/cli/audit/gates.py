"""Gates: when an audit that was made ends with exit code 1."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

from fleet.cli.audit.options import FailOn
from fleet.cli.output import Output

if TYPE_CHECKING:
    from fleet.audit.result import TransferAudit
    from fleet.audit.whitebox.result import WhiteboxAudit


def judge(
    audit: TransferAudit | WhiteboxAudit,
    above: Iterable[str],
    fail_on: FailOn | None,
    output: Output,
) -> None:
    """Name every gate that is not passed, and leave with exit code 1 if there is one.

    Args:
        audit: Whose checks ``fail_on`` asks about.
        above: Rates that are too high, in words.
        fail_on: From the command line.
        output: Of the command.
    """
    from fleet.audit.checks import masked

    reasons = list(above)
    if fail_on is FailOn.masked and masked(audit):
        reasons.append("the adaptive figures fail a reliability check")
    close(reasons, output)


def close(reasons: Iterable[str], output: Output) -> None:
    """Name the gates that are not passed, and leave with exit code 1 if there is one."""
    named = list(reasons)
    for reason in named:
        output.note(f"gate: {reason}")
    if named:
        raise typer.Exit(1)


def transfer_above(audit: TransferAudit, limit: float | None) -> list[str]:
    """Name the worst adaptive transfer to a device at each eps that is above ``limit``.

    Controls are nobody's victims: what reaches them counts for nothing.
    """
    if limit is None:
        return []
    shipped = {device.name for device in audit.devices if device.role == "device"}
    found = []
    for eps in audit.eps:
        cells = [
            (cell.outcome.rate("evade") or 0.0, f"from {cell.surrogate} to {cell.victim}")
            for cell in audit.matrix("adaptive", eps).cells
            if cell.surrogate != cell.victim and cell.victim in shipped
        ]
        found += _worst(cells, eps, limit)
    return found


def whitebox_above(audit: WhiteboxAudit, limit: float | None) -> list[str]:
    """Name the device at each eps that the adaptive protocol evades most, if above ``limit``."""
    if limit is None:
        return []
    found = []
    for eps in audit.eps:
        rates = [
            (audit.figure(device.name, "adaptive", eps).outcome.rate("evade") or 0.0, device.name)
            for device in audit.devices
            if device.role == "device"
        ]
        found += _worst([(rate, f"of {name}") for rate, name in rates], eps, limit)
    return found


def _worst(rates: list[tuple[float, str]], eps: float, limit: float) -> list[str]:
    rate, words = max(rates, default=(0.0, ""))
    return [f"evade {rate:.3f} {words} at eps {eps:.4g} is above {limit:g}"] if rate > limit else []
