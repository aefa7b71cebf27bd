"""Train, audit and package a family of interval-label image classifiers, one encoding per device.

The parts, from the ground up (a module imports only from those before its own)::

    errors vocabulary provenance seeding      what everything stands on: words, files of a run
      files rundir
    encoding                                  intervals on the number line, Eq. 1-3
    profiles data models                      YAML, images, networks
    rundata                                   the images of a run, wherever they lie
    attacks assembly bundle                   adversarial images; specification -> network; files
    execution runtime                         worker processes; the device side
    audit training                            what a reviewer runs; what an engineer runs
    reports                                   tables, HTML, figures
    paper                                     the paper's tables, figures and claims, made again
    cli                                       the ``fleet`` command

``import fleet`` loads no torch; the functions below load it when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fleet.audit.coalition.audit import audit_coalition
    from fleet.audit.coalition.trials import CoalitionSettings
    from fleet.audit.core.members import Member, TransferSettings
    from fleet.audit.query.audit import audit_query
    from fleet.audit.query.methods import QuerySettings
    from fleet.audit.trace.audit import audit_trace
    from fleet.audit.trace.evidence import TraceSettings
    from fleet.audit.transfer.audit import audit_run_transfer, audit_transfer
    from fleet.audit.whitebox.audit import audit_whitebox
    from fleet.encoding import IntervalEncoding
    from fleet.errors import FleetError
    from fleet.execution import Processes, Serial
    from fleet.profiles import load_profile
    from fleet.reports.comparison import compare
    from fleet.runtime import Prediction, load_bundle
    from fleet.training.family import train_family

_HOMES = {
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
    "audit_coalition": "fleet.audit.coalition.audit",
    "audit_query": "fleet.audit.query.audit",
    "audit_run_transfer": "fleet.audit.transfer.audit",
    "audit_trace": "fleet.audit.trace.audit",
    "audit_transfer": "fleet.audit.transfer.audit",
    "audit_whitebox": "fleet.audit.whitebox.audit",
    "compare": "fleet.reports.comparison",
    "load_bundle": "fleet.runtime",
    "load_profile": "fleet.profiles",
    "train_family": "fleet.training.family",
}

__all__ = [
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
    "audit_coalition",
    "audit_query",
    "audit_run_transfer",
    "audit_trace",
    "audit_transfer",
    "audit_whitebox",
    "compare",
    "load_bundle",
    "load_profile",
    "train_family",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fleet' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
