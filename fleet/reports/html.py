"""The audit as one self-contained HTML page: no script, nothing loaded, numbers in every cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from fleet.audit.result import AuditedDevice, Cell, Matrix, Outcome, Protocol, TransferAudit
from fleet.audit.statistics import wilson_interval
from fleet.encoding import IntervalEncoding
from fleet.reports.findings import (
    Flag,
    checks_with,
    find,
    findings,
    flag,
    lift,
    pair,
    protocols,
    rows,
    verdict,
)
from fleet.reports.ramp import ANCHORS, ink_color, ramp_color
from fleet.reports.wording import (
    ABSENT,
    format_eps,
    format_interval,
    format_lift,
    format_range,
    format_rate,
    visible,
)

_STEPS = 100  # of the colour scale; one CSS class each


@dataclass(frozen=True)
class GridCell:
    """One cell of a matrix as the page shows it.

    Attributes:
        rate: The rate in words.
        detail: Its Wilson 95 % interval, or ``k of n``.
        css: Colour class, and ``white-box`` on the diagonal.
    """

    rate: str
    detail: str
    css: str


@dataclass(frozen=True)
class Grid:
    """One matrix as the page shows it.

    Attributes:
        title: What the cells count.
        protocol: Whose figures they are.
        eps: Radius in words.
        flag: The protocol's flag, or None.
        names: Devices in matrix order.
        rows: Cells, one row for each surrogate.
        footer: Label and one value for each victim.
    """

    title: str
    protocol: Protocol
    eps: str
    flag: Flag | None
    names: list[str]
    rows: list[list[GridCell]]
    footer: list[tuple[str, list[str]]]


def render_html(audit: TransferAudit) -> str:
    """Render the whole report.

    The same audit gives the same bytes: the only time in the page is the audit's own.

    Returns:
        An HTML document for UTF-8, with its styles inside, without scripts and without references
        to anything outside itself; a Content-Security-Policy holds it to that.
    """
    level, sentence = verdict(audit)
    return _template().render(
        audit=audit,
        level=level,
        sentence=sentence,
        flags=[(name, flag(audit, name)) for name in ("adaptive", "paper") if flag(audit, name)],
        raised=checks_with(audit, "fail", "warn"),
        passed=checks_with(audit, "pass"),
        findings=findings(audit),
        attacks=_attacks(audit),
        evade=_grids(audit, lambda m: _rate_grid(audit, m, "evade", footer=True)),
        split=_grids(audit, lambda m: [_rate_grid(audit, m, k)[0] for k in ("flip", "reject")]),
        given=_grids(audit, lambda m: _given_grids(audit, m)),
        lines=[line for eps in audit.eps for name in protocols(audit, eps)],
    )
