"""One card a device: what it is, what it gets right, what is certified, who evades whom."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from fleet.audit.certify.result import CertifyAudit
from fleet.audit.core.result import AuditedDevice, Outcome, wilson_interval
from fleet.audit.transfer.result import TransferAudit
from fleet.audit.whitebox.result import WhiteboxAudit
from fleet.reports.flags import flag
from fleet.reports.large import LARGE, worst_of
from fleet.reports.large_matrix import ends
from fleet.reports.rate_map import RateMap
from fleet.reports.report import AuditReport
from fleet.reports.wording import (
    control_mark,
    format_interval,
    format_rate,
    order_label,
    short_eps,
    visible,
)
from fleet.vocabulary import counted

_MOST = 3  # others named in one line


@dataclass(frozen=True)
class Card:
    """What is known about one device.

    Attributes:
        name: With a mark if it is a control.
        lines: What is said, and in words what is known of it.
    """

    name: str
    lines: tuple[tuple[str, str], ...]


def cards(report: AuditReport) -> list[Card]:
    """One for each device of any audit, controls last; of a large fleet for the worst."""
    worst = _badness(report) if len(report.devices) > LARGE else {}
    return [
        Card(device.name + control_mark(device), tuple(_lines(report, device)))
        for device in worst_of(report.devices, lambda device: worst.get(device.name))
    ]


def _badness(report: AuditReport) -> dict[str, float]:
    """Badness of devices: the highest transfer rate of their pairs, else their mistakes."""
    transfer = cast("TransferAudit | None", report.audits.get("transfer"))
    if transfer is None or "adaptive" not in transfer.protocols:
        return {device.name: 1 - device.clean_accuracy for device in report.devices}
    worst: dict[str, float] = {}
    for end in ends(transfer).rows:
        if end.protocol == "adaptive":
            worst[end.device] = max(worst.get(end.device, 0.0), end.spread.quantiles[-1])
    return worst


def _lines(report: AuditReport, device: AuditedDevice) -> Iterator[tuple[str, str]]:
    yield "encoding", _encoding(device)
    yield "network", f"{device.architecture}, head {device.head}, task {device.task}"
    if told := _training(report, device.name):
        yield "trained", told
    yield "clean", _clean(device)
    if certify := cast("CertifyAudit | None", report.audits.get("certify")):
        yield from _certified(certify, device.name)
    if whitebox := cast("WhiteboxAudit | None", report.audits.get("whitebox")):
        yield from _own(whitebox, device.name)
    if transfer := cast("TransferAudit | None", report.audits.get("transfer")):
        yield from _transfer(transfer, device.name)


def _encoding(device: AuditedDevice) -> str:
    label = order_label(device)
    if label.classes is None:
        return label.order
    return f"{label.brief}, β / (α + β) {label.ratio}, s0 {label.s0}; classes {label.along}"


def _training(report: AuditReport, name: str) -> str:
    found: Any = {}
    for audit in report.audits.values():
        trainings = audit.provenance.get("trainings")
        found = trainings.get(name) if isinstance(trainings, dict) else None
        if isinstance(found, dict):
            break
    else:
        return ""
    words = [f"{found.get('method', 'unknown method')}", _epochs(found)]
    return ", ".join([*words, *([f"{found['seconds']:.0f} s"] if _timed(found) else [])])


def _epochs(found: dict[str, Any]) -> str:
    epochs = found.get("epochs", "?")
    return counted(epochs, "epoch") if isinstance(epochs, int) else f"{epochs} epochs"


def _timed(found: dict[str, Any]) -> bool:
    return isinstance(found.get("seconds"), int | float)


def _clean(device: AuditedDevice) -> str:
    interval = format_interval(wilson_interval(device.correct, device.images))
    rejected = f", none {format_rate(device.clean_reject_rate)}" if device.rejected else ""
    right = format_rate(device.clean_accuracy)
    return f"right {right} (95 % {interval}, {counted(device.images, 'image')}){rejected}"


def _certified(audit: CertifyAudit, name: str) -> Iterator[tuple[str, str]]:
    for proven in audit.proven:
        if proven.device == name:
            yield (
                f"certified, eps {short_eps(proven.eps)}",
                f"{format_rate(proven.stay_rate)} (95 % {format_interval(proven.stay_interval)}); "
                f"no attack changes more than {format_rate(proven.blast_radius)} of its right "
                "answers",
            )


def _own(audit: WhiteboxAudit, name: str) -> Iterator[tuple[str, str]]:
    if name in {device.name for device in audit.devices} and "adaptive" in audit.protocols:
        for eps in (audit.eps[0], audit.eps[-1]) if len(audit.eps) > 1 else audit.eps:
            found = audit.figure(name, "adaptive", eps).outcome
            shown = f"{_rated(found)}{_flagged(audit)}"
            yield f"evaded by who has it, eps {short_eps(eps)}", shown


def _transfer(audit: TransferAudit, name: str) -> Iterator[tuple[str, str]]:
    if name not in {device.name for device in audit.devices} or "adaptive" not in audit.protocols:
        return
    flagged = _flagged(audit)
    for eps in audit.eps:
        matrix = audit.matrix("adaptive", eps)
        read = RateMap.of(matrix)
        own = read.names.index(name)
        column, row = (
            [matrix.cells[k] for k in p] for p in (read.places[:, own], read.places[own])
        )
        by = {c.surrogate: c.outcome for c in column if c.surrogate != name}
        on = {c.victim: c.outcome for c in row if c.victim != name}
        if by:
            yield f"evaded by images of, eps {short_eps(eps)}", _ranked(by) + flagged
            yield f"its images evade, eps {short_eps(eps)}", _ranked(on) + flagged


def _ranked(outcomes: dict[str, Outcome]) -> str:
    """The highest rates with their names, the first with its interval."""
    known = [(o.rate("evade"), name) for name, o in outcomes.items() if o.n]
    ranked = sorted(known, key=lambda pair: -(pair[0] or 0.0))
    words = [f"{visible(name)} {_rated(outcomes[name])}" for _, name in ranked[:1]]
    words += [f"{visible(name)} {format_rate(rate)}" for rate, name in ranked[1:_MOST]]
    rest = len(ranked) - _MOST
    return ", ".join([*words, *([f"{rest} more no higher"] if rest > 0 else [])]) or "no image"


def _rated(outcome: Outcome) -> str:
    interval = format_interval(outcome.interval("evade"))
    return f"{format_rate(outcome.rate('evade'))} (95 % {interval}, n {outcome.n})"


def _flagged(audit: TransferAudit | WhiteboxAudit) -> str:
    found = flag(audit, "adaptive")
    return f" [{found.short}]" if found else ""
