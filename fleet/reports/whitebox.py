"""The report of a white-box audit: the paper's Tables 1 and 2, and what they leave out."""

from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.text import Text

from fleet.audit.core.evidence import Binarization
from fleet.audit.core.result import AuditedDevice, Outcome, Protocol, mean_rate
from fleet.audit.whitebox.result import MinimumDistance, WhiteboxAudit, WhiteboxFigure
from fleet.reports.exhibits import turned
from fleet.reports.flags import audited_protocols, failed_checks, flag
from fleet.reports.ladder import Rung, noise_rung, rated
from fleet.reports.large import worst_of
from fleet.reports.report import Block, Figure, Report
from fleet.reports.tables import (
    COUNT,
    EPS,
    INTERVAL,
    LIFT,
    NAME,
    OUTCOME,
    RATE,
    STYLES,
    WORD,
    Column,
    Form,
    Table,
    rates,
)
from fleet.reports.wording import (
    control_mark,
    format_eps,
    format_interval,
    format_rate,
    short_eps,
    visible,
)

NORMS = {"linf": "Linf", "l2": "L2"}
_DISTANCE = Form(lambda value: f"{value:.4g}")

Shown = tuple[str, Protocol | None, str]
"""Attack in words, protocol (None: noise), name of the attack or kind of success."""


def shown_attacks(audit: WhiteboxAudit) -> list[Shown]:
    """What the paper's table shows: each attack on the task's loss, then the honest ones."""
    single = {f.attack for f in audit.figures if f.protocol == "paper" and f.attack != "worst"}
    by_rank = sorted(single, key=lambda attack: (attack != "fgsm", attack))
    found: list[Shown] = [(attack.upper(), "paper", attack) for attack in by_rank]
    if "adaptive" in audited_protocols(audit):
        found += [("adaptive flip", "adaptive", "flip"), ("adaptive evade", "adaptive", "evade")]
    return [*found, ("noise floor", None, "evade")]


def shown_rate(audit: WhiteboxAudit, device: str, attack: Shown, eps: float) -> float | None:
    """One cell of the paper's table."""
    _, protocol, name = attack
    if protocol is None:
        return audit.noise_floor(device, eps).outcome.rate("evade")
    if protocol == "adaptive":
        outcome = audit.figure(device, "adaptive", eps).outcome
        return outcome.rate("flip" if name == "flip" else "evade")
    try:
        return audit.figure(device, protocol, eps, name).outcome.rate("evade")
    except KeyError:
        return None


def papers_table(audit: WhiteboxAudit, eps: float) -> Table[AuditedDevice]:
    """The paper's table at one eps, with the adaptive rates and the noise floor it leaves out."""

    def interval(device: AuditedDevice) -> tuple[float, float] | None:
        if "adaptive" not in audited_protocols(audit):
            return None
        return audit.figure(device.name, "adaptive", eps).outcome.interval("evade")

    def heading(attack: Shown) -> str:
        flagged = flag(audit, attack[1]) if attack[1] else None
        return f"{visible(attack[0])}\n{flagged.word}" if flagged else visible(attack[0])

    attacks = (
        Column[AuditedDevice](
            lambda device, attack=attack: shown_rate(audit, device.name, attack, eps),  # type: ignore[misc]
            RATE,
            terminal=heading(attack),
        )
        for attack in shown_attacks(audit)
    )
    return Table(
        f"white-box attack success rates, {NORMS[audit.norm]} eps {format_eps(eps)}",
        audit.devices,
        (
            Column(lambda device: device.name + control_mark(device), NAME, terminal="device"),
            Column(lambda device: device.task.upper(), WORD, terminal="task"),
            Column(lambda device: device.clean_accuracy, RATE, terminal="LEG"),
            *attacks,
            Column(interval, INTERVAL, terminal="95 %"),
            Column(lambda device: device.correct, COUNT, terminal="n"),
        ),
        apart=lambda device: device.role == "control",
        worst=lambda device: fallen(audit, device.name),
    )


def fallen(audit: WhiteboxAudit, device: str) -> float:
    """The adaptive evade rate of a device at the largest eps; the paper's where there is none."""
    protocol = audited_protocols(audit)[0]
    return audit.figure(device, protocol, audit.eps[-1]).outcome.rate("evade") or 0.0


