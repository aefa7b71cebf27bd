"""The report of a diversity audit: what differences bought, or that they cannot be told."""

from collections.abc import Iterable, Iterator, Sequence

from rich.console import RenderableType

from fleet.audit.diversity import result
from fleet.reports.flags import flag
from fleet.reports.report import Block, Figure, Report
from fleet.reports.tables import COUNT, EPS, INTERVAL, LIFT, NAME, RATE, WORD, Column, Form, Table
from fleet.reports.wording import ABSENT, format_eps, format_interval, format_rate

NAMES: dict[result.Difference, str] = {
    "order": "another order",
    "ratio": "another β/(α+β)",
    "method": "another method",
    "network": "another network",
    "any": "any difference",
}
EVENTS: dict[result.Event, str] = {
    "mistake": "wrong without an attack",
    "failure": "evaded by others' images",
    "certificate": "certified",
}

_CORRELATION = Form(lambda value: f"{value:.2f}")
_NONE = (None, None)
_BETWEEN = Form(
    lambda bounds: (
        ABSENT if bounds == _NONE else f"{100 * bounds[0]:+.1f} to {100 * bounds[1]:+.1f}"
    ),
    INTERVAL.write,
)
_LIFTS = Form(
    lambda bounds: ABSENT if bounds == _NONE else f"{bounds[0]:+.3f} to {bounds[1]:+.3f}",
    INTERVAL.write,
)
_REACH = 10
"""Letters on each side of zero where a terminal draws an interval."""
_POINTS = Form(lambda value: f"{100 * value:+.1f}", RATE.write)
_P = Form(lambda value: f"{value:.3f}")


def differing(factors: Sequence[result.Factor]) -> str:
    """In words what two networks differ in."""
    return ", ".join(NAMES[factor] for factor in factors) or "the seed alone"


def groups(audit: result.DiversityAudit) -> Table[result.Group]:
    """Mean transfer by what differs."""
    return Table(
        "Mean transfer between two networks, by what they differ in beside their seed: as counted, "
        "above noise of the same size, and against pairs that differ in the seed alone",
        audit.groups,
        (
            Column(lambda g: differing(g.differs), NAME, "differ in", "differ in", "differs"),
            Column(lambda g: g.eps, EPS, "eps", "eps", "eps"),
            Column(lambda g: g.pairs, COUNT, "pairs", "pairs", "pairs"),
            Column(lambda g: g.transfer, RATE, "transfer", "transfer", "transfer"),
            Column(lambda g: g.interval, INTERVAL, "95 % (images)", csv="transfer"),
            Column(lambda g: g.noise, RATE, "noise", "noise", "noise"),
            Column(lambda g: g.excess, LIFT, "above noise", "above", "above_noise"),
            Column(lambda g: g.excess_interval or _NONE, _LIFTS, "95 %", csv="above_noise"),
            Column(lambda g: g.beyond_seed, LIFT, "above seed alone", "above seed", "above_seed"),
            Column(lambda g: g.beyond_interval or _NONE, _LIFTS, "95 %", "95 %", csv="above_seed"),
        ),
    )


def effects(audit: result.DiversityAudit) -> Table[result.Effect]:
    """What each difference bought."""
    return Table(
        "What a difference bought: points by which fewer images transfer, what each network is as "
        "surrogate and as victim removed. Over images: for these networks. Over networks: for "
        "others trained alike (permutation of whole networks)",
        audit.shown(),
        (
            Column(lambda e: NAMES[e.factor], NAME, "difference", "difference", "difference"),
            Column(lambda e: e.eps, EPS, "eps", "eps", "eps"),
            Column(lambda e: e.same, COUNT, "pairs alike", csv="same"),
            Column(lambda e: e.different, COUNT, "pairs apart", csv="different"),
            Column(lambda e: e.bought, _POINTS, "bought", "bought", "bought"),
            Column(
                lambda e: e.over_images or _NONE,
                _BETWEEN,
                *("over images", "over images", "over_images"),
            ),
            Column(
                lambda e: e.over_networks or _NONE,
                _BETWEEN,
                *("over networks", "over networks", "over_networks"),
            ),
            Column(lambda e: e.p, _P, "p", "p", "p"),
            Column(lambda e: e.detectable, _POINTS, "found from", csv="detectable"),
            Column(verdict, NAME, "so", csv="verdict"),
            _drawn(audit.shown()),
        ),
    )


def _drawn(shown: Sequence[result.Effect]) -> Column[result.Effect]:
    """For a terminal: zero, the effect and its interval over images, all effects on one scale."""
    ends = [abs(end) for effect in shown for end in effect.over_images or ()]
    scale = max(ends, default=0.0) or 1.0

    def place(value: float) -> int:
        return _REACH + round(_REACH * max(-1.0, min(1.0, value / scale)))

    def draw(effect: result.Effect) -> str | None:
        if effect.bought is None or effect.over_images is None:
            return None
        low, high = map(place, effect.over_images)
        line = ["\u2500" if low <= k <= high else " " for k in range(2 * _REACH + 1)]
        line[_REACH], line[place(effect.bought)] = "\u2502", "\u25cf"
        return "".join(line)

    edge = f"{100 * scale:.1f}"
    head = f"-{edge}{'0'.center(2 * _REACH - 1 - 2 * len(edge))}+{edge}"
    return Column(draw, WORD, terminal=head)


def verdict(effect: result.Effect) -> str:
    """One effect in a few words."""
    if effect.bought is None:
        return effect.why_not
    if not effect.told:
        return "cannot be told from luck"
    return "bought" if effect.bought > 0 else "cost"


