"""Profiles: from YAML to validated, resolved device specifications, without torch.

``load_profile`` reads a file and returns a ``FamilySpec`` or raises a ``ProfileError`` that names
every mistake with file, line and column. docs/profiles.md describes the language.
"""

from fleet.profiles.family import load_profile
from fleet.profiles.problems import ProfileFileError
from fleet.profiles.reference import field_tables, json_schema
from fleet.profiles.secret import secret_path
from fleet.profiles.spec import DataSpec, DeviceSpec, FamilySpec, ModelSpec, TrainingSpec
from fleet.profiles.starter import template

__all__ = [
    "DataSpec",
    "DeviceSpec",
    "FamilySpec",
    "ModelSpec",
    "ProfileFileError",
    "TrainingSpec",
    "field_tables",
    "json_schema",
    "load_profile",
    "secret_path",
    "template",
]