def details(audit: WhiteboxAudit) -> Table[WhiteboxFigure]:
    """Every figure with its interval; ``floor_*`` in CSV: under Eq. 2's floor decoding."""
    failed = {protocol: failed_checks(audit, protocol) for protocol in audited_protocols(audit)}
    devices = {device.name: device for device in audit.devices}

    def found(figure: WhiteboxFigure) -> Outcome:
        return figure.outcome

    def noise(figure: WhiteboxFigure) -> Outcome:
        return audit.noise_floor(figure.device, figure.eps).outcome

    def lift(figure: WhiteboxFigure) -> float | None:
        rate, floor = figure.outcome.rate("evade"), noise(figure).rate("evade")
        return None if rate is None or floor is None else rate - floor

    def protocol(figure: WhiteboxFigure) -> str:
        flagged = flag(audit, figure.protocol)
        return f"{figure.protocol}, {flagged.short}" if flagged else figure.protocol

    return Table(
        "Worst case of each protocol. Floor decoding: the same images under Eq. 2 taken alone, "
        "which never rejects in a gap.",
        audit.figures,
        (
            Column(lambda f: f.device, NAME, "device", csv="device"),
            Column(lambda f: devices[f.device].role, WORD, csv="role"),
            Column(lambda f: devices[f.device].task, WORD, csv="task"),
            Column(protocol, NAME, "protocol"),
            Column(lambda f: f.protocol, WORD, csv="protocol"),
            Column(lambda f: f.attack, WORD, csv="attack"),
            Column(lambda _: audit.norm, WORD, csv="norm"),
            Column(lambda f: f.eps, EPS, "eps", csv="eps"),
            Column(lambda f: devices[f.device].clean_accuracy, RATE, csv="clean_accuracy"),
            Column(lambda f: f.outcome.n, COUNT, "n"),
            *rates(found, "flip", "reject", "evade"),
            Column(lambda f: f.floor.rate("evade"), RATE, "evade, floor decoding"),
            Column(lambda f: noise(f).rate("evade"), RATE, "noise floor"),
            Column(lift, LIFT, "lift"),
            Column(lambda f: f.outcome, OUTCOME, csv=""),
            Column(lambda f: f.floor, OUTCOME, csv="floor_"),
            Column(noise, OUTCOME, csv="noise_"),
            Column(lambda f: failed[f.protocol], WORD, csv="failed_checks"),
        ),
        worst=lambda f: f.outcome.rate("evade"),
    )


def margins(audit: WhiteboxAudit) -> Table[tuple[str, str, float]]:
    """One row for each image: its device, the norm, and its first-order margin in pixel units."""
    return Table(
        "Margins of correctly decoded images",
        [(found.device, found.norm, value) for found in audit.margins for value in found.values],
        (
            Column(lambda row: row[0], NAME, csv="device"),
            Column(lambda row: row[1], WORD, csv="norm"),
            Column(lambda row: row[2], COUNT, csv="margin"),
        ),
    )


def distances(audit: WhiteboxAudit) -> Table[MinimumDistance]:
    """What minimum-norm attacks found."""
    return Table(
        "Distance of the nearest adversarial image that a minimum-norm attack found, quantiles "
        "over the images found, pixel units",
        audit.distances,
        (
            Column(lambda d: d.device, NAME, "device"),
            Column(lambda d: d.attack, WORD, "attack"),
            Column(lambda d: d.norm, COUNT, "norm"),
            Column(lambda d: f"{d.found} of {d.n}", COUNT, "found"),
            Column(lambda d: d.quantiles and d.quantiles[0], _DISTANCE, "10 %"),
            Column(lambda d: d.quantiles and d.quantiles[1], _DISTANCE, "50 %"),
            Column(lambda d: d.quantiles and d.quantiles[2], _DISTANCE, "90 %"),
        ),
    )


def binarization(audit: WhiteboxAudit) -> Table[Binarization]:
    """Whether the attack finds what is there for certain."""
    return Table(
        "Binarization test: two-class problems with an adversarial image inside the ball by "
        "construction, and how many of them each attack solves",
        audit.binarization,
        (
            Column(lambda b: b.device, NAME, "device"),
            Column(lambda b: b.eps, EPS, "eps"),
            Column(lambda b: b.n, COUNT, "problems"),
            Column(lambda b: b.unbuilt, COUNT, "not built"),
            Column(lambda b: b.paper, COUNT, "paper"),
            Column(lambda b: b.adaptive, COUNT, "adaptive"),
            Column(lambda b: b.random, COUNT, "random"),
        ),
    )


def terminal(audit: WhiteboxAudit) -> Iterator[RenderableType]:
    """The paper's table at each eps."""
    for eps in audit.eps:
        table = papers_table(audit, eps)
        title = Text(table.title, style="bold")
        for protocol in audited_protocols(audit):
            flagged = flag(audit, protocol)
            if flagged:
                title.append(f"\n{protocol} protocol: {flagged.sentence}", style=STYLES["fail"])
        yield from table.printed(title)


