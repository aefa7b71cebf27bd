"""Draws how white-box attacks succeed: flips and rejects of every device, stacked."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fleet.audit.result import Protocol
from fleet.audit.whitebox.result import WhiteboxAudit
from fleet.reports import drawing
from fleet.reports.flags import audited_protocols, flag
from fleet.reports.orders import control_mark
from fleet.reports.own_rates import OwnRates, own_rates
from fleet.reports.palette import ALARM, FLIP, INK, MUTED, PAPER, REJECT
from fleet.reports.wording import short_eps

_BAR = 0.25  # inches for each device
_MOST_EPS = 6
_LETTER = 0.078


def draw(audit: WhiteboxAudit) -> Figure:
    """A panel for each eps (columns) and protocol (rows), a bar for each device."""
    rates = own_rates(audit)
    chosen = _spread(audit.eps)
    protocols = audited_protocols(audit)
    names = [_name(found) for found in rates]
    left = 0.45 + max(map(len, names)) * _LETTER
    figure, axes = drawing.panels(
        len(chosen) * len(protocols),
        columns=len(chosen),
        size=(1.5, _BAR * len(rates) + 0.1),
        top=1.55,
        gap=(0.25, 0.95),
        margin=(left, 0.5),
    )
    less = "" if len(chosen) == len(audit.eps) else f"; {len(chosen)} of {len(audit.eps)} eps"
    drawing.head(figure, "White-box: flip and reject apart", [f"Share of correct images{less}"])
    drawing.legend(figure, _legend(), 0.68)
    for row, protocol in enumerate(protocols):
        line = axes[row * len(chosen) : (row + 1) * len(chosen)]
        _row_title(figure, line[0], audit, protocol)
        for eps, panel in zip(chosen, line, strict=True):
            _panel(panel, rates, names, protocol, eps, first=panel is line[0])
    return figure


def _panel(
    axes: Axes,
    rates: list[OwnRates],
    names: list[str],
    protocol: Protocol,
    eps: float,
    *,
    first: bool,
) -> None:
    place = rates[0].eps.index(eps)
    outcomes = [found.outcomes[protocol][place] for found in rates]
    flips = [outcome.rate("flip") or 0.0 for outcome in outcomes]
    rejects = [outcome.rate("reject") or 0.0 for outcome in outcomes]
    floors = [found.noise[place].rate("evade") or 0.0 for found in rates]
    heights = range(len(rates))
    axes.barh(heights, flips, height=0.72, color=FLIP)
    looks = {"facecolor": REJECT, "hatch": "////", "edgecolor": PAPER, "lw": 0}
    axes.barh(heights, rejects, height=0.72, left=flips, **looks)  # type: ignore[arg-type]
    axes.vlines(floors, [y - 0.42 for y in heights], [y + 0.42 for y in heights], color=INK, lw=1.6)
    axes.set_ylim(len(rates) - 0.4, -0.6)
    axes.set_yticks(heights, names if first else [""] * len(names))
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    axes.grid(visible=False, axis="y")
    axes.set_title(f"eps {short_eps(eps)}")
    devices = sum(found.device.role == "device" for found in rates)
    if 0 < devices < len(rates):
        axes.axhline(devices - 0.5, color=MUTED, lw=1.0)


def _row_title(figure: Figure, axes: Axes, audit: WhiteboxAudit, protocol: Protocol) -> None:
    flagged = flag(audit, protocol)
    _, height = figure.get_size_inches()
    y = axes.get_position().y1 * height + 0.42
    drawing.write(figure, 0.2, y, f"{protocol} protocol", size=10.5, weight="bold")
    if flagged:
        words = f"{drawing.drawable(flagged.short, 60)} failed"
        drawing.write(figure, 1.9, y, words, size=9, weight="bold", color=ALARM)


def _legend() -> list[Patch]:
    return [
        Patch(facecolor=FLIP, label="flip (wrong class)"),
        Patch(facecolor=REJECT, hatch="////", edgecolor=PAPER, lw=0, label="reject (None)"),
        Patch(facecolor=INK, label="line: noise floor, evade"),
    ]


def _name(found: OwnRates) -> str:
    mark = control_mark(found.device)
    return drawing.drawable(found.device.name, 26 - len(mark)) + mark


def _spread(eps: tuple[float, ...]) -> list[float]:
    """At most :data:`_MOST_EPS` radii, the first and the last among them."""
    if len(eps) <= _MOST_EPS:
        return list(eps)
    steps = [round(k * (len(eps) - 1) / (_MOST_EPS - 1)) for k in range(_MOST_EPS)]
    return [eps[step] for step in steps]