def together(audit: result.DiversityAudit) -> Table[result.Together]:
    """Each event on every two devices."""
    return Table(
        "What befalls two devices on the same images, beside what independent devices would show",
        audit.together,
        (
            Column(lambda t: EVENTS[t.event], WORD, "event", csv="event"),
            Column(lambda t: t.devices[0], NAME, "device", csv="device"),
            Column(lambda t: t.devices[1], NAME, "and", csv="and"),
            Column(lambda t: t.eps or None, EPS, "eps", csv="eps"),
            Column(lambda t: t.n, COUNT, "images", csv="n"),
            Column(lambda t: t.first, COUNT, "first", csv="first"),
            Column(lambda t: t.second, COUNT, "second", csv="second"),
            Column(lambda t: t.both, COUNT, "both", csv="both"),
            Column(lambda t: t.both / t.n if t.n else None, RATE, "both", csv="both_rate"),
            Column(lambda t: t.chance, RATE, "if independent", csv="independent"),
        ),
        worst=lambda t: t.both / t.n if t.n else None,
    )


def agreements(audit: result.DiversityAudit) -> Table[result.Agreement]:
    """Mean correlation of each event."""
    return Table(
        "Whether devices share their fate image by image: mean correlation over pairs (0: "
        "independent, 1: the same images), and how many independent devices they are worth",
        audit.agreements,
        (
            Column(lambda a: EVENTS[a.event], WORD, "event", "event", "event"),
            Column(lambda a: a.eps or None, EPS, "eps", "eps", "eps"),
            Column(lambda a: a.pairs, COUNT, "pairs", "pairs", "pairs"),
            Column(lambda a: a.correlation, _CORRELATION, "phi", "phi", "phi"),
            Column(lambda a: a.interval, INTERVAL, "95 % (images)", "95 %"),
            Column(lambda a: a.devices, COUNT, "devices", "devices", "devices"),
            Column(lambda a: a.effective, _CORRELATION, "worth", "worth", "worth"),
        ),
    )


def lines(audit: result.DiversityAudit) -> list[str]:
    """What was bought at each eps, and whether failures are shared."""
    return [line for eps in audit.eps for line in _lines(audit, eps)]


def _lines(audit: result.DiversityAudit, eps: float) -> Iterator[str]:
    head = f"eps {format_eps(eps)}: "
    seed = audit.seed_alone(eps)
    if seed is None:
        yield head + "no two networks differ in the seed alone; `twin: true` trains such a pair"
    else:
        yield head + (
            f"another seed alone: transfer {format_rate(seed.transfer)} (95 % over images "
            f"{format_interval(seed.interval)}), noise {format_rate(seed.noise)}"
        )
    for effect in audit.shown(eps):
        yield head + _effect(effect, len(audit.networks))
    for found in audit.agreements:
        if found.eps == eps:
            yield head + _agreement(found)


def _effect(effect: result.Effect, networks: int) -> str:
    name = NAMES[effect.factor]
    if effect.bought is None or effect.over_images is None:
        return f"{name}: nothing can be said: {effect.why_not}"
    images = f"(95 % over images {_BETWEEN.show(effect.over_images)}"
    if effect.over_networks is not None:
        images += f", over networks {_BETWEEN.show(effect.over_networks)}"
    words = (
        f"{name} bought {100 * effect.bought:+.1f} points of transfer {images}; p {effect.p:.3f})"
    )
    if effect.told:
        return words
    if effect.detectable is None:
        return (
            f"{words}: cannot be told from luck; {networks} networks could not show any effect, "
            f"however large (smallest p {effect.smallest_p:.3f})"
        )
    points = f"{100 * effect.detectable:.0f} points or more with 80 % power"
    return f"{words}: cannot be told from luck; {networks} networks show {points}"


def _agreement(found: result.Agreement) -> str:
    what = EVENTS[found.event]
    if found.correlation is None or found.interval is None or found.effective is None:
        return f"{what}: no two devices can be compared, as it befalls all of the images or none"
    return (
        f"{what}: two devices correlate by {found.correlation:.2f} over images (95 % "
        f"{found.interval[0]:.2f} to {found.interval[1]:.2f}, mean over pairs); {found.devices} "
        f"devices are worth {found.effective:.1f} independent ones"
    )


def terminal(audit: result.DiversityAudit) -> Iterator[RenderableType]:
    """Groups, effects and correlations."""
    yield groups(audit).terminal()
    if audit.shown():
        yield effects(audit).terminal()
    yield agreements(audit).terminal()


def page(audit: result.DiversityAudit) -> Iterable[Block]:
    """The answers, then the tables, pairs folded."""
    yield (
        "prose",
        "Devices differ so that what breaks one leaves the others standing. These figures say what "
        "each difference bought on these images, and whether that can be told from luck: from what "
        "another seed would have given. With the head softmax the order renames outputs and no "
        "more.",
    )
    yield "banner", flag(audit)
    yield ("figures",)
    yield "lines", lines(audit)
    yield "described", groups(audit)
    yield "described", effects(audit)
    yield "described", agreements(audit)
    if audit.together:
        yield "details", "Pairs of devices", [("described", together(audit))]


REPORT = Report(
    heading="Diversity: what the differences between devices bought",
    terminal=terminal,
    lines=lines,
    page=page,
    tables={
        "diversity.csv": groups,
        "diversity-effects.csv": effects,
        "diversity-agreement.csv": agreements,
        "diversity-pairs.csv": together,
    },
    figures=(Figure("diversity", "fleet.reports.diversity_figure:draw"),),
)
