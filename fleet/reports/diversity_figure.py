"""Draws what differences bought: transfer by what devices differ in, and each effect."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from fleet.audit.diversity.result import DiversityAudit, Effect, Group
from fleet.reports import drawing
from fleet.reports.diversity import NAMES
from fleet.reports.flags import flag
from fleet.reports.palette import ADAPTIVE, INK, MUTED, NOISE, PAPER, PURPLE
from fleet.reports.wording import short_eps

_LINE = 0.3


def draw(audit: DiversityAudit) -> Figure:
    """Dot charts, two for each eps: transfer by what two networks differ in, and what each bought.

    Left the mean transfer of pairs, noise of the same size on the same victims, and the transfer of
    pairs that differ in the seed alone. Right by how many points each difference lowers transfer,
    what each network is as surrogate and as victim removed. The same figures stand in the tables.
    """
    groups = [[g for g in audit.groups if g.eps == eps] for eps in audit.eps]
    effects = [audit.shown(eps) for eps in audit.eps]
    lines = max(*map(len, groups), *map(len, effects), 2)
    figure, axes = drawing.panels(
        2 * len(audit.eps),
        columns=2,
        size=(2.3, _LINE * lines),
        top=1.5,
        gap=(1.35, 0.85),
        margin=(1.75, 0.55),
    )
    drawing.head(figure, "Diversity: what the differences between devices bought", ())
    drawing.legend(figure, _legend(), 0.42, columns=2)
    drawing.failed(figure, flag(audit), 1.15)
    widest = max((g.interval[1] for g in audit.groups), default=0.0)
    ends = [(*(e.over_images or ()), *(e.over_networks or ())) for e in audit.shown()]
    farthest = max((abs(end) for each in ends for end in each), default=0.0)
    for number, eps in enumerate(audit.eps):
        left, right = axes[2 * number : 2 * number + 2]
        left.set_title(f"eps {short_eps(eps)}: transfer")
        right.set_title("bought, points of transfer")
        _transfer(left, groups[number])
        left.set_xlim(0, 1.05 * widest or 1.0)
        left.xaxis.set_major_locator(MaxNLocator(4))
        _bought(right, effects[number])
        side = 115 * farthest or 1.0
        right.set_xlim(-side, side)
        if number == len(audit.eps) - 1:
            left.set_xlabel("mean adaptive evade rate of pairs")
            right.set_xlabel("fewer images transfer: right of 0")
    return figure


def _transfer(axes: Axes, groups: list[Group]) -> None:
    for y, group in enumerate(groups):
        axes.barh(y, group.noise, height=0.7, color=NOISE, alpha=0.55, lw=0)
        drawing.dot(axes, y, group.transfer, group.interval)
        if not group.differs:
            axes.axvline(group.transfer, color=INK, lw=0.9, ls="--")
    names = [[NAMES[f].removeprefix("another ") for f in group.differs] for group in groups]
    drawing.line_axis(axes, [",\n".join(each) or "the seed alone" for each in names])


def _bought(axes: Axes, effects: list[Effect]) -> None:
    axes.axvline(0, color=INK, lw=0.9)
    for y, effect in enumerate(effects):
        if effect.bought is None or effect.over_images is None:
            across = axes.get_yaxis_transform()
            looks: dict[str, Any] = {"fontsize": 8, "color": MUTED, "style": "italic"}
            looks["bbox"] = {"facecolor": PAPER, "lw": 0, "pad": 1}
            axes.text(0.03, y, "– cannot be estimated", transform=across, va="center", **looks)
            continue
        if effect.over_networks is not None:
            low, high = effect.over_networks
            axes.hlines(y, 100 * low, 100 * high, color=PURPLE, lw=1.2)
        low, high = effect.over_images
        drawing.dot(axes, y, 100 * effect.bought, (100 * low, 100 * high), hollow=not effect.told)
    drawing.line_axis(axes, [NAMES[effect.factor] for effect in effects])


def _legend() -> list[Line2D | Patch]:
    return [
        Line2D(
            [], [], color=ADAPTIVE, marker="o", ms=6, ls="", label="mean; effect told from luck"
        ),
        Line2D([], [], color=ADAPTIVE, marker="o", ms=6, ls="", mfc="none", label="may be luck"),
        Patch(facecolor=ADAPTIVE, alpha=0.35, label="95 % over images"),
        Line2D([], [], color=PURPLE, lw=1.2, label="95 % over networks"),
        Line2D([], [], color=INK, lw=0.9, ls="--", label="another seed alone"),
        Patch(facecolor=NOISE, alpha=0.55, label="noise of the same size"),
    ]
