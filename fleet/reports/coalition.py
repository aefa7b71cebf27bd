"""The report of a coalition audit: what several captured devices give against the rest."""

from collections.abc import Iterable

from rich.console import RenderableType

from fleet.audit.coalition.result import CoalitionAudit, CurvePoint, DeviceRisk, InputShare
from fleet.reports.flags import failed_checks, flag
from fleet.reports.ladder import Extreme, Rung, mean_interval, noise_rung
from fleet.reports.large import named
from fleet.reports.report import Block, Figure, Report
from fleet.reports.tables import COUNT, EPS, INTERVAL, NAME, RATE, WORD, Column, Table
from fleet.reports.wording import format_eps, format_rate, visible


def curve(audit: CoalitionAudit) -> Table[CurvePoint]:
    """The collusion curve of every attack; the point of size 0 is the controls."""
    return Table(
        f"Collusion curve, attack {audit.headline}. 95 %: bootstrap over images. Leaving one "
        "victim out: the widest interval without any one victim.",
        audit.curve,
        (
            Column(lambda p: p.size, COUNT, "devices owned", "owned"),
            Column(lambda p: p.attack, WORD, csv="attack"),
            Column(lambda p: p.eps, EPS, "eps", csv="eps"),
            Column(lambda p: p.choice, WORD, "choice", csv="choice"),
            Column(lambda p: p.size, COUNT, csv="owned"),
            Column(lambda _: len(audit.fleet), COUNT, csv="fleet"),
            Column(lambda p: p.coalitions, COUNT, csv="coalitions"),
            Column(lambda p: f"{'all ' * p.exhaustive}{p.coalitions}", COUNT, "coalitions"),
            Column(_chosen, WORD, terminal="coalitions"),
            Column(lambda p: int(p.exhaustive), COUNT, csv="exhaustive"),
            Column(lambda p: p.share, RATE, "evade of the others", "others", "others_evade"),
            Column(lambda p: (p.low, p.high), INTERVAL, "95 %", "95 %", "others_evade"),
            Column(
                lambda p: (p.lowest, p.highest),
                INTERVAL,
                "leaving one victim out",
                csv="leave_one_out",
            ),
            Column(lambda p: p.flip_share, RATE, "flip of the others", "flip", "others_flip"),
            Column(
                lambda p: p.owned_share, RATE, "evade of the owned", "owned fall", "owned_evade"
            ),
            Column(
                lambda p: p.whole_share, RATE, "evade of the whole fleet", "fleet", "fleet_evade"
            ),
            Column(lambda _: failed_checks(audit), WORD, csv="failed_checks"),
        ),
    )


def _chosen(point: CurvePoint) -> str:
    if point.exhaustive and point.size:
        return f"all {point.coalitions}"
    return "greedy" if point.choice == "greedy" else f"{point.coalitions} {point.choice}"


def risks(audit: CoalitionAudit) -> Table[DeviceRisk]:
    """Each device: what losing it costs the others, and how easily it falls; the worst in bold."""
    headline = audit.headline
    return Table(
        "Damage to others: their mean evade rate when this device alone is captured, as measured. "
        "Exposure: its own evade rate under coalitions that do not own it.",
        [risk for eps in audit.eps for risk in audit.risks_of(headline, eps)],
        (
            Column(lambda r: r.device, NAME, "device", "device"),
            Column(lambda r: r.eps, EPS, "eps"),
            Column(
                lambda r: r.blast_radius,
                RATE,
                "damage to others",
                "damage to others",
                bold=lambda r: r == audit.strongest(headline, r.eps),
            ),
            Column(lambda r: (r.blast_low, r.blast_high), INTERVAL, "95 %", "95 %"),
            Column(
                lambda r: r.exposure,
                RATE,
                "exposure",
                "exposure",
                bold=lambda r: r == audit.weakest(headline, r.eps),
            ),
            Column(lambda r: (r.exposure_low, r.exposure_high), INTERVAL, "95 %", "95 %"),
            Column(
                lambda r: audit.noise_floor(r.device, r.eps).outcome.rate("evade"),
                RATE,
                terminal="noise floor",
            ),
        ),
        worst=lambda r: r.blast_radius,
    )


def inputs(audit: CoalitionAudit) -> Table[InputShare]:
    """How many devices one image fools, under the headline attack."""
    return Table(
        "S(x): share of devices fooled by one image, over images that all devices decode correctly",
        [row for row in audit.inputs if row.attack == audit.headline],
        (
            Column(lambda row: row.size, COUNT, "devices owned"),
            Column(lambda row: row.eps, EPS, "eps"),
            Column(lambda row: row.choice, WORD, "choice"),
            Column(
                lambda row: "devices not owned" if row.of == "others" else "whole fleet",
                WORD,
                "counted",
            ),
            Column(lambda row: row.images, COUNT, "images"),
            Column(lambda row: row.mean, RATE, "mean"),
            Column(lambda row: row.p95, RATE, "95th percentile"),
            Column(lambda row: row.at_least_half, RATE, "P(half or more)"),
            Column(lambda row: row.all, RATE, "P(all)"),
        ),
    )


