"""The transfer audit: what breaking one device gives against the others (the paper's Figure 3)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from torch import Tensor

from fleet.audit.core.checks import run_checks
from fleet.audit.core.examination import Examination, examine, gather_evidence
from fleet.audit.core.members import Member, Sample, TransferSettings, check_members
from fleet.audit.core.result import TransferAudit
from fleet.audit.core.rows import ProgressHook, attack_surrogate
from fleet.audit.core.scoring import Trial, score_sets

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

    Beside the models it holds one surrogate's images at a time: as many bytes as
    ``eps * attacks * images * pixels``.

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
    examinations = []
    trials: dict[str, dict[str, Trial]] = {member.name: {} for member in members}
    for done, member in enumerate(members):
        if progress is not None:
            progress(done, len(members), f"attack {member.name}")
        sets = attack_surrogate(member, sample, settings)
        examinations.append(examine(member, sets, sample, settings))
        for victim in members:
            if victim is not member:
                trial = score_sets(victim, sample, sets.images, settings)
                trials[victim.name][member.name] = trial
    if progress is not None:
        progress(len(members), len(members), "done")
    return assemble(
        examinations, trials, settings, label=label, details={}, provenance=provenance or {}
    )


def assemble(
    examinations: Sequence[Examination],
    trials: dict[str, dict[str, Trial]],
    settings: TransferSettings,
    *,
    label: str,
    details: dict[str, Any],
    provenance: dict[str, Any],
) -> TransferAudit:
    """Count, check, and put the result together.

    Args:
        examinations: One for each device, in matrix order.
        trials: Images of other surrogates on each victim, by victim and surrogate.
        settings: Of the audit.
        label: Name of the audit.
        details: Further settings, for the record.
        provenance: Where models and images come from.
    """
    evidence = gather_evidence(examinations, settings, trials)
    return TransferAudit(
        run=label,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        devices=evidence.devices,
        eps=settings.eps,
        matrices=evidence.matrices,
        noise=evidence.noise,
        checks=run_checks(evidence),
        settings={**record_settings(examinations, settings), **details},
        provenance=provenance,
    )


def record_settings(
    examinations: Sequence[Examination], settings: TransferSettings
) -> dict[str, Any]:
    """Attacks, images and rules of an audit, for its result; plain JSON values."""
    values = (item for e in examinations for item in e.attack_values.items())
    return {
        **settings.to_dict(),
        "images": examinations[0].device.images,
        "levels": settings.levels(),
        "attack_values": dict(values),
        "decode": "strict",
        "scoring": "fp32, on images rounded to 8 bits and re-projected into the eps ball",
    }
