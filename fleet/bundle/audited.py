"""What the transfer audit says about one device, in three figures for each eps.

Reads ``audit.json`` as plain JSON: the audit package stands above this one.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from fleet.bundle.sections import AuditRow, AuditSummary
from fleet.errors import CheckpointError
from fleet.files import canonical_json

AUDIT_SCHEMA = "fleet.audit.transfer/2"
CERTIFY_SCHEMA = "fleet.audit.certify/1"
CIRCUMSTANCES = ("created", "provenance", "run")
"""Keys of ``audit.json`` that say when, where and by which command, and not what was found."""


def summarise_audit(path: Path, device: str, weights_sha256: str) -> AuditSummary | None:
    """Summarise an audit for the manifest of one device.

    Args:
        path: ``audit.json`` of a transfer audit.
        device: Device name.
        weights_sha256: Digest of the weights that are about to be packaged.

    Returns:
        The adaptive worst case at each eps, or None if there is no audit, it left the device out
        or measured nothing on it (no image decoded correctly, no other network to attack it), or
        it measured eps in L2, which the manifest has no field for.

    Raises:
        CheckpointError: The file is damaged, or the audit is about other weights.
    """
    if not path.exists():
        return None
    try:
        audit = json.loads(path.read_bytes())
        if audit["schema"] != AUDIT_SCHEMA or audit.get("settings", {}).get("norm") == "l2":
            return None
        audited = {entry["name"]: entry["weights_sha256"] for entry in audit["devices"]}
        rows = [
            _row(matrix, device)
            for matrix in sorted(audit["matrices"], key=lambda matrix: float(matrix["eps"]))
            if (matrix["protocol"], matrix["attack"]) == ("adaptive", "worst")
        ]
        split = audit.get("settings", {}).get("split")
        failed = len({c["id"] for c in audit["checks"] if c["verdict"] == "fail" and _counts(c)})
        digest = findings_digest(audit)
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
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
    return AuditSummary(digest, failed, present, split) if present else None


def summarise_certificate(path: Path, device: str, weights_sha256: str) -> dict[str, Any] | None:
    """Summarise the certificates of one device for its manifest.

    Args:
        path: ``audit.json`` of a certify audit.
        device: Device name.
        weights_sha256: Digest of the weights that are about to be packaged.

    Returns:
        ``split``, ``failed_checks`` and ``rows`` of ``eps``, ``n``, ``clean``, ``stay``,
        ``never_wrong`` and ``blast_radius`` (shares of all n images; the last is (c - s) / c). None
        if there is no such audit, it left the device out, or nothing is certified for it.

    Raises:
        CheckpointError: The file is damaged, or the audit is about other weights.
    """
    if not path.exists():
        return None
    try:
        audit = json.loads(path.read_bytes())
        if audit["schema"] != CERTIFY_SCHEMA:
            return None
        certified = {entry["name"]: entry["weights_sha256"] for entry in audit["devices"]}
        rows = [
            {
                "eps": float(row["eps"]),
                "n": row["n"],
                "clean": row["correct"] / row["n"],
                "stay": row["stays"] / row["n"],
                "never_wrong": row["never_wrong"] / row["n"],
                "blast_radius": (row["correct"] - row["stays"]) / row["correct"],
            }
            for row in audit["proven"]
            if row["device"] == device and row["correct"]
        ]
        failed = sum(check["verdict"] == "fail" for check in audit["checks"])
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"{path} is damaged: {type(error).__name__}: {error}",
            hint="`fleet audit certify` writes it again",
        ) from error
    if device not in certified or not any(row["stay"] for row in rows):
        return None
    if certified[device] != weights_sha256:
        raise CheckpointError(
            f"{path} is about other weights of {device!r} than those in the run",
            hint="`fleet audit certify` certifies the present ones",
        )
    return {"split": audit.get("split"), "failed_checks": failed, "rows": rows}


def findings_digest(audit: dict[str, Any]) -> str:
    """SHA-256 of what an audit found: the same audit at another time and place has the same.

    Args:
        audit: Content of ``audit.json``.

    Raises:
        ValueError: It holds NaN or an infinity.
    """
    findings = {key: value for key, value in audit.items() if key not in CIRCUMSTANCES}
    return hashlib.sha256(canonical_json(findings).encode("utf-8")).hexdigest()


def _counts(check: dict[str, Any]) -> bool:
    """Whether a check speaks of the adaptive figures; the paper's protocol is none of the rows."""
    subject: str = check.get("subject", "")
    return subject.partition(" ")[0].rstrip(",:") != "paper"


def _row(matrix: dict[str, Any], victim: str) -> AuditRow | None:
    """Make one row, or None where nothing was originally correct or no other device is there."""
    outcomes = {
        cell["surrogate"]: cell["outcome"] for cell in matrix["cells"] if cell["victim"] == victim
    }
    own = outcomes.pop(victim, {"n": 0})
    if not own["n"] or not outcomes:
        return None
    others = max(_evade(outcome) for outcome in outcomes.values())
    return AuditRow(float(matrix["eps"]), own["n"], _evade(own), others)


def _evade(outcome: dict[str, int]) -> float:
    return (outcome["flip"] + outcome["reject"]) / outcome["n"]
