"""Untrusted JSON: accepted in one spelling only, read field by field with types and bounds."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from fleet.errors import BundleError
from fleet.files import canonical_json
from fleet.vocabulary import LONGEST_NAME, printable


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


NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
SHA256 = re.compile(r"[0-9a-f]{64}")
UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)

_MAX_ITEMS = 10_000


class Fields:
    """One JSON object whose fields are taken out one after the other.

    Every method takes one field away and raises a ``BundleError`` that names it when it is
    absent, of another type or out of bounds. Fields that were not taken stay in :attr:`rest`.

    Args:
        value: A JSON value, which must be an object.
        where: Its path, for messages; "" for the outermost.
    """

    def __init__(self, value: object, where: str = "") -> None:
        self._where = where
        if not isinstance(value, dict):
            raise BundleError(f"manifest: {where or 'the whole'} must be an object")
        self.rest: dict[str, Any] = dict(value)

    def text(self, key: str, pattern: re.Pattern[str] | None = None) -> str:
        """Take a short printable string that ``pattern`` matches as a whole."""
        value = self.value(key)
        if not printable(value):
            raise self.error(key, f"must be 1 to {LONGEST_NAME} printable characters")
        if pattern is not None and not pattern.fullmatch(value):
            raise self.error(key, f"is {value!r}, which does not have the form of a {key}")
        return str(value)

    def optional_text(self, key: str, pattern: re.Pattern[str] | None = None) -> str | None:
        """Take a text or null."""
        if key in self.rest and self.rest[key] is None:
            del self.rest[key]
            return None
        return self.text(key, pattern)

    def choice(self, key: str, options: Sequence[str]) -> str:
        """Take one of the strings ``options``."""
        value = self.value(key)
        if not isinstance(value, str) or value not in options:
            raise self.error(key, f"must be one of: {', '.join(options)}")
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        """Take an integer in [low, high]."""
        value = self.value(key)
        if type(value) is not int or not low <= value <= high:
            raise self.error(key, f"must be an integer from {low} to {high}")
        return value

    def number(self, key: str, low: float, high: float) -> float:
        """Take a finite number, written with a decimal point, in [low, high]."""
        value = self.value(key)
        if type(value) is not float or not low <= value <= high:
            raise self.error(key, f"must be a decimal number from {low} to {high}")
        return value

    def boolean(self, key: str) -> bool:
        """Take true or false."""
        value = self.value(key)
        if not isinstance(value, bool):
            raise self.error(key, "must be true or false")
        return value

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        """Take a list of ``count`` finite decimal numbers."""
        value = self.value(key)
        if not isinstance(value, list) or len(value) != count:
            raise self.error(key, f"must be a list of {count} numbers")
        if not all(type(item) is float and math.isfinite(item) for item in value):
            raise self.error(key, "must hold finite decimal numbers only")
        return tuple(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Take a list of different short printable strings."""
        value = self.value(key)
        if not isinstance(value, list) or not 0 < len(value) <= _MAX_ITEMS:
            raise self.error(key, f"must be a list of 1 to {_MAX_ITEMS} strings")
        if not all(map(printable, value)) or len(set(value)) != len(value):
            raise self.error(key, "must hold different, printable strings only")
        return tuple(value)

    def objects(self, key: str) -> list[Fields]:
        """Take a list of objects."""
        value = self.value(key)
        if not isinstance(value, list) or len(value) > _MAX_ITEMS:
            raise self.error(key, "must be a list of objects")
        return [Fields(item, f"{self._path(key)}[{i}]") for i, item in enumerate(value)]

    def object(self, key: str) -> Fields:
        """Take an object."""
        return Fields(self.value(key), self._path(key))

    def optional_object(self, key: str) -> Fields | None:
        """Take an object or null."""
        value = self.value(key)
        return None if value is None else Fields(value, self._path(key))

    def value(self, key: str) -> Any:
        """Take any value."""
        if key not in self.rest:
            raise self.error(key, "is missing")
        return self.rest.pop(key)

    def error(self, key: str, problem: str) -> BundleError:
        """Make the error for a field; the caller raises it."""
        return BundleError(f"manifest: {self._path(key)} {problem}")

    def _path(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key
