"""The audit as one self-contained HTML page: no script, nothing loaded, numbers in every cell."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from fleet.audit.result import Cell, Matrix, Outcome, TransferAudit
from fleet.audit.statistics import wilson_interval
from fleet.encoding import IntervalEncoding
from fleet.reports import wording
from fleet.reports.findings import (
    PROTOCOLS,
    Flag,
    Kind,
    checks_with,
    find,
    findings,
    flag,
    lift,
    protocols,
    rows,
    verdict,
)
from fleet.reports.ramp import ANCHORS, ink_color, ramp_color

_STEPS = 100  # of the colour scale; one CSS class each

Shown = tuple[float | None, list[str]]
"""A cell's rate and the lines of small print below it."""

Show = Callable[[Cell], Shown]


@dataclass(frozen=True)
class Grid:
    """One matrix as the page shows it.

    Attributes:
        title: What the cells count.
        matrix: Where they come from.
        flag: The protocol's flag, or None.
        cells: One row for each surrogate: each cell and what the page shows of it.
        whole: Whether to print the noise floor, the clean rates and n below the matrix.
    """

    title: str
    matrix: Matrix
    flag: Flag | None
    cells: list[list[tuple[Cell, Shown]]]
    whole: bool


def render_html(audit: TransferAudit) -> str:
    """Render the whole report.

    The same audit gives the same bytes: the only time in the page is the audit's own.

    Returns:
        An HTML document for UTF-8 with its styles inside and without scripts. It refers to nothing
        outside itself, and a Content-Security-Policy holds it to that.
    """
    level, sentence = verdict(audit)
    return _template().render(
        audit=audit,
        level=level,
        sentence=sentence,
        raised=checks_with(audit, "fail", "warn"),
        passed=checks_with(audit, "pass"),
        findings=findings(audit),
        panels=[(eps, _panels(audit, eps)) for eps in audit.eps],
        attacks=[find(audit, matrix) for matrix in _single_attacks(audit)],
        encodings={d.name: _encoding(d.encoding) for d in audit.devices},
        settings=list(_flatten(audit.settings)),
        provenance=list(_flatten(audit.provenance)),
        flag=lambda protocol: flag(audit, protocol),
        lift=lambda cell, eps: lift(audit, cell, eps),
    )


def style_sheet() -> str:
    """The page's CSS: ``report.css`` and one class for each step of the colour scale."""
    colors = [ramp_color(step / _STEPS) for step in range(_STEPS + 1)]
    ramp = (
        f".r{step}{{background:{color};color:{ink_color(color)}}}"
        for step, color in enumerate(colors)
    )
    return "\n".join([_resource("report.css"), *ramp])


def _single_attacks(audit: TransferAudit) -> list[Matrix]:
    found = [matrix for matrix in audit.matrices if matrix.attack != "worst"]
    return sorted(found, key=lambda matrix: PROTOCOLS.index(matrix.protocol))


def _panels(audit: TransferAudit, eps: float) -> dict[str, list[Grid]]:
    """Matrices at one eps, by the section of the page that shows them."""
    kinds: dict[str, list[tuple[str, Show]]] = {
        "evade": [("evade (flip or reject)", _by_kind("evade"))],
        "split": [("flip", _by_kind("flip")), ("reject", _by_kind("reject"))],
        "joint": [
            (
                "evade, among images that surrogate and victim both decode correctly",
                lambda cell: _counted(cell.joint),
            ),
            (
                "evade, among those whose attack evades the surrogate",
                lambda cell: _counted(cell.given_success),
            ),
        ],
    }
    names = protocols(audit, eps)
    return {
        section: [
            _grid(audit, audit.matrix(name, eps), title, show, whole=section == "evade")
            for title, show in shown
            for name in names
        ]
        for section, shown in kinds.items()
    }


def _grid(audit: TransferAudit, matrix: Matrix, title: str, show: Show, *, whole: bool) -> Grid:
    cells = [[(cell, show(cell)) for cell in row] for row in rows(audit, matrix)]
    return Grid(title, matrix, flag(audit, matrix.protocol), cells, whole)


def _by_kind(kind: Kind) -> Show:
    def show(cell: Cell) -> Shown:
        outcome = cell.outcome
        return outcome.rate(kind), [wording.format_interval(outcome.interval(kind))]

    return show


def _counted(outcome: Outcome) -> Shown:
    """Here n differs from cell to cell, and a rate over few images says little."""
    interval = wording.format_interval(outcome.interval("evade"))
    return outcome.rate("evade"), [f"{outcome.evade} of {outcome.n}", interval]


def _encoding(plain: dict[str, Any] | None) -> dict[str, str] | None:
    if plain is None:
        return None
    encoding = IntervalEncoding.from_dict(plain)
    alphas, betas = _per_class(encoding, encoding.alpha), _per_class(encoding, encoding.beta)
    shares = [beta / (alpha + beta) for alpha, beta in zip(alphas, betas, strict=True)]
    return {
        "alpha": _extent(alphas),
        "beta": _extent(betas),
        "ratio": _extent([round(share, 4) for share in shares]),
        "s0": f"{encoding.s0:g}",
        "classes": " ".join(map(str, encoding.classes)),
    }


def _per_class(encoding: IntervalEncoding, value: float | tuple[float, ...]) -> list[float]:
    return list(value) if isinstance(value, tuple) else [value] * encoding.num_classes


def _extent(values: list[float]) -> str:
    low, high = f"{min(values):g}", f"{max(values):g}"
    return low if low == high else f"{low} to {high}"


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Turn nested settings into rows of a dotted key and a value in words."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list | tuple):
        yield prefix, ", ".join(text for item in value for _, text in _flatten(item))
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value)


def _ramp_class(rate: float | None) -> str:
    return "none" if rate is None else f"r{round(rate * _STEPS)}"


def _legend() -> list[tuple[str, str]]:
    shares = [step / (len(ANCHORS) - 1) for step in range(len(ANCHORS))]
    return [(f"{share:.1f}", _ramp_class(share)) for share in shares]


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Markup is ours; any other text came from the audit file.
        finalize=lambda value: wording.visible(value) if type(value) is str else value,
    )
    environment.filters |= {
        "rate": wording.format_rate,
        "interval": wording.format_interval,
        "range": wording.format_range,
        "signed": wording.format_lift,
        "eps": wording.format_eps,
        "ramp": _ramp_class,
    }
    environment.globals |= {
        "style": Markup(style_sheet()),  # noqa: S704  our own file
        "legend": _legend(),
        "wilson": wilson_interval,
    }
    return environment.from_string(_resource("report.html.jinja"))


def _resource(name: str) -> str:
    return files("fleet.reports").joinpath(name).read_text(encoding="utf-8")
