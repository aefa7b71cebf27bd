"""How commands report what gates found, and end with its exit code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import typer

from fleet.audit.core.kind import Attacker
from fleet.cli.options import ConfidenceChoice, FailOn
from fleet.cli.output import Output
from fleet.rundir import RunDirectory

if TYPE_CHECKING:
    from fleet.audit.core.gates import Demand, Ruling
    from fleet.bundle.package import Plan


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
    """Hold the run's audits to gates, before anything is packaged.

    Args:
        run: What is packaged.
        plans: Its bundles.
        demand: The gates; only what reaches these devices is judged, and what they all differ in.
        output: Of the command.
        audited: Whether each device needs an audit of its present weights.

    Raises:
        AuditError: An audit cannot be read.
        typer.Exit: A gate is not passed.
    """
    from fleet.audit.core.gates import judge
    from fleet.audit.diversity.result import DiversityAudit
    from fleet.audit.transfer.result import TransferAudit

    reasons = list(_unaudited(plans)) if audited or demand.asked else []
    if demand.asked and not reasons:
        audit = TransferAudit.load(run.audit_file("transfer"))
        names = [plan.manifest.device for plan in plans]
        reasons = told(judge(audit, demand, names), output)
    if "twin" in demand.limits and not reasons:
        path = run.audit_file("diversity")
        found = DiversityAudit.load(path) if path.is_file() else None
        weights = {d.name: d.weights_sha256 for d in found.devices} if found else {}
        reasons = [
            f"{plan.manifest.device} has no diversity audit of these weights; `fleet audit "
            "diversity` makes one"
            for plan in plans
            if weights.get(plan.manifest.device) != plan.manifest.payload.sha256
        ]
        if found and not reasons:
            reasons = told(judge(found, demand), output)
    close(reasons, output)


def _unaudited(plans: Sequence[Plan]) -> Iterator[str]:
    for plan in plans:
        if plan.manifest.audit is None:
            yield (
                f"{plan.manifest.device} has no transfer audit (linf) of these weights; "
                "`fleet audit transfer` makes one"
            )
