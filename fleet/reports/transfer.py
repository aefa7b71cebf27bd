"""The report of a transfer audit: surrogate against victim."""

from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.table import Table as RichTable

from fleet.audit.core import result
from fleet.audit.transfer.result import TransferAudit
from fleet.reports import wording
from fleet.reports.exhibits import turned
from fleet.reports.findings import (
    Finding,
    controls,
    find,
    findings,
    fleet_cells,
    lift,
    nobody_cells,
    protocols,
    worst_pairs,
)
from fleet.reports.flags import PROTOCOLS, audited_protocols, failed_checks, flag
from fleet.reports.ladder import Rung, noise_rung, rated
from fleet.reports.large import LARGE, MOST_CELLS
from fleet.reports.large_matrix import distribution, ends, ordered, worst_cases
from fleet.reports.matrices import MatrixView, flagged_title, matrices
from fleet.reports.report import Block, Figure, Report
from fleet.reports.tables import (
    COUNT,
    EPS,
    INTERVAL,
    LIFT,
    NAME,
    OUTCOME,
    RATE,
    WORD,
    Column,
    Form,
    Table,
    rates,
)

_MOST_PAIRS = 20
_RANGE = Form(wording.format_range)

Pair = tuple[result.Matrix, result.Cell]


def pairs(audit: TransferAudit) -> Table[Pair]:
    """Every cell of every matrix.

    In CSV ``joint_*`` is over the images that surrogate and victim both decode correctly,
    ``given_success_*`` over those of them whose attack evades the surrogate. ``evade_lift`` is
    ``evade_rate`` less ``noise_evade_rate``. ``failed_checks`` holds the reliability checks that
    make the row's protocol unfit to be read as safety.
    """
    return Table(
        "Every pair of surrogate and victim",
        [(matrix, cell) for matrix in audit.matrices for cell in matrix.cells],
        _pair_columns(audit),
        worst=_between,
        instead={"transfer-devices.csv": lambda: ends(audit)},
    )


def _between(pair: Pair) -> float | None:
    """The rate of two different networks."""
    cell = pair[1]
    return None if cell.surrogate == cell.victim else cell.outcome.rate("evade")


def _pair_columns(audit: TransferAudit) -> tuple[Column[Pair], ...]:
    roles = {device.name: device.role for device in audit.devices}
    failed = {protocol: failed_checks(audit, protocol) for protocol in PROTOCOLS}

    def noise(pair: Pair) -> result.NoiseFloor:
        return audit.noise_floor(pair[1].victim, pair[0].eps)

    return (
        Column(lambda p: p[0].protocol, WORD, csv="protocol"),
        Column(lambda p: p[0].attack, WORD, csv="attack"),
        Column(lambda p: p[0].eps, EPS, csv="eps"),
        Column(lambda p: p[1].surrogate, NAME, "surrogate", "surrogate", "surrogate"),
        Column(lambda p: p[1].victim, NAME, "victim", "victim", "victim"),
        Column(lambda p: roles[p[1].surrogate], WORD, csv="surrogate_role"),
        Column(lambda p: roles[p[1].victim], WORD, csv="victim_role"),
        Column(lambda p: int(p[1].surrogate == p[1].victim), COUNT, csv="white_box"),
        Column(lambda p: p[1].outcome.rate("evade"), RATE, "evade", "evade"),
        Column(lambda p: p[1].outcome.interval("evade"), INTERVAL, "95 %", "95 %"),
        Column(lambda p: p[1].outcome.rate("flip"), RATE, "flip"),
        Column(lambda p: p[1].outcome.rate("reject"), RATE, "reject"),
        Column(lambda p: p[1].outcome.n, COUNT, "n", "n"),
        Column(lambda p: lift(audit, p[1], p[0].eps), LIFT, "lift over noise", "lift"),
        Column(lambda p: p[1].outcome, OUTCOME, csv=""),
        Column(lambda p: p[1].joint, OUTCOME, csv="joint_"),
        Column(lambda p: p[1].given_success, OUTCOME, csv="given_success_"),
        Column(lambda p: noise(p).outcome, OUTCOME, csv="noise_"),
        Column(lambda p: noise(p).draws, COUNT, csv="noise_draws"),
        Column(lambda p: lift(audit, p[1], p[0].eps), LIFT, csv="evade_lift"),
        Column(lambda p: failed[p[0].protocol], WORD, csv="failed_checks"),
    )


def worst_table(
    audit: TransferAudit, protocol: result.Protocol, eps: float, top: int = 10
) -> Table[Pair]:
    """The ``top`` surrogate-victim pairs of the highest rate, white-box attacks left out.

    Raises:
        KeyError: The audit holds no such matrix.
    """
    matrix = audit.matrix(protocol, eps)
    found = [(matrix, cell) for cell in worst_pairs(audit, matrix, top)]
    title = f"{protocol} protocol, eps {wording.format_eps(eps)}: evade, {len(found)} worst pairs"
    return Table(title, found, _pair_columns(audit))


