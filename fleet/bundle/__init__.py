"""Device bundles: one file with the manifest and the weights of one device; no torch here.

To write those of a run: :mod:`fleet.bundle.package`. A device reads, and does without it.

docs/bundle-format.md specifies the format and lists what has been tried against it.
"""

from fleet.bundle.manifest import (
    AuditRow,
    AuditSummary,
    Manifest,
    Metrics,
    ModelSection,
    Payload,
    Preprocessing,
    Provenance,
)
from fleet.bundle.reader import Bundle, CheckLine, Verification, read_bundle, verify_bundle
from fleet.bundle.version2 import Envelope, pack_second

__all__ = [
    "AuditRow",
    "AuditSummary",
    "Bundle",
    "CheckLine",
    "Envelope",
    "Manifest",
    "Metrics",
    "ModelSection",
    "Payload",
    "Preprocessing",
    "Provenance",
    "Verification",
    "pack_second",
    "read_bundle",
    "verify_bundle",
]
