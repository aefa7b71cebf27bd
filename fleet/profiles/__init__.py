"""Profiles: from YAML to validated, resolved device specifications, without torch.

``load_profile`` reads a file and returns a ``FamilySpec`` or raises a ``ProfileError`` that names
every mistake with file, line and column. docs/profiles.md describes the language.

The reader's parts are imported when they are first asked for: bundles and the runtime on a device
use the specifications, and need neither a YAML parser nor pydantic.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fleet.profiles.problems import ProfileFileError
from fleet.profiles.spec import DataSpec, DeviceSpec, FamilySpec
from fleet.vocabulary import ModelSpec, TrainingSpec

if TYPE_CHECKING:
    from fleet.profiles.family import load_profile
    from fleet.profiles.reference import field_tables, json_schema
    from fleet.profiles.secret import secret_path
    from fleet.profiles.starter import Photos, template

_HOMES = {
    "field_tables": "fleet.profiles.reference",
    "json_schema": "fleet.profiles.reference",
    "load_profile": "fleet.profiles.family",
    "secret_path": "fleet.profiles.secret",
    "Photos": "fleet.profiles.starter",
    "template": "fleet.profiles.starter",
}

__all__ = [
    "DataSpec",
    "DeviceSpec",
    "FamilySpec",
    "ModelSpec",
    "Photos",
    "ProfileFileError",
    "TrainingSpec",
    "field_tables",
    "json_schema",
    "load_profile",
    "secret_path",
    "template",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
