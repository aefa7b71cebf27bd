"""The report of a query audit: what asking the victim gives."""

from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from fleet.audit.core.result import AuditedDevice, Outcome, mean_rate, wilson_interval
from fleet.audit.query.result import Fidelity, QueryAudit, QueryCurve, QueryMethod, QueryPoint
from fleet.reports.flags import failed_checks, flag
from fleet.reports.ladder import Rung, rated
from fleet.reports.large import LARGE, TERMINAL_ROWS, worst_of
from fleet.reports.report import Block, Figure, Report
from fleet.reports.tables import COUNT, EPS, INTERVAL, NAME, OUTCOME, RATE, WORD, Column, Table
from fleet.reports.wording import ABSENT, format_eps, format_interval, format_rate, visible

_COUNTED = {"image": "each image", "total": "in total"}

Asked = tuple[QueryCurve, QueryPoint]


def curves(audit: QueryAudit) -> Table[Asked]:
    """Every point of every curve."""
    return Table(
        "Evade rate at the largest budget. Median: queries until half of the images evade.",
        [(curve, point) for curve in audit.curves for point in curve.points],
        (
            Column(lambda a: a[0].victim, NAME, "victim", csv="victim"),
            Column(lambda a: a[0].eps, EPS, "eps", csv="eps"),
            Column(lambda a: a[0].method, WORD, "method", csv="method"),
            Column(lambda a: a[0].answer, WORD, "sees", csv="answer"),
            Column(lambda a: "+".join(a[0].owned), NAME, csv="owned"),
            Column(lambda a: ", ".join(a[0].owned) or "nothing", NAME, "owns"),
            Column(lambda a: a[0].counted, WORD, csv="counted"),
            Column(lambda a: a[1].queries, COUNT, "queries", csv="queries"),
            Column(lambda a: _COUNTED[a[0].counted], WORD, "counted"),
            Column(lambda a: a[1].outcome, OUTCOME, csv=""),
            Column(lambda a: a[1].outcome.rate("flip"), RATE, "flip"),
            Column(lambda a: a[1].outcome.rate("evade"), RATE, "evade"),
            Column(lambda a: a[1].outcome.interval("evade"), INTERVAL, "95 %"),
            Column(lambda a: a[1].outcome.n, COUNT, "n"),
            Column(lambda a: a[0].median_queries, COUNT, "median", csv="median_queries"),
            Column(
                lambda a: audit.white_box_of(a[0].victim, a[0].eps).outcome.rate("evade"),
                RATE,
                "white-box",
            ),
            Column(lambda _: failed_checks(audit), WORD, csv="failed_checks"),
        ),
        worst=lambda a: a[1].outcome.rate("evade"),
    )


def fidelity(audit: QueryAudit) -> Table[Fidelity]:
    """Surrogates trained on answers: how alike they are, and what their images are worth."""

    def evade(found: Fidelity, eps: float) -> float | None:
        points = audit.curve(found.victim, eps, "extraction").points
        return next(p.outcome.rate("evade") for p in points if p.queries == found.queries)

    return Table(
        "How well a network trained on answers imitates its victim, on held-out images",
        audit.fidelity,
        (
            Column(lambda f: f.victim, NAME, "victim", "victim"),
            Column(lambda f: f.queries, COUNT, "queries", "queries"),
            Column(lambda f: f.n, COUNT, "n"),
            Column(lambda f: f.agree / f.n, RATE, "agrees", "agrees"),
            Column(lambda f: wilson_interval(f.agree, f.n), INTERVAL, "95 %"),
            Column(lambda f: f.correct / f.n, RATE, "correct"),
            *(
                Column[Fidelity](
                    lambda f, eps=eps: evade(f, eps),  # type: ignore[misc]
                    RATE,
                    terminal=f"evade, eps {format_eps(eps)}",
                )
                for eps in audit.eps
            ),
        ),
    )


def hardest_hit(audit: QueryAudit, eps: float, most: int = LARGE) -> list[AuditedDevice]:
    """Devices in order; where there are many, those that lose most to their best attack."""

    def lost(device: AuditedDevice) -> float:
        found = (audit.curve(device.name, eps, method) for method in audit.methods)
        return max(curve.last.outcome.rate("evade") or 0.0 for curve in found)

    return worst_of(audit.devices, lost, most)