def findings_table(audit: TransferAudit, found: list[Finding], caption: str) -> Table[Finding]:
    """Matrices boiled down to a few figures."""

    def rate(finding: Finding) -> float | None:
        return finding.worst.outcome.rate("evade") if finding.worst else None

    def interval(finding: Finding) -> tuple[float, float] | None:
        return finding.worst.outcome.interval("evade") if finding.worst else None

    single = any(finding.attack != "worst" for finding in found)
    alone = [Column[Finding](lambda f: f.attack, NAME, "attack")] if single else []
    return Table(
        caption,
        found,
        (
            *alone,
            Column(lambda f: f.protocol, NAME, "protocol", flag=lambda f: flag(audit, f.protocol)),
            Column(lambda f: f.eps, EPS, "eps"),
            Column(rate, RATE, "worst transfer", bold=lambda f: f.worst is not None),
            Column(interval, INTERVAL, "95 %"),
            Column(lambda f: f.worst.outcome.n if f.worst else None, COUNT, "n"),
            Column(_where, NAME, "surrogate → victim"),
            Column(lambda f: f.noise, RATE, "noise floor"),
            Column(lambda f: f.mean, RATE, "mean transfer"),
            Column(lambda f: f.white_box, _RANGE, "white-box"),
            Column(lambda f: f.nobody, RATE, "from the control"),
            Column(lambda f: f.baseline, _RANGE, "control, white-box"),
        ),
    )


def clean(audit: TransferAudit) -> Table[result.AuditedDevice]:
    """Each device without an attack."""
    return Table(
        "Each device on the audited images; a reject counts as wrong.",
        audit.devices,
        (
            Column(lambda d: d.name, NAME, "device"),
            Column(lambda d: d.images, COUNT, "images"),
            Column(lambda d: d.correct, COUNT, "correct"),
            Column(lambda d: d.clean_accuracy, RATE, "accuracy"),
            Column(lambda d: result.wilson_interval(d.correct, d.images), INTERVAL, "95 %"),
            Column(lambda d: d.rejected, COUNT, "rejected"),
            Column(lambda d: d.clean_reject_rate, RATE, "reject rate"),
            Column(lambda d: result.wilson_interval(d.rejected, d.images), INTERVAL, "95 %"),
        ),
        worst=lambda d: -d.clean_accuracy,
    )


def _outcome(found: result.NoiseFloor) -> result.Outcome:
    return found.outcome


def noise_table(audit: TransferAudit) -> Table[result.NoiseFloor]:
    """Each device under noise."""
    return Table(
        "Random sign noise, worst case for each image over the draws.",
        audit.noise,
        (
            Column(lambda floor: floor.victim, NAME, "device"),
            Column(lambda floor: floor.eps, EPS, "eps"),
            Column(lambda floor: floor.draws, COUNT, "draws"),
            Column(lambda floor: floor.outcome.n, COUNT, "n"),
            *rates(_outcome, "flip", "reject", "evade"),
        ),
        worst=lambda floor: floor.outcome.rate("evade"),
    )


def terminal(audit: TransferAudit) -> Iterator[RenderableType]:
    """The matrices at each eps."""
    for eps in audit.eps:
        yield MatrixView(audit, eps, worst_view)


def short(audit: TransferAudit) -> Iterator[RenderableType]:
    """At each eps the matrix that can be believed."""
    for eps in audit.eps:
        yield MatrixView(audit, eps, worst_view, most=1)


def worst_view(audit: TransferAudit, protocol: result.Protocol, eps: float) -> list[RichTable]:
    """:func:`worst_table` for a terminal, with the protocol's flag in its title, and all rates."""
    table = worst_table(audit, protocol, eps)
    worst = table.terminal(flagged_title(audit, protocol, table.title))
    return [worst, distribution(audit, [audit.matrix(protocol, eps)]).terminal()]


_TERMS = (
    (
        "evade",
        "The victim decodes a wrong class (flip) or none (reject). Rates are shares of the n "
        "images that the victim decodes correctly without an attack.",
    ),
    (
        "adaptive",
        "Attacks the decision itself: drives the output both ways and towards other classes, and "
        "searches the segment to each adversarial image for a flip.",
    ),
    (
        "paper",
        "Ascends the paper's own loss (Eq. 3), which is flat inside an interval. For comparison "
        "with the paper's Figure 3.",
    ),
    ("noise floor", "Evade rate under random sign noise of the same eps: no gradients, no model."),
    (
        "control",
        "An ordinary network of the same backbone that is shipped to nobody. Its row is what an "
        "attacker without any device gets, its column the undefended baseline; fleet figures "
        "leave it out.",
    ),
)