def terminal(audit: CoalitionAudit) -> Iterable[RenderableType]:
    """The headline attack's curve, and the devices, at each eps."""
    points, devices = curve(audit), risks(audit)
    for eps in audit.eps:
        words = f"eps {format_eps(eps)}"
        chosen = [p for p in points.rows if (p.attack, p.eps) == (audit.headline, eps)]
        yield points.of(chosen, f"{audit.headline} attack, {words}: who falls").terminal()
        here = devices.of([r for r in devices.rows if r.eps == eps], f"devices, {words}")
        yield from here.printed()


def page(audit: CoalitionAudit) -> Iterable[Block]:
    """Curve, sentences, devices; the images folded away."""
    yield (
        "prose",
        "Share of the devices that the attacker does not own that fall to one image. Random: "
        "devices as they come; greedy: the next device that gains most on held-out images; "
        "control: no device of the fleet.",
    )
    yield "banner", flag(audit)
    yield ("figures",)
    headline = [point for point in audit.curve if point.attack == audit.headline]
    yield "described", curve(audit).of(headline)
    yield "lines", lines(audit)
    yield "described", risks(audit)
    yield "details", "Devices that one image fools", [("described", inputs(audit))]


def lines(audit: CoalitionAudit) -> list[str]:
    """What an operator should remember, one sentence for each eps."""
    return [_sentence(audit, eps) for eps in audit.eps]


def _sentence(audit: CoalitionAudit, eps: float) -> str:
    attack, count = audit.headline, len(audit.fleet)
    halves = {h.choice: h.size for h in audit.half if (h.attack, h.eps) == (attack, eps)}
    reached = [f"{size} owned ({choice})" for choice, size in halves.items() if size is not None]
    half = (
        f"half of the rest falls with {' or '.join(reached)}"
        if reached
        else "no audited coalition brings down half of the rest"
    )
    worth = next(e for e in audit.effective if (e.attack, e.eps) == (attack, eps)).size
    strongest, weakest = audit.strongest(attack, eps), audit.weakest(attack, eps)
    return (
        f"eps {format_eps(eps)}: {half}; worst to lose: {visible(strongest.device)} "
        f"({format_rate(strongest.blast_radius)} of the others); falls most: "
        f"{visible(weakest.device)} ({format_rate(weakest.exposure)})"
        + ("" if worth is None else f"; {count} devices are worth {worth:.1f}")
    )


def rungs(audit: CoalitionAudit, eps: float) -> list[Rung]:
    """The noise floor, and attackers with nobody's device and with the most devices audited."""
    nobody = _of_size("T0", audit, eps, 0) or Rung("T0", gap="no control was audited")
    points = [p for p in audit.curve if (p.attack, p.eps) == (audit.headline, eps) and p.size > 1]
    size = max((point.size for point in points), default=0)
    several = _of_size("T2", audit, eps, size) if size else None
    gone = Rung("T2", gap="no coalition of two or more")
    return [noise_rung(audit, "coalition", eps), nobody, several or gone]


def _of_size(level: str, audit: CoalitionAudit, eps: float, size: int) -> Rung | None:
    """Mean over the coalitions of one size, with its bootstrap interval, and the worst of them."""
    attack = audit.headline
    trials = [t for t in audit.trials if (t.attack, t.eps, t.size) == (attack, eps, size)]
    points = [p for p in audit.curve if (p.attack, p.eps, p.size) == (attack, eps, size)]
    if not trials or not points:
        return None
    point = next((p for p in points if p.choice != "greedy"), points[0])
    worst = max(trials, key=lambda trial: trial.share)
    n = min(victim.outcome.n for victim in worst.victims)
    where = named(worst.owned or worst.surrogates)
    return Rung(
        level,
        "coalition",
        mean=point.share,
        interval=(point.low, point.high),
        flip=point.flip_share,
        n=n,
        worst=Extreme(worst.share, mean_interval(worst.share, n), f"{where} → the rest"),
        flag=flag(audit),
        owns=f"{size} of {len(audit.fleet)} devices" if size else "",
    )


REPORT = Report(
    heading="Coalition: an attacker who owns several devices",
    terminal=terminal,
    lines=lines,
    page=page,
    tables={"coalition.csv": curve},
    figures=(Figure("coalition", "fleet.reports.coalition_figure:draw"),),
    rungs=rungs,
)
