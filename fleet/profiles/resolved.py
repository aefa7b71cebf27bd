"""The resolved profile that a run keeps."""

from __future__ import annotations

import json

from fleet.errors import CheckpointError
from fleet.profiles.spec import FamilySpec
from fleet.rundir import RunDirectory


def read_family(run: RunDirectory) -> FamilySpec:
    """Read what a run was trained from.

    Raises:
        CheckpointError: The file is absent, damaged, or of another version.
    """
    try:
        return FamilySpec.from_dict(json.loads(run.profile.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{run.profile} is no resolved profile: {type(error).__name__}: {error}",
            hint="another version of fleet may have written it; train again",
        ) from error
