"""The white-box audit on a terminal: rich renderables; ``fleet.cli`` prints them."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fleet.audit.result import AuditedDevice, Outcome, Protocol
from fleet.audit.statistics import mean_rate
from fleet.audit.whitebox.result import WhiteboxAudit
from fleet.reports.flags import audited_protocols, checks_with, flag, verdict
from fleet.reports.orders import control_mark
from fleet.reports.page_whitebox import Column, table_columns, table_rates
from fleet.reports.terminal import checks_table, verdict_style
from fleet.reports.wording import ABSENT, format_eps, format_interval, format_rate, visible


def whitebox_view(audit: WhiteboxAudit) -> Group:
    """The whole audit for a terminal: a table for each eps, checks that did not pass, summary."""
    views: list[RenderableType] = [whitebox_table(audit, eps) for eps in audit.eps]
    if checks_with(audit, "fail", "warn"):
        views.append(checks_table(audit, ("fail", "warn")))
    *lines, last = summary_lines(audit)
    style = verdict_style(verdict(audit)[0])
    return Group(*views, Text("\n").join([*map(Text, lines), Text(last, style=style)]))


def whitebox_table(audit: WhiteboxAudit, eps: float) -> Table:
    """The paper's table at one eps, with the adaptive rates and the noise floor it leaves out.

    Args:
        audit: The audit.
        eps: One of ``audit.eps``.
    """
    columns = table_columns(audit)
    table = Table(title=_title(audit, eps), title_justify="left")
    table.add_column("device", overflow="fold", min_width=10)
    table.add_column("task", no_wrap=True)
    for words in ("LEG", *(_heading(audit, column) for column in columns), "95 %", "n"):
        table.add_column(words, justify="right")
    controls = False
    for device in audit.devices:
        if device.role == "control" and not controls:
            table.add_section()
            controls = True
        table.add_row(*_row(audit, device, columns, eps))
    return table


def summary_lines(audit: WhiteboxAudit) -> list[str]:
    """The audit in plain lines: each protocol at each eps, then how far it can be believed."""
    lines = [
        _line(audit, eps, protocol) for eps in audit.eps for protocol in audited_protocols(audit)
    ]
    level, sentence = verdict(audit)
    return [*lines, sentence if level == "pass" else f"warning: {sentence}"]


def _title(audit: WhiteboxAudit, eps: float) -> Text:
    norm = {"linf": "Linf", "l2": "L2"}[audit.norm]
    text = Text(f"white-box attack success rates, {norm} eps {format_eps(eps)}", style="bold")
    for protocol in audited_protocols(audit):
        flagged = flag(audit, protocol)
        if flagged:
            text.append(f"\n{protocol} protocol: {flagged.sentence}", style="bold red")
    return text


def _heading(audit: WhiteboxAudit, column: Column) -> str:
    words, protocol, _, _ = column
    flagged = None if protocol is None else flag(audit, protocol)
    return f"{visible(words)}\n{flagged.word}" if flagged else visible(words)


def _row(
    audit: WhiteboxAudit, device: AuditedDevice, columns: list[Column], eps: float
) -> list[Text]:
    place, radii = audit.eps.index(eps), len(audit.eps)
    rates = table_rates(audit, device, columns)[place::radii]
    adaptive = "adaptive" in audited_protocols(audit)
    interval = (
        format_interval(audit.figure(device.name, "adaptive", eps).outcome.interval("evade"))
        if adaptive
        else ABSENT
    )
    words = [visible(device.name) + control_mark(device), visible(device.task).upper()]
    figures = [format_rate(device.clean_accuracy), *map(format_rate, rates)]
    return [Text(text) for text in (*words, *figures, interval, str(device.correct))]


def _line(audit: WhiteboxAudit, eps: float, protocol: Protocol) -> str:
    flagged = flag(audit, protocol)
    head = f"{protocol}, eps {format_eps(eps)}: "
    if flagged:
        head += f"[{flagged.short}] "
    shipped = [device for device in audit.devices if device.role == "device"]
    parts = [_figures(audit, shipped, eps, protocol)] if shipped else []
    controls = [device for device in audit.devices if device.role == "control"]
    if controls:
        rates = _known(_outcomes(audit, controls, eps, protocol))
        parts.append(f"control {format_rate(max(rates) if rates else None)}")
    return head + "; ".join(parts)


def _figures(
    audit: WhiteboxAudit, devices: list[AuditedDevice], eps: float, protocol: Protocol
) -> str:
    outcomes = _outcomes(audit, devices, eps, protocol)
    rates = _known(outcomes)
    if not rates:
        return "no image is decoded correctly"
    worst = max(outcomes, key=lambda name: outcomes[name].rate("evade") or 0.0)
    found = outcomes[worst]
    noise = audit.noise_floor(worst, eps).outcome.rate("evade")
    return (
        f"evade mean {format_rate(mean_rate(rates))}, worst "
        f"{format_rate(found.rate('evade'))} (95 % {format_interval(found.interval('evade'))}, "
        f"n {found.n}, flip {format_rate(found.rate('flip'))}) on {visible(worst)}, "
        f"noise floor {format_rate(noise)}"
    )


def _outcomes(
    audit: WhiteboxAudit, devices: list[AuditedDevice], eps: float, protocol: Protocol
) -> dict[str, Outcome]:
    return {device.name: audit.figure(device.name, protocol, eps).outcome for device in devices}


def _known(outcomes: dict[str, Outcome]) -> list[float]:
    return [rate for outcome in outcomes.values() if (rate := outcome.rate("evade")) is not None]
