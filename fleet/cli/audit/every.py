"""``fleet audit all``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fleet.audit.core.kind import KINDS
from fleet.cli import options
from fleet.cli.audit import conduct as audits
from fleet.cli.output import Format
from fleet.errors import FleetError


def every(
    run: options.Run = None,
    runs: options.Runs = Path("runs"),
    eps: options.Eps = None,
    images: options.Images = 500,
    split: options.Split = options.SplitChoice.test,
    seed: options.Seed = 0,
    data_root: options.DataRoot = None,
    jobs: options.Jobs = None,
    fail_on: options.Fail = None,
    form: options.Form = Format.auto,
) -> None:
    """Make every audit of a run, from an attacker without a device to one who has the victim.

    Certificates (of certified devices), white-box, transfer, coalition, query and trace, one after
    the other; the report then holds the
    whole ladder. Each audit is made to its end, also if a gate of an earlier one is not passed.

    Example: fleet audit all --images 200
    """
    subject = audits.find(
        audits.Request(run, runs, eps, images, split, seed, data_root, jobs, form, fail_on=fail_on)
    )
    made: dict[str, Any] = {}
    reasons: list[str] = []
    try:
        for kind in KINDS.values():
            if len(subject.family.devices) < kind.devices:
                subject.output.note(
                    f"left out the {kind.name} audit: it needs {kind.devices} devices"
                )
                continue
            trained = {device.training.method for device in subject.family.devices}
            if kind.method and kind.method not in trained:
                subject.output.note(
                    f"left out the {kind.name} audit: no device is trained by method {kind.method}"
                )
                continue
            work = audits.prepare(kind, subject)
            work = replace(work, images=min(work.images, kind.images))
            audits.announce(work, subject)
            made[kind.name] = audit = audits.perform(work, subject)
            audits.keep(audit, kind, subject)
            refused = audits.refused(audit, kind, subject)
            reasons += [f"{kind.name}: {reason}" for reason in refused]
    except FleetError:
        _show(made, subject)  # an audit that cannot be made takes none from those that were
        raise
    _show(made, subject)
    audits.close(reasons, subject.output)


def _show(made: dict[str, Any], subject: audits.Subject) -> None:
    if made:
        value = {name: audit.to_dict() for name, audit in made.items()}
        audits.show(list(made.values()), value, subject)
