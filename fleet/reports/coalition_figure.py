"""Draws the collusion curve: the share of the remaining fleet against the devices owned."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from fleet.audit.coalition.result import CoalitionAudit, CurvePoint
from fleet.audit.core.result import mean_rate
from fleet.reports import drawing
from fleet.reports.flags import flag
from fleet.reports.palette import ADAPTIVE, GREEDY, INK, NOISE
from fleet.reports.wording import short_eps

_COLUMNS = 3


def draw(audit: CoalitionAudit) -> Figure:
    """Line charts, one for each eps: what several captured devices give against the rest.

    Mean evade rate of the devices that the attacker does not own against the number that they own,
    for random and for greedy coalitions. The same figures stand in the coalition table.
    """
    figure, axes = drawing.panels(
        len(audit.eps), columns=_COLUMNS, size=(2.9, 2.3), top=1.7, gap=(0.35, 0.85)
    )
    count = len(audit.fleet)
    title = "Coalition: what several captured devices give against the rest"
    note = f"Attack: {_attack(audit)}. Fleet of {count}."
    drawing.head(figure, title, [drawing.drawable(note, 110)])
    drawing.legend(figure, _legend(), 0.7, columns=2)
    drawing.failed(figure, flag(audit), 1.45)
    for number, (panel, eps) in enumerate(zip(axes, audit.eps, strict=True)):
        panel.set_title(f"eps {short_eps(eps)}")
        _panel(panel, audit, eps)
        label = "mean evade rate of devices not owned"
        drawing.rate_axis(panel, labelled=number % _COLUMNS == 0, label=label)
        if number + _COLUMNS >= len(audit.eps):
            panel.set_xlabel("devices owned by the attacker")
    return figure


def _attack(audit: CoalitionAudit) -> str:
    """The attack whose curve is drawn, and what it picks from if there are several."""
    *others, drawn = audit.attacks
    choice = f": for each image the best on the owned devices of {', '.join(others)}"
    return drawn + choice if others else drawn


def _panel(axes: Axes, audit: CoalitionAudit, eps: float) -> None:
    attack = audit.headline
    noise = mean_rate(audit.noise_floor(v, eps).outcome.rate("evade") for v in audit.fleet)
    if noise is not None:
        axes.axhspan(0, noise, color=NOISE, alpha=0.55, lw=0)
    axes.axhline(0.5, color=INK, lw=0.8, ls=":")
    for choice, color, style, marker in (
        ("random", ADAPTIVE, "-", "o"),
        ("greedy", GREEDY, "--", "D"),
    ):
        points = [
            point
            for point in audit.points(attack, eps, choice)  # type: ignore[arg-type]
            if point.choice == choice
        ]
        if points:
            _line(axes, points, color, style, marker)
    control = [p for p in audit.points(attack, eps, "random") if p.choice == "control"]
    for point in control:
        axes.vlines(0, point.low, point.high, color=INK, lw=1.2)
        axes.plot([0], [point.share], color=INK, marker="^", ms=5, ls="")
    last = len(audit.fleet) - 1
    room = max(0.4, 0.04 * last)
    axes.set_xlim((0 if control else 1) - room, last + room)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=9))


def _line(axes: Axes, points: list[CurvePoint], color: str, style: str, marker: str) -> None:
    sizes = [point.size for point in points]
    lows, highs = [p.low for p in points], [p.high for p in points]
    if len(points) > 1:
        axes.fill_between(sizes, lows, highs, color=color, alpha=0.2, lw=0)
    axes.vlines(sizes, lows, highs, color=color, lw=1)
    shares = [point.share for point in points]
    axes.plot(sizes, shares, color=color, ls=style, marker=marker, ms=4, lw=1.6)


def _legend() -> list[Line2D | Patch]:
    return [
        Line2D([], [], color=ADAPTIVE, marker="o", ms=4, label="random coalitions, mean"),
        Line2D([], [], color=GREEDY, ls="--", marker="D", ms=4, label="greedy coalition"),
        Line2D([], [], color=INK, marker="^", ms=5, ls="", label="control only, no device"),
        Patch(facecolor=NOISE, alpha=0.55, label="noise floor, mean of devices"),
        Line2D([], [], color=INK, lw=0.8, ls=":", label="half of the remaining fleet"),
        Patch(facecolor=ADAPTIVE, alpha=0.2, label="band: 95 % (bootstrap over images)"),
    ]
