"""``fleet audit all``."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleet.audit.core.kind import GATES, KINDS, Kind
from fleet.cli.audit import conduct as audits
from fleet.cli.audit.request import Request, audit_command
from fleet.cli.gates import close, told
from fleet.errors import AuditError, FleetError

if TYPE_CHECKING:
    from fleet.audit.core.gates import Ruling

ALL = Kind("all", "Every", gates=(*GATES,))
"""Not registered: what all kinds are asked together."""

Names = Annotated[
    list[str] | None,
    typer.Option(metavar="AUDIT", help=f"One of {', '.join(KINDS)}; repeat it."),
]


@audit_command(ALL)
def every(asked: Request, only: Names = None, skip: Names = None) -> None:
    """Make every audit of a run, from an attacker without a device to one who has the victim.

    Certificates (of certified devices), white-box, transfer, diversity, coalition, query and trace,
    one after the other; the report then holds the whole ladder. All are planned before the first
    starts. Each is made to its end: neither a gate of an earlier one nor its failure costs the
    others.

    Example: fleet audit all --images 200 --skip query
    """
    subject = audits.find(asked)
    kinds = list(_fitting(subject, _chosen(only, skip)))
    if not kinds:
        raise AuditError("no audit is left to make", hint="see --only and --skip")
    works = _plan(kinds, subject)
    if asked.dry_run:
        for work in works:
            audits.announce(work, subject)
        value = {work.kind.name: audits.planned(work, subject) for work in works}
        subject.output.data("nothing is attacked and nothing is written", value)
        return
    subject.output.note(f"planned: {', '.join(kind.name for kind in kinds)}")
    found = _Found()
    for work in works:
        _make(work, subject, found)
    if found.made:
        value = {name: audit.to_dict() for name, audit in found.made.items()}
        audits.show(found.made, value, subject, found.rulings, found.errors)
    _close(found, subject)


@dataclass
class _Found:
    """What became of the audits, by kind."""

    made: dict[str, Any] = field(default_factory=dict)
    rulings: dict[str, list[Ruling]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


def _chosen(only: list[str] | None, skip: list[str] | None) -> list[Kind]:
    for name in (*(only or ()), *(skip or ())):
        if name not in KINDS:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(KINDS)}")
    return [
        kind
        for name, kind in KINDS.items()
        if (not only or name in only) and name not in (skip or ())
    ]


def _fitting(subject: audits.Subject, kinds: list[Kind]) -> list[Kind]:
    """Kinds that fit the devices of the family; says which do not."""
    devices = subject.family.devices
    trained = {device.training.method for device in devices}
    lacking = {}
    for kind in kinds:
        if len(devices) < kind.devices:
            lacking[kind.name] = f"it needs {kind.devices} devices"
        elif kind.method and kind.method not in trained:
            lacking[kind.name] = f"no device is trained by method {kind.method}"
    for name, why in lacking.items():
        subject.output.note(f"left out the {name} audit: {why}")
    return [kind for kind in kinds if kind.name not in lacking]


def _plan(kinds: list[Kind], subject: audits.Subject) -> list[audits.Work]:
    """Settings and images of every audit, so that what cannot be made is known at once."""
    asked = subject.asked
    subject = replace(
        subject, asked=replace(asked, images=subject.count(asked.split, asked.images))
    )
    works = []
    for kind in kinds:
        preset = dict(kind.presets.get(asked.preset.value, {}))
        most = preset.pop("images", kind.images)
        try:
            one = replace(subject, asked=replace(subject.asked, kind=kind))
            work = audits.prepare(one, **preset)
        except FleetError as error:
            hint = f"{error.hint or 'see its options'}; or leave it out: --skip {kind.name}"
            raise AuditError(f"the {kind.name} audit: {error.message}", hint=hint) from error
        works.append(replace(work, images=min(work.images, most)))
    return works


def _make(work: audits.Work, subject: audits.Subject, found: _Found) -> None:
    from fleet.execution.jobs import unexpected

    name = work.kind.name
    audits.announce(work, subject)
    try:
        audit = audits.perform(work, subject)
        audits.keep(audit, work.kind, subject)
        found.rulings[name] = audits.judged(audit, subject)
        found.made[name] = audit
    except Exception as error:  # of one audit; the others are made
        told = error if isinstance(error, FleetError) else unexpected(name, error).error
        found.errors[name] = str(told)
        subject.output.note(f"error: the {name} audit was not made: {told}")
        if told is not None and told.hint:
            subject.output.note(f"hint:  {told.hint}")


def _close(found: _Found, subject: audits.Subject) -> None:
    """Say what failed: an audit that was not made (exit code 2), or a gate (1)."""
    judging = {who for name in found.made for who in KINDS[name].gates}
    reasons = [
        f"{GATES[who].option}: no audit that it judges was made"
        for who in subject.asked.limits
        if who not in judging
    ]
    for name, rulings in found.rulings.items():
        reasons += told(rulings, subject.output, f"{name}: ")
    if found.errors:
        subject.output.note(f"not made: {', '.join(found.errors)}; the others are kept")
    close(reasons, subject.output, unmade=bool(found.errors))
