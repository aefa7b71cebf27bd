"""Draws the threat ladder: evade rates of every attacker at every eps."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from fleet.reports import drawing
from fleet.reports.ladder import Rung, measured
from fleet.reports.palette import ADAPTIVE, ALARM, FLIP, MUTED, NOISE
from fleet.reports.wording import short_eps

_LEFT = 3.1
_LINE = 0.34


def draw(rungs: dict[float, list[Rung]]) -> Figure:
    """Dot charts, one for each eps: mean and worst adaptive evade rate of each attacker.

    From nobody's device up to the victim itself, attackers without a figure left out. The same
    figures stand in the threat ladder table.
    """
    known = {rung.level for found in rungs.values() for rung in measured(found)} | {"noise"}
    rungs = {eps: [rung for rung in f if rung.level in known] for eps, f in rungs.items()}
    attackers = _attackers(rungs)
    columns = min(3, len(rungs))
    figure, axes = drawing.panels(
        len(rungs),
        columns=columns,
        size=(2.1, _LINE * len(attackers)),
        top=1.05,
        gap=(0.3, 0.75),
        margin=(_LEFT, 0.5),
    )
    drawing.head(figure, "Threat ladder: adaptive evade rate by what the attacker has", ())
    drawing.legend(figure, _legend(), 0.5, columns=4)
    for number, (axis, (eps, found)) in enumerate(zip(axes, rungs.items(), strict=True)):
        _panel(axis, found, attackers if number % columns == 0 else [""] * len(attackers))
        axis.set_title(f"eps {short_eps(eps)}")
    return figure


def _attackers(rungs: dict[float, list[Rung]]) -> list[str]:
    """What stands beside each line: the words of an eps that has a figure, if there is one."""
    lines = zip(
        *([r for r in found if r.level != "noise"] for found in rungs.values()), strict=True
    )
    best = [next((rung for rung in line if not rung.gap), line[0]) for line in lines]
    return [f"{rung.attacker}   {rung.level}" for rung in best]


def _panel(axes: Axes, rungs: list[Rung], labels: list[str]) -> None:
    noise = next(rung for rung in rungs if rung.level == "noise")
    if noise.mean is not None:
        axes.axvspan(0, noise.mean, color=NOISE, alpha=0.55, lw=0)
    shown = [rung for rung in rungs if rung.level != "noise"]
    for y, rung in enumerate(shown):
        _rung(axes, y, rung)
    drawing.line_axis(axes, labels)
    axes.set_xlim(-0.03, 1.03)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])


def _rung(axes: Axes, y: int, rung: Rung) -> None:
    if rung.mean is None or rung.interval is None:
        axes.text(0.03, y, f"– {rung.gap}", fontsize=8, color=MUTED, va="center", style="italic")
        return
    drawing.dot(axes, y, rung.mean, rung.interval)
    if rung.worst is not None:
        axes.hlines(y, *rung.worst.interval, color=FLIP, lw=1)
        axes.plot(
            [rung.worst.rate], [y], color=FLIP, marker="D", ms=4.5, ls="", mfc="none", mew=1.5
        )
    if rung.flag is not None:
        side, align = (1.0, "right") if rung.mean < 0.5 else (0.0, "left")
        words = drawing.drawable(rung.flag.short, 26)
        axes.text(side, y + 0.3, words, fontsize=7, color=ALARM, ha=align, va="center")


def _legend() -> list[Line2D | Patch]:
    worst = Line2D([], [], color=FLIP, marker="D", ms=5, mfc="none", mew=1.5, lw=1, label="worst")
    return [
        Line2D([], [], color=ADAPTIVE, marker="o", ms=6, ls="", label="mean over victims"),
        Patch(facecolor=ADAPTIVE, alpha=0.35, label="95 %"),
        worst,
        Patch(facecolor=NOISE, alpha=0.55, label="noise floor, mean"),
    ]
