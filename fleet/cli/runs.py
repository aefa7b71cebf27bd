"""``fleet runs``: list the runs, and how far each one is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet.cli import options
from fleet.cli.output import Format, Output, table
from fleet.errors import CheckpointError
from fleet.files import read_json
from fleet.rundir import RunDirectory, list_runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fleet.profiles.spec import DeviceSpec


def runs(runs: options.Runs = Path("runs"), form: options.Form = Format.auto) -> None:
    """List runs, the newest first: what is trained, audited and packaged.

    Example: fleet runs
    """
    output = Output(form)
    found = [_describe(run) for run in reversed(list_runs(runs))]
    rows = (
        (
            run["name"],
            run["family"] or "damaged",
            f"{len(run['trained'])} of {len(run['networks'])}",
            ", ".join(run["audited"]) or "-",
            str(run["bundles"]) if run["bundles"] else "-",
        )
        for run in found
    )
    columns = ("run", "family", ">trained", "audited", ">bundles")
    output.data(table(f"runs under {runs}, the newest first", columns, rows), {"runs": found})
    if not found:
        output.note(f"no runs under {runs}")
        output.next_command("fleet", "demo")


def next_step(run: RunDirectory, devices: Sequence[DeviceSpec]) -> tuple[str, ...]:
    """What a trained run lacks: an audit of its present weights, or bundles; else its report."""
    from fleet.bundle.described import summarise_audit

    audit = run.audit_file("transfer")
    try:
        weights = {d.name: str(read_json(run.result(d.name))["weights_sha256"]) for d in devices}
        audited = all(summarise_audit(audit, name, digest) for name, digest in weights.items())
    except (CheckpointError, KeyError):
        audited = False
    if not audited:
        return "audit", "transfer"
    return ("report",) if any(run.bundles.glob("*.fleet")) else ("package",)


def _describe(run: RunDirectory) -> dict[str, Any]:
    from fleet.profiles.spec import read_family
    from fleet.training.plan import device_state

    try:
        family = read_family(run)
    except CheckpointError:
        family = None
    names = [] if family is None else [device.name for device in family.trained]
    return {
        "name": run.name,
        "path": str(run.root),
        "family": None if family is None else family.name,
        "networks": names,
        "trained": [name for name in names if device_state(run, name) == "finished"],
        "audited": sorted(path.parent.name for path in run.audits.glob("*/audit.json")),
        "bundles": len(list(run.bundles.glob("*.fleet"))),
    }