def by_queries(audit: QueryAudit, eps: float) -> RichTable:
    """Evade rates against the queries on each image at one eps, the victim's white-box rate last.

    Of the budgets only 1, 10, 100 and so on and the largest are shown. ``median`` is the query with
    which half of the images have fallen.
    """
    devices = hardest_hit(audit, eps)
    fewer = f": the {len(devices)} of {len(audit.devices)} victims hit hardest"
    words = f"evade rate by queries, eps {format_eps(eps)}"
    title = Text(words + fewer * (len(devices) < len(audit.devices)), style="bold")
    table = RichTable(title=title, title_justify="left")
    table.add_column("victim, method", overflow="fold", min_width=len("  transfer+queries"))
    every = sorted({p.queries for c in audit.curves if c.counted == "image" for p in c.points})
    budgets = [most for most in every if most in {1, 10, 100, 1000, 10_000, every[-1]}]
    for words in (*map(str, budgets), "95 %", "flip", "median", "n"):
        table.add_column(words, justify="right", no_wrap=True)
    for device in devices:
        role = " (control)" if device.role == "control" else ""
        table.add_row(Text(visible(device.name) + role, style="bold"))
        for method in audit.methods:
            curve = audit.curve(device.name, eps, method)
            if curve.counted == "image":
                rates = {point.queries: point.outcome.rate("evade") for point in curve.points}
                shown = [format_rate(rates.get(budget)) for budget in budgets]
                median = ABSENT if curve.median_queries is None else str(curve.median_queries)
                table.add_row(f"  {method}", *shown, *_last(curve.last.outcome, median))
        own = audit.white_box_of(device.name, eps).outcome
        shown = [*[""] * (len(budgets) - 1), format_rate(own.rate("evade"))]
        table.add_row("  white-box", *shown, *_last(own, ""), style="dim")
        table.add_section()
    return table


def _last(outcome: Outcome, median: str) -> tuple[str, ...]:
    interval, flip = format_interval(outcome.interval("evade")), format_rate(outcome.rate("flip"))
    return interval, flip, median, str(outcome.n)


def terminal(audit: QueryAudit) -> Iterator[RenderableType]:
    """Rates by queries at each eps, then what extraction gives."""
    for eps in audit.eps:
        yield by_queries(audit, eps)
    if audit.fidelity:
        first, *_ = fidelity(audit).fitted(TERMINAL_ROWS)
        yield first.terminal(Text("extraction, queries in total", style="bold"))


def page(audit: QueryAudit) -> Iterable[Block]:
    """Every curve at its largest budget, and extraction."""
    yield (
        "prose",
        "Noise: random signs, one draw a query. Square: on the victim's scores. Decision: on the "
        "class or None alone. Extraction: a network trained on the victim's answers, then "
        "attacked. Transfer+queries: images made on owned devices, then Square.",
    )
    yield "banner", flag(audit)
    yield ("figures",)
    yield "described", curves(audit).of([(curve, curve.last) for curve in audit.curves])
    if audit.fidelity:
        yield "described", fidelity(audit)


def lines(audit: QueryAudit) -> list[str]:
    """Every method at each eps."""
    return [_line(audit, eps, method) for eps in audit.eps for method in audit.methods]


def _line(audit: QueryAudit, eps: float, method: QueryMethod) -> str:
    found = [audit.curve(name, eps, method) for name in audit.fleet]
    rates = [curve.last.outcome.rate("evade") for curve in found]
    known = [rate for rate in rates if rate is not None]
    if not known:
        return f"{method}, eps {format_eps(eps)}: no image is decoded correctly"
    words = "queries in total" if found[0].counted == "total" else "queries on each image"
    return (
        f"{method}, eps {format_eps(eps)}, {found[0].last.queries} {words}: evade mean "
        f"{format_rate(mean_rate(rates))}, worst {format_rate(max(known))}"
    )


def rungs(audit: QueryAudit, eps: float) -> list[Rung]:
    """Attackers who ask the victim: without a device, and with several."""
    return [_asking(audit, eps, "T0+q"), _asking(audit, eps, "T3")]


def _asking(audit: QueryAudit, eps: float, level: str) -> Rung:
    owning = level == "T3"
    methods = [m for m in audit.methods if m != "noise" and (m == "transfer+queries") == owning]
    if not methods:
        return Rung(level, gap="no such method was audited")
    best: list[tuple[str, Outcome]] = []
    for device in audit.devices:
        if device.role == "device":
            found = [audit.curve(device.name, eps, method) for method in methods]
            curve = max(found, key=lambda one: one.last.outcome.rate("evade") or 0.0)
            total = " in total" if curve.counted == "total" else ""
            budget = f"{curve.last.queries} queries{total}"
            label = f"{curve.method}, {budget} → {visible(device.name)}"
            best.append((label, curve.last.outcome))
    return rated(level, "query", best, flag(audit))


REPORT = Report(
    heading="Queries: an attacker who asks the victim",
    terminal=terminal,
    lines=lines,
    page=page,
    tables={"query.csv": curves},
    figures=(Figure("query", "fleet.reports.query_figure:draw"),),
    rungs=rungs,
)
