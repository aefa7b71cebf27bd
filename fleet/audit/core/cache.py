"""Intermediate results of an audit on disk, so that it can resume and take in new devices.

Each is one JSON file that carries its key, which is all that determines the result, and a digest of
its value. A file with another key, or a damaged one, is ignored. Every key holds the version of
torch and none that of fleet, so an update keeps what it does not change.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import PlainSerializer, PlainValidator, TypeAdapter, ValidationError

from fleet.accelerator import kind_key
from fleet.files import canonical_json, read_bytes, write_json
from fleet.provenance import package_version

SCHEMA = "fleet.audit.kept/2"
"""Of the file. Where one kind of result comes out differently, raise its ``version`` instead."""

Value = TypeVar("Value")


def pack(outcomes: NDArray[np.int8]) -> dict[str, Any]:
    """Write outcomes, any shape, as one digit for each example: 0 correct, 1 reject, 2 flip."""
    digits = (outcomes.ravel() + ord("0")).astype(np.uint8).tobytes().decode("ascii")
    return {"shape": list(outcomes.shape), "outcomes": digits}


def unpack(packed: dict[str, Any]) -> NDArray[np.int8]:
    """Read what :func:`pack` wrote; the inverse."""
    digits = np.frombuffer(packed["outcomes"].encode("ascii"), dtype=np.int8)
    return (digits - ord("0")).astype(np.int8).reshape(packed["shape"])


PackedOutcomes = Annotated[NDArray[np.int8], PlainValidator(unpack), PlainSerializer(pack)]
"""Outcomes (0, 1, 2) that stand in JSON as a string of digits."""

PackedClasses = Annotated[
    NDArray[np.int16],
    PlainValidator(lambda packed: np.array(packed, dtype=np.int16)),
    PlainSerializer(lambda classes: classes.tolist()),
]
"""Classes, -1 for None, that stand in JSON as lists."""


def remember(
    path: Path,
    key: dict[str, Any],
    kind: type[Value],
    make: Callable[[], Value],
    *,
    version: int = 1,
) -> Value:
    """Take a result from disk, or make it and keep it.

    Args:
        path: Its file.
        key: All that determines the result, plain JSON values.
        kind: The dataclass that the result is.
        make: Makes it.
        version: Of the making. Raise it when the same key gives another value, so that kept results
            are made again.

    Raises:
        StorageError: It cannot be written.
    """
    key = _whole(key, version)
    found = _read(path, key, kind)
    if found is not None:
        return found
    made = make()
    value = TypeAdapter(kind).dump_python(made, mode="json")
    write_json(path, {"schema": SCHEMA, "key": key, "sha256": _digest(value), "value": value})
    return made


def recall(path: Path, key: dict[str, Any], kind: type[Value], *, version: int = 1) -> Value | None:
    """Read a kept result; None if there is none, it is damaged, or its key is another."""
    return _read(path, _whole(key, version), kind)


def _whole(key: dict[str, Any], version: int) -> dict[str, Any]:
    whole = {"version": version, "torch": package_version("torch"), **kind_key(), **key}
    return cast(dict[str, Any], json.loads(json.dumps(whole)))  # as it is read back: no tuples


def _read(path: Path, key: dict[str, Any], kind: type[Value]) -> Value | None:
    try:
        document = json.loads(read_bytes(path))
        value = document["value"]
        wanted = {"schema": SCHEMA, "key": key, "sha256": _digest(value)}
        if {name: document[name] for name in wanted} != wanted:
            return None
        return TypeAdapter(kind).validate_json(json.dumps(value))
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None


def _digest(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode("utf-8")).hexdigest()
