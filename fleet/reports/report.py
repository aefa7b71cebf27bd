"""What reports an audit of each kind, and the audits that a run has."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from rich.console import RenderableType

from fleet.audit.core.kind import EARLIER_FILE, KINDS, kind_of, load
from fleet.audit.core.result import AuditedDevice, AuditResult
from fleet.audit.crosscheck.result import Crosscheck
from fleet.audit.transfer.result import SAMPLE_FILE, SAMPLE_SCHEMA, PairSample
from fleet.errors import AuditError
from fleet.reports.ladder import Rung
from fleet.reports.tables import Table
from fleet.rundir import AUDIT_FILE

A = TypeVar("A", bound=AuditResult)

Block = tuple[Any, ...]
"""A part of the page: the name of a macro of ``macros.html.jinja``, then its arguments.

``("figures",)`` stands for the figures of the section's audit.
"""


@dataclass(frozen=True)
class Figure:
    """One figure of a report.

    Attributes:
        name: Of its files, without suffix.
        draw: ``module:function`` that draws an audit; loaded only where matplotlib is wanted. Its
            docstring says what the figure shows, for those who do not see it.
    """

    name: str
    draw: str


@dataclass(frozen=True)
class Report(Generic[A]):
    """How one kind of audit is shown.

    Attributes:
        heading: Of its section of the page.
        terminal: Its tables for a terminal.
        lines: Its figures in plain lines.
        page: The parts of its section.
        tables: By the name of their CSV file.
        figures: In the order of the page.
        short: Its tables for a terminal, the paper's protocol left out; None for ``terminal``.
        brief: Its lines likewise; None for ``lines``.
        rungs: What the audit says at one eps of attackers on the threat ladder.
    """

    heading: str
    terminal: Callable[[A], Iterable[RenderableType]]
    lines: Callable[[A], list[str]]
    page: Callable[[A], Iterable[Block]]
    tables: Mapping[str, Callable[[A], Table[Any]]] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    short: Callable[[A], Iterable[RenderableType]] | None = None
    brief: Callable[[A], list[str]] | None = None
    rungs: Callable[[A, float], list[Rung]] | None = None


def report_of(audit: AuditResult) -> Report[Any]:
    """The report of an audit's kind."""
    found: Report[Any] = load(kind_of(audit).report)
    return found


@dataclass(frozen=True)
class AuditReport:
    """What is known about one fleet.

    Attributes:
        audits: By the name of their kind, in the order of the reports.
        unreadable: One line for each ``audit.json`` that is there and cannot be read.
        earlier: Audits to compare with; None where there are none.
        crosscheck: What other libraries found; None where none was made.
        sample: What a sample of pairs says of transfer; None where none was drawn.
    """

    audits: dict[str, AuditResult]
    unreadable: tuple[str, ...] = ()
    earlier: AuditReport | None = None
    crosscheck: Crosscheck | None = None
    sample: PairSample | None = None

    @classmethod
    def of(cls, *audits: AuditResult, unreadable: tuple[str, ...] = ()) -> AuditReport:
        """Put audits together, one of each kind at most."""
        found = {kind_of(audit).name: audit for audit in audits}
        return cls({name: found[name] for name in KINDS if name in found}, unreadable)

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
        return tuple(sorted(seen.values(), key=lambda device: device.role != "device"))

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


def read_audit(path: Path) -> AuditResult:
    """Read an ``audit.json`` of any kind.

    Raises:
        AuditError: It is absent, damaged, or of no kind that this version knows.
    """
    found: AuditResult = load(KINDS[_kind_written_in(path)].result).load(path)
    return found


def is_crosscheck(path: Path) -> bool:
    """Whether a file says that it is the result of a cross-check."""
    return _schema(path).startswith("fleet.audit.crosscheck/")


def is_sample(path: Path) -> bool:
    """Whether a file says that it is a sample of pairs."""
    return _schema(path) == SAMPLE_SCHEMA


def _schema(path: Path) -> str:
    """The schema that a file names; empty without one."""
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    schema = data.get("schema") if isinstance(data, dict) else None
    return schema if isinstance(schema, str) else ""


def _kind_written_in(path: Path) -> str:
    """Kind that the file's schema names; a file without one is left to the loader's error.

    Raises:
        AuditError: The schema is that of something else.
    """
    schema = _schema(path)
    if not schema:
        return "transfer"
    named = schema.removeprefix("fleet.audit.").partition("/")[0]
    if named not in KINDS:
        raise AuditError(
            f"{path} is no audit that is drawn: its schema is {schema!r}",
            hint=f"reports draw {', '.join(KINDS)} and crosscheck; `fleet reproduce` prints "
            "its own results",
        )
    return named


def read_audits(directory: Path) -> AuditReport:
    """Read every audit of a run.

    An audit that cannot be read, for example one of an older version, is named and left out: it
    must not hide the others.

    Args:
        directory: ``audits/`` of a run, which holds ``KIND/audit.json``.

    Raises:
        AuditError: There is no audit that can be read.
    """
    found, unreadable = _read_all(directory, AUDIT_FILE)
    if not found:
        reason = "; ".join(unreadable) or "none was made"
        raise AuditError(
            f"no audit to report under {directory}: {reason}",
            hint="make one with `fleet audit transfer` or `fleet audit all`",
        )
    earlier, _ = _read_all(directory, EARLIER_FILE)
    beside: dict[str, Any] = {}
    for name, kind, file in (
        ("crosscheck", Crosscheck, f"crosscheck/{AUDIT_FILE}"),
        ("sample", PairSample, f"transfer/{SAMPLE_FILE}"),
    ):
        try:
            beside[name] = kind.load(directory / file) if (directory / file).exists() else None
        except AuditError as error:
            unreadable.append(f"{file}: {error.message}")
    report = AuditReport.of(*found, unreadable=tuple(unreadable))
    before = AuditReport.of(*earlier) if earlier else None
    return replace(report, earlier=before, **beside)


def _read_all(directory: Path, name: str) -> tuple[list[AuditResult], list[str]]:
    """Audits of this file name, and one line for each that cannot be read."""
    found: list[AuditResult] = []
    unreadable = []
    for kind in KINDS.values():
        path = directory / kind.name / name
        if not path.exists():
            continue
        try:
            found.append(load(kind.result).load(path))
        except AuditError as error:
            unreadable.append(f"{kind.name}/{name}: {error.message}")
    return found, unreadable
