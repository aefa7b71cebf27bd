"""The audits of one run, as far as they were made."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from fleet.audit.coalition.result import CoalitionAudit
from fleet.audit.query.result import QueryAudit
from fleet.audit.result import AuditedDevice, TransferAudit
from fleet.audit.trace.result import TraceAudit
from fleet.audit.whitebox.result import WhiteboxAudit
from fleet.errors import AuditError

AuditKind = Literal["whitebox", "transfer", "coalition", "query", "trace"]
Audit: TypeAlias = WhiteboxAudit | TransferAudit | CoalitionAudit | QueryAudit | TraceAudit

AUDIT_FILE = "audit.json"

TITLES: Mapping[AuditKind, str] = {
    "whitebox": "White-box",
    "transfer": "Transfer",
    "coalition": "Coalition",
    "query": "Query",
    "trace": "Trace",
}
"""Every kind of audit in the order of the reports, and its name in words."""

_LOADERS: Mapping[AuditKind, Callable[[Path], Audit]] = {
    "whitebox": WhiteboxAudit.load,
    "transfer": TransferAudit.load,
    "coalition": CoalitionAudit.load,
    "query": QueryAudit.load,
    "trace": TraceAudit.load,
}
_TYPES: Mapping[type[Audit], AuditKind] = {
    WhiteboxAudit: "whitebox",
    TransferAudit: "transfer",
    CoalitionAudit: "coalition",
    QueryAudit: "query",
    TraceAudit: "trace",
}


@dataclass(frozen=True)
class AuditReport:
    """What is known about one fleet.

    Attributes:
        whitebox: Each device attacked with its own weights, or None.
        transfer: Each device against all others, or None.
        coalition: An attacker who owns several devices, or None.
        query: An attacker who asks the victim, or None.
        trace: On which device images were made, or None.
        unreadable: One line for each ``audit.json`` that is there and cannot be read.
    """

    whitebox: WhiteboxAudit | None = None
    transfer: TransferAudit | None = None
    coalition: CoalitionAudit | None = None
    query: QueryAudit | None = None
    trace: TraceAudit | None = None
    unreadable: tuple[str, ...] = ()

    @classmethod
    def of(cls, *audits: Audit) -> AuditReport:
        """Put audits together, one of each kind at most."""
        found: dict[str, Any] = {kind_of(audit): audit for audit in audits}
        return cls(**found)

    @property
    def audits(self) -> dict[AuditKind, Audit]:
        """The audits that are there, in the order of :data:`TITLES`."""
        found = {kind: getattr(self, kind) for kind in TITLES}
        return {kind: audit for kind, audit in found.items() if audit is not None}

    @property
    def run(self) -> str:
        """Name of the run, or of each run if the audits are of several."""
        return ", ".join(dict.fromkeys(audit.run for audit in self.audits.values()))

    @property
    def devices(self) -> tuple[AuditedDevice, ...]:
        """Every device of any audit once, as its first audit saw it; controls last."""
        seen: dict[str, AuditedDevice] = {}
        for audit in self.audits.values():
            for device in audit.devices:
                seen.setdefault(device.name, device)
        return tuple(sorted(seen.values(), key=lambda device: device.role == "control"))

    @property
    def contradictions(self) -> tuple[str, ...]:
        """One sentence for each device whose weights differ between the audits."""
        weights: dict[str, dict[str, list[str]]] = {}
        for kind, audit in self.audits.items():
            for device in audit.devices:
                by_digest = weights.setdefault(device.name, {})
                by_digest.setdefault(device.weights_sha256, []).append(kind)
        return tuple(
            f"{name} had other weights in each of these audits: "
            + "; ".join(", ".join(kinds) for kinds in by_digest.values())
            for name, by_digest in weights.items()
            if len(by_digest) > 1
        )


def kind_of(audit: Audit) -> AuditKind:
    """Which kind an audit is."""
    return _TYPES[type(audit)]


def read_audit(path: Path) -> Audit:
    """Read an ``audit.json`` of any kind.

    Raises:
        AuditError: It is absent, damaged, or of no kind that this version knows.
    """
    kind = _kind_written_in(path)
    return _LOADERS[kind](path)


def _kind_written_in(path: Path) -> AuditKind:
    """Kind that the file's schema names; a file without one is left to the loader's error."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "transfer"
    schema = str(data.get("schema")) if isinstance(data, dict) else ""
    named = schema.removeprefix("fleet.audit.").partition("/")[0]
    return next((kind for kind in TITLES if kind == named), "transfer")


def read_audits(directory: Path) -> AuditReport:
    """Read every audit of a run.

    An audit that cannot be read, for example one of an older version, is named and left out: it
    must not hide the others.

    Args:
        directory: ``audits/`` of a run, which holds ``KIND/audit.json``.

    Raises:
        AuditError: There is no audit that can be read.
    """
    found: dict[str, Any] = {}
    unreadable = []
    for kind, load in _LOADERS.items():
        path = directory / kind / AUDIT_FILE
        if not path.exists():
            continue
        try:
            found[kind] = load(path)
        except AuditError as error:
            unreadable.append(f"{kind}/{AUDIT_FILE}: {error.message}")
    if not found:
        reason = "; ".join(unreadable) or "none was made"
        raise AuditError(
            f"no audit to report under {directory}: {reason}",
            hint="make one with `fleet audit transfer` or `fleet audit all`",
        )
    return AuditReport(**found, unreadable=tuple(unreadable))