def page(audit: WhiteboxAudit) -> Iterable[Block]:
    """The paper's table over all eps; intervals, distances and the binarization test folded."""
    yield (
        "prose",
        "The form of the paper's Tables 1 and 2, with what they leave out. FGSM and PGD ascend the "
        "task's own loss; the adaptive attack ascends the decision. LEG is the clean accuracy, "
        "None counted as wrong.",
    )
    for protocol in audited_protocols(audit):
        yield "banner", flag(audit, protocol), f"{protocol.capitalize()} protocol "
    attacks = shown_attacks(audit)
    devices = worst_of(audit.devices, lambda device: fallen(audit, device.name))
    fewer = f"; the {len(devices)} of {len(audit.devices)} networks that fall most"
    yield (
        "grouped",
        f"White-box attack success rates among correctly decoded images ({NORMS[audit.norm]} eps "
        f"in pixel units){fewer * (len(devices) < len(audit.devices))}",
        [(words, protocol and flag(audit, protocol)) for words, protocol, _ in attacks],
        [short_eps(eps) for eps in audit.eps],
        [
            (device, [shown_rate(audit, device.name, a, eps) for a in attacks for eps in audit.eps])
            for device in devices
        ],
    )
    yield ("figures",)
    worst = details(audit).of([figure for figure in audit.figures if figure.attack == "worst"])
    yield from turned(audit, "on the device itself")
    yield "details", "Every figure with its interval", [("described", worst)]
    if audit.distances:
        yield "details", "Nearest adversarial images found", [("described", distances(audit))]
    if audit.binarization:
        summary = "Can the attack find what is there for certain?"
        yield "details", summary, [("described", binarization(audit))]


def lines(audit: WhiteboxAudit) -> list[str]:
    """Each protocol at each eps."""
    return [_line(audit, eps, found) for eps in audit.eps for found in audited_protocols(audit)]


def brief(audit: WhiteboxAudit) -> list[str]:
    """The protocol that can be believed, at each eps."""
    return [_line(audit, eps, found) for eps in audit.eps for found in audited_protocols(audit)[:1]]


def _line(audit: WhiteboxAudit, eps: float, protocol: Protocol) -> str:
    flagged = flag(audit, protocol)
    head = f"{protocol}, eps {format_eps(eps)}: "
    if flagged:
        head += f"[{flagged.short}] "
    outcomes = {d.name: audit.figure(d.name, protocol, eps).outcome for d in audit.devices}
    shipped = {d.name: outcomes[d.name] for d in audit.devices if d.role == "device"}
    controls = [outcomes[d.name].rate("evade") for d in audit.devices if d.role == "control"]
    parts = [_fleet(audit, shipped, eps)] if shipped else []
    if controls:
        known = [rate for rate in controls if rate is not None]
        parts.append(f"control {format_rate(max(known, default=None))}")
    return head + "; ".join(parts)


def _fleet(audit: WhiteboxAudit, outcomes: dict[str, Outcome], eps: float) -> str:
    mean = mean_rate(outcome.rate("evade") for outcome in outcomes.values())
    if mean is None:
        return "no image is decoded correctly"
    worst = max(outcomes, key=lambda name: outcomes[name].rate("evade") or 0.0)
    found = outcomes[worst]
    noise = audit.noise_floor(worst, eps).outcome.rate("evade")
    return (
        f"evade mean {format_rate(mean)}, worst "
        f"{format_rate(found.rate('evade'))} (95 % {format_interval(found.interval('evade'))}, "
        f"n {found.n}, flip {format_rate(found.rate('flip'))}) on {visible(worst)}, "
        f"noise floor {format_rate(noise)}"
    )


def rungs(audit: WhiteboxAudit, eps: float) -> list[Rung]:
    """The noise floor, and the attacker who has the victim."""
    found = [noise_rung(audit, "whitebox", eps)]
    if "adaptive" in audited_protocols(audit):
        own = [(name, audit.figure(name, "adaptive", eps).outcome) for name in audit.fleet]
        found.append(rated("T4", "whitebox", own, flag(audit, "adaptive")))
    return found


REPORT = Report(
    heading="White-box: each device against its own weights",
    terminal=terminal,
    lines=lines,
    page=page,
    tables={"whitebox.csv": details, "whitebox-margins.csv": margins},
    figures=(
        Figure("whitebox-curves", "fleet.reports.whitebox_figures:draw_curves"),
        Figure("whitebox-split", "fleet.reports.whitebox_figures:draw_split"),
        Figure("whitebox-margins", "fleet.reports.whitebox_figures:draw_margins"),
    ),
    brief=brief,
    rungs=rungs,
)
