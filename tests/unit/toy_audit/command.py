"""Command of the toy: ``fleet/cli/audit/x.py`` of a real audit."""

from __future__ import annotations

from typing import Annotated

import typer

from fleet.audit.core.kind import Kind
from fleet.cli.audit.conduct import conduct, find, prepare
from fleet.cli.audit.request import Request, audit_command

KIND = Kind(
    name="toy",
    title="Toy",
    result="unit.toy_audit.audit:ToyAudit",
    settings="unit.toy_audit.audit:ToySettings",
    run="unit.toy_audit.audit:audit_run_toy",
    report="unit.toy_audit.report:REPORT",
    command="unit.toy_audit.command:toy",
    masking=frozenset({"Z1"}),
    harmless=frozenset({"Z2"}),
    gates=("device",),
    images=5,
    presets={"quick": {"images": 4, "depth": 1}},
)


@audit_command(KIND)
def toy(asked: Request, depth: Annotated[int, typer.Option(help="How deep to play.")] = 3) -> None:
    """Play with a device."""
    subject = find(asked)
    conduct(prepare(subject, depth=depth), subject, then="audit toy {run}")
