"""Train, audit and package a family of interval-label image classifiers, one encoding per device.

The parts, from the ground up (a module imports only from those before its own)::

    errors files provenance rundir seeding    what everything stands on
    encoding                                  intervals on the number line, Eq. 1-3
    profiles data models                      YAML, images, networks
    attacks assembly bundle                   adversarial images; specification -> network; files
    execution runtime                         worker processes; the device side
    audit training                            what a reviewer runs; what an engineer runs
    reports                                   tables, HTML, figures
    cli                                       the ``fleet`` command

``import fleet`` loads no torch; the functions below load it when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fleet.audit.run import audit_run_transfer
    from fleet.audit.transfer import Member, TransferSettings, audit_transfer
    from fleet.encoding import IntervalEncoding
    from fleet.errors import FleetError
    from fleet.profiles import load_profile
    from fleet.runtime import Prediction, load_bundle
    from fleet.training.family import train_family

_HOMES = {
    "FleetError": "fleet.errors",
    "IntervalEncoding": "fleet.encoding",
    "Member": "fleet.audit.transfer",
    "Prediction": "fleet.runtime",
    "TransferSettings": "fleet.audit.transfer",
    "audit_run_transfer": "fleet.audit.run",
    "audit_transfer": "fleet.audit.transfer",
    "load_bundle": "fleet.runtime",
    "load_profile": "fleet.profiles",
    "train_family": "fleet.training.family",
}

__all__ = [
    "FleetError",
    "IntervalEncoding",
    "Member",
    "Prediction",
    "TransferSettings",
    "audit_run_transfer",
    "audit_transfer",
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
