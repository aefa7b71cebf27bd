"""Describe a trained device: from the files of its run to its manifest.

What its audit found is read from ``audit.json`` as plain JSON: the audit package stands above this.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from fleet.bundle import manifest
from fleet.errors import BundleError, CheckpointError
from fleet.files import canonical_json, read_json
from fleet.profiles.spec import DeviceSpec, FamilySpec
from fleet.rundir import RunDirectory

Summary = TypeVar("Summary")

AUDIT_SCHEMA = "fleet.audit.transfer/2"
CERTIFY_SCHEMA = "fleet.audit.certify/1"
CIRCUMSTANCES = ("created", "exhibits", "provenance", "run", "seconds")
"""Keys of ``audit.json`` that say when, where, how and how fast, or only illustrate."""


def summarise_audit(path: Path, device: str, weights_sha256: str) -> manifest.AuditSummary | None:
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

    def summary(audit: dict[str, Any], digest: str) -> manifest.AuditSummary | None:
        settings = audit.get("settings", {})
        if settings.get("norm") == "l2":
            return None
        roles = {entry["name"]: entry.get("role", "device") for entry in audit["devices"]}
        rows = [
            _row(matrix, device, roles)
            for matrix in sorted(audit["matrices"], key=lambda matrix: float(matrix["eps"]))
            if (matrix["protocol"], matrix["attack"]) == ("adaptive", "worst")
        ]
        failed = len({c["id"] for c in audit["checks"] if c["verdict"] == "fail" and _counts(c)})
        present = tuple(row for row in rows if row is not None)
        found = manifest.AuditSummary(digest, failed, present, settings.get("split"))
        return found if present else None

    read = _read(path, "transfer", AUDIT_SCHEMA, summary)
    if read is None or device not in read[0]:
        return None
    _check_weights(path, "transfer", device, read[0][device], weights_sha256)
    return read[1]


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

    def summary(audit: dict[str, Any], _: str) -> dict[str, Any] | None:
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
        split = audit.get("settings", {}).get("split")
        found = {"split": split, "failed_checks": failed, "rows": rows}
        return found if any(row["stay"] for row in rows) else None

    read = _read(path, "certify", CERTIFY_SCHEMA, summary)
    if read is None or device not in read[0] or read[1] is None:
        return None
    _check_weights(path, "certify", device, read[0][device], weights_sha256)
    return read[1]


def _read(
    path: Path, kind: str, schema: str, summary: Callable[[dict[str, Any], str], Summary]
) -> tuple[dict[str, str], Summary] | None:
    """Digests of the audited weights by device, and a summary; None if it is no such audit."""
    if not path.exists():
        return None
    try:
        about = path.stat()
        audit, digest = _load(path, (about.st_mtime_ns, about.st_size))
        if audit["schema"] != schema:
            return None
        audited = {entry["name"]: entry["weights_sha256"] for entry in audit["devices"]}
        return audited, summary(audit, digest)
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"{path} is damaged: {type(error).__name__}: {error}",
            hint=f"`fleet audit {kind}` writes it again",
        ) from error


@lru_cache(maxsize=2)
def _load(path: Path, _stamp: tuple[int, int]) -> tuple[dict[str, Any], str]:
    """An audit and the digest of its findings: read once for all devices, again if it changed."""
    audit = json.loads(path.read_bytes())
    return audit, findings_digest(audit)


def _check_weights(path: Path, kind: str, device: str, audited: str, present: str) -> None:
    if audited != present:
        raise CheckpointError(
            f"{path} is about other weights of {device!r} than those in the run",
            hint=f"`fleet audit {kind}` audits the present ones",
        )


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


def _row(matrix: dict[str, Any], victim: str, roles: Mapping[str, str]) -> manifest.AuditRow | None:
    """Make one row, or None where nothing was originally correct or no other network is there.

    What counts is what `--max-transfer` counts: an attacker who has another device. Where there is
    no other device, the control stands in. The twin never does: no attacker has it.
    """
    outcomes = {
        cell["surrogate"]: cell["outcome"]
        for cell in matrix["cells"]
        if cell["victim"] == victim and roles.get(cell["surrogate"]) != "twin"
    }
    own = outcomes.pop(victim, {"n": 0})
    devices = [
        outcome for name, outcome in outcomes.items() if roles.get(name, "device") == "device"
    ]
    counted = devices or list(outcomes.values())
    if not own["n"] or not counted:
        return None
    others = max(_evade(outcome) for outcome in counted)
    return manifest.AuditRow(float(matrix["eps"]), own["n"], _evade(own), others)


def _evade(outcome: dict[str, int]) -> float:
    return (outcome["flip"] + outcome["reject"]) / outcome["n"]


def describe_device(
    run: RunDirectory, spec: FamilySpec, device: DeviceSpec, release: str, model: bytes
) -> manifest.Manifest:
    """Make the manifest of one finished device.

    Args:
        run: The device's run.
        spec: Its family.
        device: The device.
        release: Release name.
        model: The device's weights, a whole safetensors file.

    Raises:
        CheckpointError: The run's files are incomplete or do not belong to each other.
        BundleError: ``SOURCE_DATE_EPOCH`` is set to something else than seconds.
    """
    result, dataset = read_json(run.result(device.name)), read_json(run.dataset)
    payload = manifest.Payload(hashlib.sha256(model).hexdigest(), len(model))
    images = spec.data
    try:
        _check_result(run, device.name, result, payload)
        test = result["test"]
        return manifest.Manifest(
            device=device.name,
            release=release,
            created=_created(),
            task=device.task,
            encoding=device.encoding,
            model=manifest.ModelSection(
                **vars(device.model),
                num_classes=images.num_classes,
                input_shape=(images.channels, images.image_size, images.image_size),
            ),
            preprocessing=manifest.Preprocessing(
                channels=images.channels,
                image_size=images.image_size,
                fit=dataset["fit"],
                mean=tuple(float(value) for value in dataset["mean"]),
                std=tuple(float(value) for value in dataset["std"]),
            ),
            class_names=tuple(dataset["class_names"]),
            payload=payload,
            metrics=manifest.Metrics(
                "test", test["n"], test["correct"] / test["n"], test["rejected"] / test["n"]
            ),
            audit=summarise_audit(run.audit_file("transfer"), device.name, payload.sha256),
            provenance=manifest.Provenance(
                dataset=dataset["dataset"],
                dataset_sha256=dataset["sha256"],
                profile_digest=result["profile_digest"],
                seed=device.training.seed,
                fleet_version=result["fleet_version"],
                torch_version=result["torch_version"],
            ),
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise CheckpointError(
            f"the results of {device.name!r} in {run.name} are incomplete: "
            f"{type(error).__name__}: {error}",
            hint="train the device again with `fleet train --resume never`",
        ) from error


def _check_result(
    run: RunDirectory, device: str, result: dict[str, Any], payload: manifest.Payload
) -> None:
    """The result must be about this device and these weights."""
    expected = {
        "device": device,
        "weights_sha256": payload.sha256,
        "weights_bytes": payload.length,
    }
    for key, value in expected.items():
        if result[key] != value:
            raise CheckpointError(
                f"{run.result(device)} does not belong to {run.model(device).name} beside it: "
                f"{key} is {result[key]!r}, and the file says {value!r}",
                hint="one of the two was changed; train the device again",
            )


def _created() -> str | None:
    """The time that reproducible-builds.org's variable names; a clock would change the bytes."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is None:
        return None
    if epoch.isascii() and epoch.isdigit() and len(epoch) <= 11:
        return datetime.fromtimestamp(int(epoch), UTC).strftime(manifest.TIME_FORMAT)
    raise BundleError(
        f"SOURCE_DATE_EPOCH is {epoch!r}", hint="set it to whole seconds since 1970, or unset it"
    )
