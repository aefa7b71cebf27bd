"""The transfer audit: what breaking one device gives against the others (the paper's Figure 3)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from torch import Tensor

from fleet.attacks import radius
from fleet.audit.checks import run_checks
from fleet.audit.counting import count_matrices, count_noise
from fleet.audit.evidence import Evidence, VictimScores
from fleet.audit.members import Member, Sample, TransferSettings, check_members
from fleet.audit.result import TransferAudit
from fleet.audit.rows import ProgressHook, Row, attack_surrogate, score_row

__all__ = ["Member", "TransferSettings", "assemble", "audit_transfer"]


def audit_transfer(
    members: Sequence[Member],
    images: Tensor,
    labels: Tensor,
    settings: TransferSettings,
    *,
    label: str = "in-memory",
    provenance: dict[str, Any] | None = None,
    progress: ProgressHook | None = None,
) -> TransferAudit:
    """Audit devices in memory: attack each one, try every image on all.

    Args:
        members: The devices; each is left exactly as it was, training mode included.
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
    rows = []
    for done, member in enumerate(members):
        if progress is not None:
            progress(done, len(members), f"attack {member.name}")
        sets = attack_surrogate(member, sample, settings)
        rows.append(score_row(member, sets, members, sample, settings))
    if progress is not None:
        progress(len(members), len(members), "done")
    return assemble(rows, settings, label=label, details={}, provenance=provenance or {})


def assemble(
    rows: Sequence[Row],
    settings: TransferSettings,
    *,
    label: str,
    details: dict[str, Any],
    provenance: dict[str, Any],
) -> TransferAudit:
    """Count, check, and put the result together.

    Args:
        rows: One for each device, in matrix order.
        settings: Of the audit.
        label: Name of the audit.
        details: Further settings, for the record.
        provenance: Where models and images come from.
    """
    scores = tuple(_column(row, rows) for row in rows)
    attacks = {row.device.name: row.attacks for row in rows}
    evidence = Evidence(
        devices=tuple(row.device for row in rows),
        eps=settings.eps,
        attacks=attacks,
        scores=scores,
        matrices=count_matrices(scores, attacks, settings.eps),
        noise=count_noise(scores, settings.eps, settings.noise_draws),
        health=tuple(row.health for row in rows),
        reaches=tuple(reach for row in rows for reach in row.reaches),
        efforts=tuple(effort for row in rows for effort in row.efforts),
    )
    return TransferAudit(
        run=label,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        devices=evidence.devices,
        eps=settings.eps,
        matrices=evidence.matrices,
        noise=evidence.noise,
        checks=run_checks(evidence),
        settings={**_record(rows, settings), **details},
        provenance=provenance,
    )


def _column(victim: Row, rows: Sequence[Row]) -> VictimScores:
    """Turn rows of trials into one victim's column."""
    name = victim.device.name
    trials = {row.device.name: row.trials[name] for row in rows}
    return VictimScores(
        victim=name,
        clean=victim.baseline.clean,
        noise=victim.baseline.noise,
        attacked={surrogate: trial.outcomes for surrogate, trial in trials.items()},
        nonfinite=victim.baseline.nonfinite + sum(trial.nonfinite for trial in trials.values()),
        repeatable=victim.baseline.repeatable,
    )


def _record(rows: Sequence[Row], settings: TransferSettings) -> dict[str, Any]:
    return {
        **settings.to_dict(),
        "images": rows[0].device.images,
        "levels": [radius(eps) for eps in settings.eps],
        "attack_values": {name: text for row in rows for name, text in row.attack_values.items()},
        "decode": "strict",
        "scoring": "fp32, on images rounded to 8 bits and re-projected into the eps ball",
    }
