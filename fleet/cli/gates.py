"""How commands say what gates found, and leave by it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import typer

from fleet.audit.core.kind import AUDIT_FILE, Attacker
from fleet.cli.options import ConfidenceChoice, FailOn
from fleet.cli.output import Output

if TYPE_CHECKING:
    from fleet.audit.core.gates import Demand, Ruling
    from fleet.bundle.package import Plan
    from fleet.rundir import RunDirectory


def demand_of(
    limits: Mapping[Attacker, float], confidence: ConfidenceChoice | None, fail_on: FailOn | None
) -> Demand:
    """The gates that options ask for.

    Raises:
        typer.BadParameter: ``--confidence`` stands without a limit, and would do nothing.
    """
    from fleet.audit.core.gates import Demand

    if confidence is not None and not limits:
        raise typer.BadParameter(
            f"--confidence {confidence.value} needs a limit to hold the rate against, such as "
            "--max-transfer 0.2"
        )
    return Demand(limits, (confidence or ConfidenceChoice.point).value, fail_on is FailOn.masked)


def told(rulings: Sequence[Ruling], output: Output, about: str = "") -> list[str]:
    """Say what readers of gates should know; returns why gates are not passed."""
    from fleet.audit.core.gates import refusals

    for note in dict.fromkeys(note for ruling in rulings for note in ruling.notes):
        output.note(f"note: {about}{note}")
    return [about + reason for reason in refusals(rulings)]


def close(reasons: Iterable[str], output: Output, *, unmade: bool = False) -> None:
    """Name the gates that are not passed, and leave if there is one (1) or work failed (2)."""
    named = list(reasons)
    for reason in named:
        output.note(f"gate: {reason}")
    if named or unmade:
        raise typer.Exit(2 if unmade else 1)


def gate_bundles(
    run: RunDirectory, plans: Sequence[Plan], demand: Demand, output: Output, *, audited: bool
) -> None:
    """Hold the run's transfer audit to gates, before anything is packaged.

    Args:
        run: What is packaged.
        plans: Its bundles.
        demand: The gates; only what reaches these devices is judged.
        output: Of the command.
        audited: Whether each device needs an audit of its present weights.

    Raises:
        AuditError: The audit cannot be read.
        typer.Exit: A gate is not passed.
    """
    reasons = list(_unaudited(plans)) if audited or demand.asked else []
    if demand.asked and not reasons:
        from fleet.audit.core.gates import judge
        from fleet.audit.transfer.result import TransferAudit

        audit = TransferAudit.load(run.audit("transfer") / AUDIT_FILE)
        names = [plan.manifest.device for plan in plans]
        reasons = told(judge(audit, demand, names), output)
    close(reasons, output)


def _unaudited(plans: Sequence[Plan]) -> Iterator[str]:
    for plan in plans:
        if plan.manifest.audit is None:
            yield (
                f"{plan.manifest.device} has no transfer audit (linf) of these weights; "
                "`fleet audit transfer` makes one"
            )
