"""What shows the results of one kind of audit, on a terminal and in the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from rich.console import RenderableType

from fleet.audit.core.kind import kind_of, load
from fleet.audit.core.result import AuditResult
from fleet.reports.ladder import Rung
from fleet.reports.tables import Table

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
