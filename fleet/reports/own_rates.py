"""How each device fares against an attacker who has its own weights, as the figures need it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleet.audit.result import AuditedDevice, Outcome, Protocol
from fleet.audit.whitebox.result import WhiteboxAudit
from fleet.reports.flags import audited_protocols
from fleet.reports.orders import control_mark

MOST_PANELS = 20
"""Devices that get a panel each; more are drawn as groups of one task, network and head."""


@dataclass(frozen=True)
class OwnRates:
    """One device under white-box attack, worst case over the attacks of each protocol.

    Attributes:
        device: The device.
        eps: Radii, ascending, pixel units.
        outcomes: By protocol, then in the order of ``eps``.
        noise: Noise floor, in the order of ``eps``.
    """

    device: AuditedDevice
    eps: tuple[float, ...]
    outcomes: Mapping[Protocol, tuple[Outcome, ...]]
    noise: tuple[Outcome, ...]


def own_rates(audit: WhiteboxAudit) -> list[OwnRates]:
    """Collect the figures of every device, controls last."""
    protocols = audited_protocols(audit)
    found = {(f.device, f.protocol, f.eps): f.outcome for f in audit.figures if f.attack == "worst"}
    floors = {(floor.victim, floor.eps): floor.outcome for floor in audit.noise}
    return [
        OwnRates(
            device=device,
            eps=audit.eps,
            outcomes={p: tuple(found[device.name, p, e] for e in audit.eps) for p in protocols},
            noise=tuple(floors[device.name, eps] for eps in audit.eps),
        )
        for device in sorted(audit.devices, key=lambda device: device.role == "control")
    ]


def grouped(devices: Sequence[AuditedDevice]) -> dict[str, list[str]]:
    """Names of the devices of each panel of a figure, by the panel's title.

    A panel each where there are few; else one for each combination of role, task, network and
    head.
    """
    if len(devices) <= MOST_PANELS:
        return {_title(device): [device.name] for device in devices}
    groups: dict[str, list[str]] = {}
    for device in devices:
        parts = (device.task, device.architecture, device.head)
        role = "control " if device.role == "control" else ""
        groups.setdefault(role + ", ".join(parts), []).append(device.name)
    return {f"{len(names)} × {title}": names for title, names in groups.items()}


def _title(device: AuditedDevice) -> str:
    return device.name + control_mark(device)
