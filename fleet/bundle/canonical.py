"""JSON from strangers: read strictly, and accepted in one spelling only."""

from __future__ import annotations

import json
from typing import Any

from fleet.errors import BundleError
from fleet.files import canonical_json


def parse_json(data: bytes, what: str) -> dict[str, Any]:
    """Parse a JSON object; duplicate keys, NaN and infinities are errors.

    Args:
        data: UTF-8 text.
        what: Name of the text, for messages.

    Raises:
        BundleError: It is not such an object, or nests too deeply.
    """
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{what} is not strict JSON: {error}") from error
    if not isinstance(value, dict):
        raise BundleError(f"{what} is not a JSON object")
    return value


def parse_canonical(data: bytes, what: str) -> dict[str, Any]:
    """:func:`parse_json` for text that must be exactly ``fleet.files.canonical_json``.

    Raises:
        BundleError: It is not strict JSON, or spelt differently.
    """
    value = parse_json(data, what)
    try:
        canonical = canonical_json(value).encode("utf-8")
    except (ValueError, RecursionError) as error:  # infinity from 1e999, a lone surrogate, depth
        raise BundleError(f"{what} has no canonical form: {error}") from error
    if canonical != data:
        raise BundleError(f"{what} is not in canonical form (sorted keys, two spaces, one newline)")
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key occurs twice")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")
