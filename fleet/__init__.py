"""Train, audit and package a family of interval-label image classifiers, one encoding per device.

Five calls, from a profile to decisions on a device; each takes paths or objects::

    trained = fleet.train_family("profiles/devices.yaml")        # a run under runs/
    audit = fleet.audit_transfer(trained.run, eps=0.1)            # what one captured device gives
    bundles = fleet.package(trained.run, release="2026.11.1")     # one file for each device
    fleet.verify(bundles[0].path)                                 # every byte; raises if one is off
    fleet.load_bundle(bundles[0].path).predict("photo.png")       # a label or None, with a margin

What fails raises a :class:`fleet.FleetError` that says how to mend it. Results have
``to_dataframe()`` (pandas) and draw themselves in a notebook. ``fleet.open_run`` and
``fleet.load_audit`` open what is there.

The parts, from the ground up (a module imports only from those before its own)::

    errors vocabulary accelerator notebook    what everything stands on: words, this machine,
      provenance seeding files rundir         files of a run
    encoding                                  intervals on the number line, Eq. 1-3
    profiles data models                      YAML, images, networks
    rundata                                   the images of a run, wherever they lie
    attacks bounds assembly bundle            adversarial images; proofs; networks; bundle files
    execution runtime                         worker processes; the device side
    audit training                            what a reviewer runs; what an engineer runs
    reports rollout                           tables, HTML, figures; from signed bundles to devices
    paper api                                 the paper made again; audits by path
    cli                                       the ``fleet`` command

``import fleet`` loads no torch; the functions below load it when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fleet.api import (
        audit_certify,
        audit_coalition,
        audit_query,
        audit_trace,
        audit_transfer,
        audit_whitebox,
        load_audit,
    )
    from fleet.audit.certify.audit import CertifySettings
    from fleet.audit.coalition.trials import CoalitionSettings
    from fleet.audit.core.members import Member, TransferSettings
    from fleet.audit.query.methods import QuerySettings
    from fleet.audit.trace.evidence import TraceSettings
    from fleet.bundle.package import package
    from fleet.bundle.reader import verify
    from fleet.encoding import IntervalEncoding
    from fleet.errors import FleetError
    from fleet.execution import Processes, Serial
    from fleet.profiles import load_profile
    from fleet.reports.comparison import compare
    from fleet.rundir import open_run
    from fleet.runtime import Prediction, load_bundle
    from fleet.training.family import train_family

    __version__: str

_HOMES = {
    "CertifySettings": "fleet.audit.certify.audit",
    "CoalitionSettings": "fleet.audit.coalition.trials",
    "FleetError": "fleet.errors",
    "IntervalEncoding": "fleet.encoding",
    "Member": "fleet.audit.core.members",
    "Prediction": "fleet.runtime",
    "Processes": "fleet.execution",
    "QuerySettings": "fleet.audit.query.methods",
    "Serial": "fleet.execution",
    "TraceSettings": "fleet.audit.trace.evidence",
    "TransferSettings": "fleet.audit.core.members",
    "audit_certify": "fleet.api",
    "audit_coalition": "fleet.api",
    "audit_query": "fleet.api",
    "audit_trace": "fleet.api",
    "audit_transfer": "fleet.api",
    "audit_whitebox": "fleet.api",
    "compare": "fleet.reports.comparison",
    "load_audit": "fleet.api",
    "load_bundle": "fleet.runtime",
    "load_profile": "fleet.profiles",
    "open_run": "fleet.rundir",
    "package": "fleet.bundle.package",
    "train_family": "fleet.training.family",
    "verify": "fleet.bundle.reader",
}

__all__ = [
    "CertifySettings",
    "CoalitionSettings",
    "FleetError",
    "IntervalEncoding",
    "Member",
    "Prediction",
    "Processes",
    "QuerySettings",
    "Serial",
    "TraceSettings",
    "TransferSettings",
    "audit_certify",
    "audit_coalition",
    "audit_query",
    "audit_trace",
    "audit_transfer",
    "audit_whitebox",
    "compare",
    "load_audit",
    "load_bundle",
    "load_profile",
    "open_run",
    "package",
    "train_family",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("fleet.provenance").fleet_version()
    if name not in _HOMES:
        raise AttributeError(f"module 'fleet' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])
