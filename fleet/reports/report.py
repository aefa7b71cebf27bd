"""What shows the results of one kind of audit, and the figures of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from rich.console import RenderableType

from fleet.audit.kind import kind_of, load
from fleet.reports.ladder import Rung

A = TypeVar("A")


@dataclass(frozen=True)
class Figure:
    """One figure of a report.

    Attributes:
        name: Of its files, without suffix.
        draw: ``module:function`` that draws an audit; loaded only where matplotlib is wanted.
        alt: What it shows, in words.
    """

    name: str
    draw: str
    alt: str


def _no_rungs(audit: object, eps: float) -> list[Rung]:
    del audit, eps
    return []


@dataclass(frozen=True)
class Report(Generic[A]):
    """How one kind of audit is shown.

    Attributes:
        view: The whole audit for a terminal.
        summary: In plain lines: its figures, then how far they can be believed.
        page: Values for its part of the page.
        template: Of that part.
        tables: What writes each CSV file.
        figures: In the order of the page.
        rungs: What the audit says at one eps of attackers on the threat ladder.
    """

    view: Callable[[A], RenderableType]
    summary: Callable[[A], list[str]]
    page: Callable[[A], dict[str, Any]]
    template: str
    tables: Mapping[str, Callable[[A], str]] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    rungs: Callable[[A, float], list[Rung]] = _no_rungs


def report_of(audit: Any) -> Report[Any]:
    """The report of an audit's kind."""
    found: Report[Any] = load(kind_of(audit).report)
    return found
