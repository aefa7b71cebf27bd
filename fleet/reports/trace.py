"""The report of a trace audit: on which device were adversarial images made?"""

from collections.abc import Iterable, Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from fleet.audit.trace import result
from fleet.reports.flags import failed_checks, flag
from fleet.reports.report import Block, Figure, Report
from fleet.reports.tables import COUNT, EPS, INTERVAL, NAME, RATE, WORD, Column, Form, Table
from fleet.reports.wording import format_count, format_eps, format_interval, format_rate, visible

CAVEAT = (
    "Figures hold for naive attackers and for the one hiding attacker tried here; an attacker who "
    "optimises against the scores, or who attacks several devices at once, is not covered."
)
_SCORE = Form(lambda value: f"{value:+.2f}")

Named = tuple[result.TraceRate, result.Confusion, int]
"""A rate, the device that images were made on, and the place of a device that is named."""


def rates(audit: result.TraceAudit) -> Table[result.TraceRate]:
    """Top-1, and what the threshold leaves of it."""
    return Table(
        f"Share of evidence that names its source; chance is {format_rate(1 / len(audit.devices))}."
        " Convicted: right and above the threshold. Wrongly accused: another device above it. "
        "False positives: outsiders' evidence above it.",
        audit.rates,
        (
            Column(lambda r: r.attacker, WORD, "attacker", "attacker"),
            Column(lambda r: r.score, WORD, "score", "score"),
            Column(lambda r: r.eps, EPS, "eps"),
            Column(lambda r: r.evidence, COUNT, "images a piece", "m"),
            Column(lambda r: r.top1, RATE, "top-1", "top-1"),
            Column(lambda r: r.top1_interval, INTERVAL, "95 %", "95 %"),
            Column(lambda r: r.n, COUNT, "n", "n"),
            Column(lambda r: _share(r.convicted, r.n), RATE, "convicted", "accused"),
            Column(lambda r: _share(r.wrongly_accused, r.n), RATE, "wrongly accused", "wrongly"),
            Column(lambda r: "{} of {}".format(*r.false_positives), COUNT, "false positives"),
            Column(lambda r: _share(*r.false_positives), RATE, terminal="outsiders"),
            Column(lambda r: r.false_positive_interval, INTERVAL, "95 %"),
        ),
    )


def confusions(audit: result.TraceAudit) -> Table[Named]:
    """For each eps, attacker, score and amount of evidence: source by device named."""
    names = [device.name for device in audit.devices]
    return Table(
        "Which device is named for images made on which",
        [(r, row, k) for r in audit.rates for row in r.confusion for k in range(len(names))],
        (
            Column(lambda c: c[0].eps, EPS, csv="eps"),
            Column(lambda c: c[0].attacker, WORD, csv="attacker"),
            Column(lambda c: c[0].score, WORD, csv="score"),
            Column(lambda c: c[0].evidence, COUNT, csv="evidence"),
            Column(lambda c: c[1].source, NAME, csv="source"),
            Column(lambda c: names[c[2]], NAME, csv="named"),
            Column(lambda c: sum(c[1].named), COUNT, csv="n"),
            Column(lambda c: c[1].named[c[2]], COUNT, csv="count"),
            Column(lambda c: c[1].accused[c[2]], COUNT, csv="accused"),
            Column(lambda c: c[0].top1, RATE, csv="top1"),
            Column(lambda c: c[0].chance, RATE, csv="chance"),
            Column(lambda _: failed_checks(audit), WORD, csv="failed_checks"),
        ),
    )


def prices(audit: result.TraceAudit) -> Table[result.EvasionPrice]:
    """What hiding costs."""
    return Table(
        "What hiding costs the attacker",
        audit.prices,
        (
            Column(lambda p: p.attacker, WORD, "attacker"),
            Column(lambda p: p.eps, EPS, "eps"),
            Column(lambda p: p.n, COUNT, "n"),
            Column(lambda p: _share(p.evade, p.n), RATE, "evade on the source"),
            Column(lambda p: p.pairs, COUNT, "pairs"),
            Column(lambda p: _share(p.transfers, p.pairs), RATE, "evade on other devices"),
        ),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def terminal(audit: result.TraceAudit) -> Iterator[RenderableType]:
    """The rates at each eps. ``outsiders``: share of their evidence that accuses anybody."""
    for eps in audit.eps:
        found = rates(audit).of([rate for rate in audit.rates if rate.eps == eps])
        chance = format_rate(1 / len(audit.devices))
        title = f"tracing from m images, eps {format_eps(eps)}, guessing {chance}"
        yield found.terminal(Text(title, style="bold"))


def page(audit: result.TraceAudit) -> Iterable[Block]:
    """Rates, and the price of hiding."""
    yield (
        "prose",
        "Deviation: how far the image moves what an attacker of the device ascends. Alignment: "
        "cosine of the perturbation and the device's gradient. Combined: their sum. An outsider's "
        "images were made on none of the devices.",
    )
    yield "banner", flag(audit)
    yield ("figures",)
    yield "described", rates(audit)
    yield "described", prices(audit)


def lines(audit: result.TraceAudit) -> list[str]:
    """Single images, and what hiding costs."""
    found = []
    for eps in audit.eps:
        rate = audit.rate(eps, "combined")
        accused, outsiders = rate.false_positives
        found.append(
            f"eps {format_eps(eps)}: one image names its device in {format_rate(rate.top1)} "
            f"(95 % {format_interval(rate.top1_interval)}, n {rate.n}, guessing "
            f"{format_rate(rate.chance)}); {accused} of {outsiders} outsiders' images accuse one"
        )
        naive, hiding = (
            next(p for p in audit.prices if (p.eps, p.attacker) == (eps, attacker))
            for attacker in ("naive", "hiding")
        )
        hidden = audit.rate(eps, "combined", attacker="hiding")
        found.append(
            f"eps {format_eps(eps)}: who hides is named in {format_rate(hidden.top1)}, and their "
            f"images evade {format_rate(_share(hiding.transfers, hiding.pairs))} of the other "
            f"devices instead of {format_rate(_share(naive.transfers, naive.pairs))}"
        )
    return [*found, CAVEAT]


def tracing_view(tracing: result.Tracing) -> Group:
    """Images of unknown origin for a terminal: all suspects, then the answer."""
    suspects: Table[result.Suspect] = Table(
        f"{format_count(tracing.images, 'image')}, up to {tracing.distance:.4g} changed",
        tracing.ranking,
        (
            Column(lambda s: s.name, NAME, terminal="device"),
            Column(lambda s: s.combined, _SCORE, terminal="combined"),
            Column(lambda s: s.deviation, _SCORE, terminal="deviation"),
            Column(lambda s: s.alignment, _SCORE, terminal="alignment"),
            Column(lambda s: s.votes, COUNT, terminal="votes"),
        ),
    )
    best = tracing.ranking[0]
    answer = f"Made on {visible(best.name)}"
    if tracing.named is None:
        answer = f"Made on none of ours; likeliest is {visible(best.name)}"
    facts = f"score {best.combined:+.2f}, threshold {tracing.threshold:+.2f}"
    return Group(suspects.terminal(), Text(f"{answer} ({facts})."))


REPORT = Report(
    heading="Trace: on which device were adversarial images made?",
    terminal=terminal,
    lines=lines,
    page=page,
    tables={"trace.csv": confusions},
    figures=(Figure("trace", "fleet.reports.trace_figure:draw"),),
)
