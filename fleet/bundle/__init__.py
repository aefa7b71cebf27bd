"""Device bundles: one file with the manifest and the weights of one device; no torch here.

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
from fleet.bundle.package import BundleInfo, Plan, package_run, plan_run, write_bundle, write_plans
from fleet.bundle.reader import Bundle, CheckLine, Verification, read_bundle, verify_bundle
from fleet.bundle.second import Envelope, pack_second

__all__ = [
    "AuditRow",
    "AuditSummary",
    "Bundle",
    "BundleInfo",
    "CheckLine",
    "Envelope",
    "Manifest",
    "Metrics",
    "ModelSection",
    "Payload",
    "Plan",
    "Preprocessing",
    "Provenance",
    "Verification",
    "pack_second",
    "package_run",
    "plan_run",
    "read_bundle",
    "verify_bundle",
    "write_bundle",
    "write_plans",
]
