"""What the transfer audit says about one device, in three figures for each eps.

Reads ``audit.json`` as plain JSON: the audit package stands above this one.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from fleet.bundle.evidence import AuditRow, AuditSummary
from fleet.errors import CheckpointError

AUDIT_SCHEMA = "fleet.audit.transfer/1"


def summarise_audit(path: Path, device: str, weights_sha256: str) -> AuditSummary | None:
    """Summarise an audit for the manifest of one device.

    Args:
        path: ``audit.json`` of a transfer audit.
        device: Device name.
        weights_sha256: Digest of the weights that are about to be packaged.

    Returns:
        The adaptive worst case at each eps, or None if there is no audit or it left the device
        out.

    Raises:
        CheckpointError: The file is damaged, or the audit is about other weights.
    """
    if not path.exists():
        return None
    try:
        data = path.read_bytes()
        audit = json.loads(data)
        if audit["schema"] != AUDIT_SCHEMA:
            return None
        audited = {entry["name"]: entry["weights_sha256"] for entry in audit["devices"]}
        rows = [
            _row(matrix, device)
            for matrix in sorted(audit["matrices"], key=lambda matrix: float(matrix["eps"]))
            if (matrix["protocol"], matrix["attack"]) == ("adaptive", "worst")
        ]
        failed = sum(check["verdict"] == "fail" for check in audit["checks"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged: {type(error).__name__}: {error}",
            hint="`fleet audit transfer` writes it again",
        ) from error
    if device not in audited:
        return None
    if audited[device] != weights_sha256:
        raise CheckpointError(
            f"{path} is about other weights of {device!r} than those in the run",
            hint="`fleet audit transfer` audits the present ones",
        )
    present = tuple(row for row in rows if row is not None)
    return AuditSummary(hashlib.sha256(data).hexdigest(), failed, present)


def _row(matrix: dict[str, Any], victim: str) -> AuditRow | None:
    """Make one row, or None where nothing was originally correct or no other device is there."""
    rates = {
        cell["surrogate"]: (cell["outcome"]["flip"] + cell["outcome"]["reject"]) / n
        for cell in matrix["cells"]
        if cell["victim"] == victim and (n := cell["outcome"]["n"])
    }
    white_box = rates.pop(victim, None)
    if white_box is None or not rates:
        return None
    return AuditRow(float(matrix["eps"]), white_box, max(rates.values()))
