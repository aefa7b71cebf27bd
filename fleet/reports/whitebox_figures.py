"""Draws the figures of a white-box audit: rates against eps, how attacks succeed, and margins."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from fleet.audit.core.result import AuditedDevice, Outcome, Protocol, mean_rate
from fleet.audit.whitebox.result import WhiteboxAudit
from fleet.reports import drawing
from fleet.reports.flags import audited_protocols, flag
from fleet.reports.large import MOST_PANELS, worst_of
from fleet.reports.palette import ADAPTIVE, FLIP, INK, MASKED, MUTED, NOISE, PAPER, REJECT
from fleet.reports.whitebox import fallen
from fleet.reports.wording import ABSENT, Success, control_mark, format_rate, short_eps

_COLUMNS = 4


def _outcomes(
    audit: WhiteboxAudit, names: Sequence[str], protocol: Protocol | None, eps: float
) -> list[Outcome]:
    """Worst case of a protocol on each device at one eps; of no protocol the noise floor."""
    if protocol is None:
        return [audit.noise_floor(name, eps).outcome for name in names]
    return [audit.figure(name, protocol, eps).outcome for name in names]


def in_order(audit: WhiteboxAudit) -> list[AuditedDevice]:
    """Devices, controls last."""
    return sorted(audit.devices, key=lambda device: device.role == "control")


def grouped(devices: Sequence[AuditedDevice]) -> dict[str, list[str]]:
    """Names of the devices of each panel of a figure, by the panel's title.

    A panel each where there are few; else one for each combination of role, task, network and
    head.
    """
    if len(devices) <= MOST_PANELS:
        return {_title(device): [device.name] for device in devices}
    groups: dict[str, list[str]] = {}
    for device in devices:
        parts = (device.task, device.architecture, device.head)
        role = "control " if device.role == "control" else ""
        groups.setdefault(role + ", ".join(parts), []).append(device.name)
    return {f"{len(names)} × {title}": names for title, names in groups.items()}


def _title(device: AuditedDevice) -> str:
    return device.name + control_mark(device)


def draw_curves(audit: WhiteboxAudit) -> Figure:
    """Line charts, one for each device or group of devices: white-box success against eps.

    Evade and flip rate of the adaptive protocol, evade rate of the paper's protocol, and the noise
    floor. The same figures stand in the white-box table.
    """
    groups = grouped(in_order(audit))
    lines = _curves_legend(audit, many=len(groups) < len(audit.devices))
    top = 0.95 + 0.2 * len(lines)
    figure, axes = drawing.panels(
        len(groups), columns=_COLUMNS, size=(1.9, 1.6), top=top, gap=(0.35, 0.75)
    )
    drawing.head(figure, "White-box attack success against eps", ())
    drawing.legend(figure, lines, 0.45, columns=1)
    for number, (panel, (title, names)) in enumerate(zip(axes, groups.items(), strict=True)):
        panel.set_title(drawing.drawable(title, 27))
        _curves_panel(panel, audit, names)
        first = number % _COLUMNS == 0
        drawing.rate_axis(panel, labelled=first, label="share of correct")
        drawing.eps_axis(panel, audit.eps, labelled=number + _COLUMNS >= len(groups))
    return figure


def _curves_panel(axes: Axes, audit: WhiteboxAudit, names: Sequence[str]) -> None:
    eps = audit.eps
    floors = [_mean(_outcomes(audit, names, None, radius), "evade") for radius in eps]
    if len(eps) > 1:
        axes.fill_between(eps, 0, floors, color=NOISE, alpha=0.55, lw=0)
    else:
        axes.axhspan(0, floors[0], color=NOISE, alpha=0.55, lw=0)
    kinds: tuple[tuple[Protocol, Success, dict[str, Any]], ...] = (
        ("paper", "evade", {"color": MASKED, "ls": ":", "marker": "x"}),
        ("adaptive", "flip", {"color": FLIP, "ls": "--", "marker": "s"}),
        ("adaptive", "evade", {"color": ADAPTIVE, "marker": "o"}),
    )
    for protocol, success, looks in kinds:
        if protocol not in audit.protocols:
            continue
        columns = [_outcomes(audit, names, protocol, radius) for radius in eps]
        if (protocol, success) == ("adaptive", "evade"):
            lows, highs = zip(*(_bounds(column, success) for column in columns), strict=True)
            if len(eps) > 1:
                axes.fill_between(eps, lows, highs, color=looks["color"], alpha=0.2, lw=0)
            else:
                axes.vlines(eps, lows, highs, color=looks["color"], lw=2.5, alpha=0.35)
        means = [_mean(column, success) for column in columns]
        axes.plot(eps, means, ms=3.5, lw=1.5, clip_on=False, **looks)


def _mean(outcomes: Sequence[Outcome], success: Success) -> float:
    rate = mean_rate(outcome.rate(success) for outcome in outcomes)
    return float("nan") if rate is None else rate


def _bounds(outcomes: Sequence[Outcome], success: Success) -> tuple[float, float]:
    """Wilson interval of one device; lowest and highest rate of several."""
    if len(outcomes) == 1:
        return outcomes[0].interval(success)
    rates = [rate for outcome in outcomes if (rate := outcome.rate(success)) is not None]
    return (min(rates), max(rates)) if rates else (0.0, 1.0)


def _curves_legend(audit: WhiteboxAudit, *, many: bool) -> list[Artist]:
    words: dict[Protocol, str] = {}
    for protocol in audited_protocols(audit):
        flagged = flag(audit, protocol)
        words[protocol] = f" ({drawing.drawable(flagged.short, 45)})" if flagged else ""
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


_BAR = 0.25  # inches for each device
_MOST_EPS = 6
_LETTER = 0.078


def draw_split(audit: WhiteboxAudit) -> Figure:
    """Stacked bars: share of flips and of rejects for every device, eps and protocol.

    The noise floor is a line. The same figures stand in the white-box table.
    """
    devices = _split(audit)
    chosen = _spread(audit.eps)
    protocols = audited_protocols(audit)
    names = [_name(device) for device in devices]
    left = 0.45 + max(map(len, names)) * _LETTER
    figure, axes = drawing.panels(
        len(chosen) * len(protocols),
        columns=len(chosen),
        size=(1.5, _BAR * len(devices) + 0.1),
        top=1.55,
        gap=(0.25, 0.95),
        margin=(left, 0.5),
    )
    less = "" if len(chosen) == len(audit.eps) else f"; {len(chosen)} of {len(audit.eps)} eps"
    if len(devices) < len(audit.devices):
        less += f"; the {len(devices)} of {len(audit.devices)} networks that fall most"
    drawing.head(figure, "White-box: flip and reject apart", [f"Share of correct images{less}"])
    drawing.legend(figure, _split_legend(), 0.68)
    for row, protocol in enumerate(protocols):
        line = axes[row * len(chosen) : (row + 1) * len(chosen)]
        _row_title(figure, line[0], audit, protocol)
        for eps, panel in zip(chosen, line, strict=True):
            labels = names if panel is line[0] else [""] * len(names)
            _split_panel(panel, audit, labels, protocol, eps)
    return figure


def _split(audit: WhiteboxAudit) -> list[AuditedDevice]:
    """In order; of a large fleet those that fall most."""
    return worst_of(in_order(audit), lambda device: fallen(audit, device.name))


def _split_panel(
    axes: Axes, audit: WhiteboxAudit, labels: list[str], protocol: Protocol, eps: float
) -> None:
    names = [device.name for device in _split(audit)]
    outcomes = _outcomes(audit, names, protocol, eps)
    flips = [outcome.rate("flip") or 0.0 for outcome in outcomes]
    rejects = [outcome.rate("reject") or 0.0 for outcome in outcomes]
    floors = [floor.rate("evade") or 0.0 for floor in _outcomes(audit, names, None, eps)]
    heights = range(len(names))
    axes.barh(heights, flips, height=0.72, color=FLIP)
    looks = {"facecolor": REJECT, "hatch": "////", "edgecolor": PAPER, "lw": 0}
    axes.barh(heights, rejects, height=0.72, left=flips, **looks)  # type: ignore[arg-type]
    axes.vlines(floors, [y - 0.42 for y in heights], [y + 0.42 for y in heights], color=INK, lw=1.6)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(heights, labels)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    axes.grid(visible=False, axis="y")
    axes.set_title(f"eps {short_eps(eps)}")
    devices = sum(device.role == "device" for device in _split(audit))
    if 0 < devices < len(names):
        axes.axhline(devices - 0.5, color=MUTED, lw=1.0)


def _row_title(figure: Figure, axes: Axes, audit: WhiteboxAudit, protocol: Protocol) -> None:
    flagged = flag(audit, protocol)
    _, height = figure.get_size_inches()
    y = axes.get_position().y1 * height + 0.42
    drawing.write(figure, 0.2, y, f"{protocol} protocol", size=10.5, weight="bold")
    drawing.failed(figure, flagged, height - y, 1.9)


def _split_legend() -> list[Patch]:
    return [
        Patch(facecolor=FLIP, label="flip (wrong class)"),
        Patch(facecolor=REJECT, hatch="////", edgecolor=PAPER, lw=0, label="reject (None)"),
        Patch(facecolor=INK, label="line: noise floor, evade"),
    ]


def _name(device: AuditedDevice) -> str:
    mark = control_mark(device)
    return drawing.drawable(device.name, 26 - len(mark)) + mark


def _spread(eps: tuple[float, ...]) -> list[float]:
    """At most :data:`_MOST_EPS` radii, the first and the last among them."""
    if len(eps) <= _MOST_EPS:
        return list(eps)
    steps = [round(k * (len(eps) - 1) / (_MOST_EPS - 1)) for k in range(_MOST_EPS)]
    return [eps[step] for step in steps]


_BINS = 36
_MOST_MARKS = 3


def draw_margins(audit: WhiteboxAudit) -> Figure:
    """Histograms, one for each device or group of devices: distance from the decision boundary.

    To first order, of each correct image, on a log scale, with every eps and the share of images
    below it. All have one scale of shares.
    """
    values = {margins.device: margins for margins in audit.margins}
    groups = grouped(audit.devices)
    edges = _edges([v for margins in audit.margins for v in margins.values], audit.eps)
    figure, axes = drawing.panels(
        len(groups), columns=_COLUMNS, size=(2.05, 1.45), top=1.35, gap=(0.3, 1.0)
    )
    norm = {"linf": "Linf", "l2": "L2"}[audit.margins[0].norm]
    notes = [
        f"First-order distance to the nearest boundary in pixel units ({norm}), log scale.",
        "Vertical lines: eps, with the share of images that lie closer. "
        "The outer bars hold what lies beyond.",
    ]
    drawing.head(figure, "Margins of correctly decoded images", notes)
    marks = _marks(audit.eps)
    top = 0.01
    for panel, (title, names) in zip(axes, groups.items(), strict=True):
        found = [value for name in names for value in values[name].values]
        panel.set_title(drawing.drawable(title, 29), pad=20)
        top = max(top, _margins_panel(panel, found, edges, marks))
        panel.set_xlabel(f"n {len(found)}", fontsize=8.5)
    step = next(step for step in (0.02, 0.05, 0.1, 0.2, 0.5) if top <= 4 * step)
    ticks = [k * step for k in range(math.ceil(top / step) + 1)]
    for number, panel in enumerate(axes):
        panel.set_ylim(0, ticks[-1])
        first = number % _COLUMNS == 0
        panel.set_yticks(ticks, [f"{tick:.2g}" if first else "" for tick in ticks])
        if first:
            panel.set_ylabel("share of images")
    return figure


def _margins_panel(
    axes: Axes, values: Sequence[float], edges: Sequence[float], marks: Sequence[float]
) -> float:
    """One histogram; its highest bar."""
    top = 0.0
    axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    _decades(axes, edges[0], edges[-1])
    if values:
        weights = [1 / len(values)] * len(values)
        kept = [min(max(value, edges[0]), edges[-1]) for value in values]
        shares, *_ = axes.hist(
            kept, bins=list(edges), weights=weights, color=ADAPTIVE, alpha=0.75, lw=0
        )
        top = float(np.max(shares))
    else:
        axes.text(0.5, 0.5, "no image", transform=axes.transAxes, ha="center", va="center")
    for number, eps in enumerate(marks):
        axes.axvline(eps, color=INK, lw=1, ls="--")
        share = sum(value < eps for value in values) / len(values) if values else None
        words = f"{short_eps(eps)}: {ABSENT if share is None else format_rate(share, 2)}"
        axes.text(0.36 * number, 1.03, words, fontsize=8, va="bottom", transform=axes.transAxes)
    return top


def _marks(eps: Sequence[float]) -> list[float]:
    if len(eps) <= _MOST_MARKS:
        return list(eps)
    return [eps[0], eps[len(eps) // 2], eps[-1]]


def _edges(values: Sequence[float], eps: Sequence[float]) -> list[float]:
    """Bins of one width on a log scale that hold every eps and nearly all margins."""
    positive = sorted(value for value in values if value > 0)
    low = min([eps[0] / 2, *positive[len(positive) // 200 :][:1]])
    high = max([eps[-1] * 2, *positive[-1 - len(positive) // 200 :][:1]])
    first, last = math.log10(low), math.log10(high)
    return [10 ** (first + k * (last - first) / _BINS) for k in range(_BINS + 1)]


def _decades(axes: Axes, low: float, high: float) -> None:
    """Ticks at 1, or at 1, 2 and 5, of each decade, written out."""
    steps = (1, 2, 5) if high / low < 60 else (1,)
    ticks = [
        base * 10.0**power
        for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for base in steps
    ]
    kept = [tick for tick in ticks if low <= tick <= high]
    axes.set_xticks(kept, [f"{tick:g}" for tick in kept])
    axes.set_xticks([], minor=True)
