"""Draws white-box evade rates against eps, with the noise floor."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from fleet.audit.result import Outcome, Protocol
from fleet.audit.statistics import mean_rate
from fleet.audit.whitebox.result import WhiteboxAudit
from fleet.reports import drawing
from fleet.reports.findings import Kind
from fleet.reports.flags import audited_protocols, flag
from fleet.reports.own_rates import OwnRates, grouped, own_rates
from fleet.reports.palette import ADAPTIVE, FLIP, MASKED, NOISE

_COLUMNS = 4


def draw(audit: WhiteboxAudit) -> Figure:
    """One panel for each device, or for each group of devices where there are many."""
    rates = {found.device.name: found for found in own_rates(audit)}
    groups = grouped([found.device for found in rates.values()])
    lines = _legend(audit, many=len(groups) < len(rates))
    top = 0.95 + 0.2 * len(lines)
    figure, axes = drawing.panels(
        len(groups), columns=_COLUMNS, size=(1.9, 1.6), top=top, gap=(0.35, 0.75)
    )
    drawing.head(figure, "White-box attack success against eps", ())
    drawing.legend(figure, lines, 0.45, columns=1)
    for number, (panel, (title, names)) in enumerate(zip(axes, groups.items(), strict=True)):
        members = [rates[name] for name in names]
        panel.set_title(drawing.drawable(title, 27))
        _panel(panel, members)
        first = number % _COLUMNS == 0
        drawing.rate_axis(panel, labelled=first, label="share of correct")
        drawing.eps_axis(panel, audit.eps, labelled=number + _COLUMNS >= len(groups))
    return figure


def _panel(axes: Axes, members: Sequence[OwnRates]) -> None:
    eps = members[0].eps
    floors = [_mean([found.noise[i] for found in members], "evade") for i in range(len(eps))]
    if len(eps) > 1:
        axes.fill_between(eps, 0, floors, color=NOISE, alpha=0.55, lw=0)
    else:
        axes.axhspan(0, floors[0], color=NOISE, alpha=0.55, lw=0)
    _line(axes, members, "paper", "evade", {"color": MASKED, "ls": ":", "marker": "x"})
    _line(axes, members, "adaptive", "flip", {"color": FLIP, "ls": "--", "marker": "s"})
    _line(axes, members, "adaptive", "evade", {"color": ADAPTIVE, "marker": "o"}, band=True)


def _line(
    axes: Axes,
    members: Sequence[OwnRates],
    protocol: Protocol,
    kind: Kind,
    looks: dict[str, str],
    *,
    band: bool = False,
) -> None:
    if protocol not in members[0].outcomes:
        return
    eps = members[0].eps
    columns = [[found.outcomes[protocol][i] for found in members] for i in range(len(eps))]
    if band:
        bounds = [_bounds(column, kind) for column in columns]
        lows, highs = zip(*bounds, strict=True)
        if len(eps) > 1:
            axes.fill_between(eps, lows, highs, color=looks["color"], alpha=0.2, lw=0)
        else:
            axes.vlines(eps, lows, highs, color=looks["color"], lw=2.5, alpha=0.35)
    means = [_mean(column, kind) for column in columns]
    axes.plot(eps, means, ms=3.5, lw=1.5, clip_on=False, **looks)  # type: ignore[arg-type]


def _mean(outcomes: Sequence[Outcome], kind: Kind) -> float:
    rate = mean_rate(outcome.rate(kind) for outcome in outcomes)
    return float("nan") if rate is None else rate


def _bounds(outcomes: Sequence[Outcome], kind: Kind) -> tuple[float, float]:
    """Wilson interval of one device; lowest and highest rate of several."""
    if len(outcomes) == 1:
        return outcomes[0].interval(kind)
    rates = [rate for outcome in outcomes if (rate := outcome.rate(kind)) is not None]
    return (min(rates), max(rates)) if rates else (0.0, 1.0)


def _legend(audit: WhiteboxAudit, *, many: bool) -> list[Artist]:
    words: dict[Protocol, str] = {}
    for protocol in audited_protocols(audit):
        flagged = flag(audit, protocol)
        words[protocol] = f" ({drawing.drawable(flagged.short, 60)})" if flagged else ""
    band = "band: lowest to highest device" if many else "band: 95 %"
    found: list[Artist] = []
    if "adaptive" in words:
        evade = f"adaptive: evade, {band}{words['adaptive']}"
        flip = f"adaptive: flip{words['adaptive']}"
        found.append(Line2D([], [], color=ADAPTIVE, marker="o", ms=4, label=evade))
        found.append(Line2D([], [], color=FLIP, ls="--", marker="s", ms=4, label=flip))
    if "paper" in words:
        label = f"paper protocol: evade{words['paper']}"
        found.append(Line2D([], [], color=MASKED, ls=":", marker="x", ms=4, label=label))
    floor = "noise floor: evade under random signs of the same eps"
    return [*found, Patch(facecolor=NOISE, alpha=0.55, label=floor)]