def page(audit: TransferAudit) -> Iterable[Block]:
    """Findings, and the matrices where they are small enough to read, else their worst pairs."""
    yield "terms", [term for term in _TERMS if term[0] != "control" or controls(audit)]
    caption = (
        "Transfer findings: evade rate, worst case for each image over the protocol's attacks. "
        "Transfer: surrogate and victim are different devices. Noise floor: of the victim of the "
        "worst transfer."
    )
    yield "described", findings_table(audit, findings(audit), caption)
    yield from matrices(audit) if len(audit.devices) <= MOST_CELLS else _worst(audit)
    yield from turned(audit, "on another device of the fleet")
    single = [matrix for matrix in audit.matrices if matrix.attack != "worst"]
    single = sorted(single, key=lambda matrix: PROTOCOLS.index(matrix.protocol))
    caption = (
        "Evade rate of each attack alone. Transfer: surrogate and victim are different devices."
    )
    if single:
        alone = findings_table(audit, [find(audit, matrix) for matrix in single], caption)
        yield "details", "Each attack by itself", [("described", alone)]
    both = [("described", clean(audit)), ("described", noise_table(audit))]
    yield "details", "Without an attack, and under noise", both


def _worst(audit: TransferAudit) -> Iterator[Block]:
    count = len(audit.devices)
    yield ("figures",)
    where = "audit.json" if count > LARGE else "transfer.csv"
    yield (
        "prose",
        f"The {count} × {count} matrices are whole in {where}; the worst pairs of each:",
    )
    for eps in audit.eps:
        for protocol in protocols(audit, eps):
            yield "banner", flag(audit, protocol)
            table = worst_table(audit, protocol, eps, top=_MOST_PAIRS)
            words = f"{protocol.capitalize()} protocol, eps {wording.format_eps(eps)}"
            yield "described", table.of(table.rows, f"{words}: the worst pairs of devices")
    if count > LARGE:
        yield "described", distribution(audit, worst_cases(audit))
        yield "details", "Each device with all others", [("described", ends(audit))]
        yield "details", "Order of the devices on the maps", [("prose", ", ".join(ordered(audit)))]


def lines(audit: TransferAudit) -> list[str]:
    """Each finding."""
    return [_line(audit, finding) for finding in findings(audit)]


def brief(audit: TransferAudit) -> list[str]:
    """The findings of :func:`short`."""
    first = {eps: protocols(audit, eps)[:1] for eps in audit.eps}
    return [_line(audit, f) for f in findings(audit) if f.protocol in first[f.eps]]


def _line(audit: TransferAudit, finding: Finding) -> str:
    head = f"{finding.protocol}, eps {wording.format_eps(finding.eps)}: "
    flagged = flag(audit, finding.protocol)
    if flagged:
        head += f"[{flagged.short}] "
    parts = []
    if finding.worst is not None:
        outcome = finding.worst.outcome
        parts.append(
            f"worst transfer {wording.format_rate(outcome.rate('evade'))} "
            f"(95 % {wording.format_interval(outcome.interval('evade'))}, n {outcome.n}) "
            f"{_names(finding.worst)}, noise floor {wording.format_rate(finding.noise)}"
        )
        parts.append(f"mean transfer {wording.format_rate(finding.mean)}")
    parts.append(f"white-box {wording.format_range(finding.white_box)}")
    if finding.baseline is not None:
        parts.append(
            f"control: {wording.format_rate(finding.nobody)} onto the fleet, "
            f"white-box {wording.format_range(finding.baseline)}"
        )
    return head + "; ".join(parts)


def _where(finding: Finding) -> str:
    return _names(finding.worst) if finding.worst else "no transfer to measure"


def _names(cell: result.Cell) -> str:
    return f"{wording.visible(cell.surrogate)} → {wording.visible(cell.victim)}"


def rungs(audit: TransferAudit, eps: float) -> list[Rung]:
    """The noise floor, and attackers with nobody's device, with one, and with the victim."""
    found = [noise_rung(audit, "transfer", eps)]
    if "adaptive" not in audited_protocols(audit):
        return [*found, Rung("T0", gap="no control was audited")]
    matrix, flagged = audit.matrix("adaptive", eps), flag(audit, "adaptive")
    for level, cells, gap in (
        ("T0", nobody_cells(audit, matrix), "no control was audited"),
        ("T1", fleet_cells(audit, matrix), "the fleet has one device"),
    ):
        told = [(cell, cell.outcome) for cell in cells]
        gone = Rung(level, gap=gap)
        found.append(rated(level, "transfer", told, flagged, _names) if cells else gone)
    fleet = set(audit.fleet)
    own = [c for c in matrix.cells if c.surrogate == c.victim and c.victim in fleet]
    return [*found, rated("T4", "transfer", [(c.victim, c.outcome) for c in own], flagged)]


REPORT = Report(
    heading="Transfer: surrogate against victim",
    terminal=terminal,
    lines=lines,
    page=page,
    tables={"transfer.csv": pairs},
    figures=(Figure("transfer", "fleet.reports.transfer_figure:draw"),),
    short=short,
    brief=brief,
    rungs=rungs,
)
