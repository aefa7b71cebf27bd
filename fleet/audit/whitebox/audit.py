"""The white-box audit: each device against whoever has its weights (the paper's Tables 1 and 2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, get_args

from torch import Tensor

from fleet.audit.core.checks import run_checks
from fleet.audit.core.counting import WORST, attack_rows, count
from fleet.audit.core.examination import Examination, examine, gather_evidence
from fleet.audit.core.members import Member, Sample, TransferSettings, check_members
from fleet.audit.core.result import Protocol
from fleet.audit.core.rows import ProgressHook, attack_surrogate
from fleet.audit.transfer.audit import record_settings
from fleet.audit.whitebox.nearness import Nearness, measure_nearness
from fleet.audit.whitebox.result import WhiteboxAudit, WhiteboxFigure


def audit_whitebox(
    members: Sequence[Member],
    images: Tensor,
    labels: Tensor,
    settings: TransferSettings,
    *,
    label: str = "in-memory",
    provenance: dict[str, Any] | None = None,
    progress: ProgressHook | None = None,
) -> WhiteboxAudit:
    """Audit devices in memory, each with its own weights known.

    Args:
        members: The devices, controls last; each is left exactly as it was, training mode included.
        images: uint8 (N, C, H, W), or floats in [0, 1], which are rounded to 8 bits first.
        labels: True classes, integers (N,).
        settings: How thoroughly to attack.
        label: Name of the audit.
        provenance: Where models and images come from, plain JSON values.
        progress: Called with (done, total, text).

    Raises:
        AuditError: The devices or images do not fit together, or a device gives NaN.
    """
    sample = Sample.of(images, labels)
    check_members(members, sample)
    examinations, nearness = [], []
    for done, member in enumerate(members):
        if progress is not None:
            progress(done, len(members), f"attack {member.name}")
        sets = attack_surrogate(member, sample, settings)
        examined = examine(member, sets, sample, settings)
        examinations.append(examined)
        nearness.append(measure_nearness(member, sample, examined.baseline.clean, settings))
    if progress is not None:
        progress(len(members), len(members), "done")
    return assemble_whitebox(
        examinations, nearness, settings, label=label, details={}, provenance=provenance or {}
    )


def assemble_whitebox(
    examinations: Sequence[Examination],
    nearness: Sequence[Nearness],
    settings: TransferSettings,
    *,
    label: str,
    details: dict[str, Any],
    provenance: dict[str, Any],
) -> WhiteboxAudit:
    """Count, check, and put the result together.

    Args:
        examinations: One for each device.
        nearness: One for each device, in the same order.
        settings: Of the audit.
        label: Name of the audit.
        details: Further settings, for the record.
        provenance: Where models and images come from.
    """
    evidence = gather_evidence(examinations, settings, {})
    binarization = (probes.binarization for probes in evidence.probes)
    return WhiteboxAudit(
        run=label,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        norm=settings.norm,
        devices=evidence.devices,
        eps=settings.eps,
        figures=tuple(figure for e in examinations for figure in device_figures(e, settings.eps)),
        noise=evidence.noise,
        margins=tuple(near.margins for near in nearness),
        distances=tuple(distance for near in nearness for distance in near.distances),
        binarization=tuple(found for found in binarization if found is not None),
        checks=run_checks(evidence),
        settings={**record_settings(examinations, settings), **details},
        provenance=provenance,
    )


def device_figures(examined: Examination, eps: Sequence[float]) -> Iterator[WhiteboxFigure]:
    """Count each attack of a device, and the worst case of each protocol, at each eps.

    Args:
        examined: The device.
        eps: The audit's radii, ascending.
    """
    device, trial = examined.device.name, examined.trial
    correct = examined.baseline.clean == 0
    for level, radius in enumerate(eps):
        for protocol in get_args(Protocol):
            names = [name.attack for name in examined.attacks if name.protocol == protocol]
            for attack in (WORST, *dict.fromkeys(names)):
                rows = attack_rows(examined.attacks, protocol, attack)
                yield WhiteboxFigure(
                    device=device,
                    protocol=protocol,
                    attack=attack,
                    eps=radius,
                    outcome=count(trial.outcomes[level, rows].max(axis=0), correct),
                    floor=count(trial.floor[level, rows].max(axis=0), correct),
                )
