"""Pydantic's errors in the words of a profile, at the place where the value was written."""

import re
from collections.abc import Iterator
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fleet.profiles import schema
from fleet.profiles.problems import Problem, did_you_mean
from fleet.profiles.tree import Node

SectionT = TypeVar("SectionT", bound=schema.Section)

_BRANCHES = {
    schema.AUTO: "must be auto",
    schema.NUMBER: "must be a number or auto",
    schema.LENGTH: "must be a number, a list with one for each class, or auto",
    schema.PER_CLASS: "must be a number, a list with one for each class, or auto",
    schema.SPREAD: "must be spread",
    schema.SLOTS: "must be a list with one slot for each class, spread, or auto",
    schema.MAPPING: "must be a mapping or auto",
}
_TEXTS = {
    "greater_than_equal": "must be >= {ge:g}",
    "greater_than": "must be > {gt:g}",
    "less_than_equal": "must be <= {le:g}",
    "less_than": "must be < {lt:g}",
    "finite_number": "must be finite",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "string_unicode": "must be Unicode text",
    "string_too_short": "must not be empty",
    "string_too_long": "may have {max_length} characters at most",
    "model_type": "must be a mapping",
    "tuple_type": "must be a list",
    "too_short": "must have at least {min_length} item",
    "too_long": "may have {max_length} items at most",
    "literal_error": "must be {expected}",
    "string_pattern_mismatch": "must be letters, digits, '.', '-' or '_' (64 at most), "
    "not beginning with '.' or '-'",
}
_HINTS = {
    "bool_type": "YAML 1.2 knows only true and false",
    "string_type": "put it in quotes",
}


def problems_of(section: type[schema.Section], node: Node) -> list[Problem]:
    """Everything that is wrong in one section, crossing no two fields."""
    try:
        section.model_validate(node.plain)
    except ValidationError as error:
        details = error.errors(include_url=False)
        return [_problem(section, node, detail) for detail in details if _is_true(node, detail)]
    return []


def value_of(section: type[SectionT], node: Node | None) -> SectionT | None:
    """The section's value, or None if anything in it is wrong."""
    try:
        return None if node is None else section.model_validate(node.plain)
    except ValidationError:
        return None


def section_at(section: type[BaseModel], keys: list[str | int]) -> type[BaseModel] | None:
    """The model of the mapping that ``keys`` lead to."""
    current: type[BaseModel] | None = section
    for key in keys:
        if isinstance(key, int):
            continue
        field = current.model_fields.get(key) if current else None
        current = next(_models(field.annotation), None) if field else None
    return current


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _is_true(root: Node, detail: ErrorDetails) -> bool:
    """Pydantic calls a list too short when items of it are wrong; only an empty one is."""
    return detail["type"] != "too_short" or not root.nearest(_keys(detail)).items


def _keys(detail: ErrorDetails) -> list[str | int]:
    return [key for key in detail["loc"] if key not in _BRANCHES]


def _problem(section: type[schema.Section], root: Node, detail: ErrorDetails) -> Problem:
    keys = _keys(detail)
    kind = detail["type"]
    if kind == "missing":
        parent = root.nearest(keys[:-1])
        return Problem(parent.mark, f"{_join(parent.path, keys[-1])} is missing")
    if kind == "extra_forbidden":
        return _unknown_key(section, root, keys)
    node = root.nearest(keys)
    text = _TEXTS.get(kind, "is not allowed here").format(**detail.get("ctx", {}))
    if kind in {"float_type", "tuple_type", "model_type"} and detail["loc"]:
        text = _BRANCHES.get(str(detail["loc"][-1]), text)
    text = f"{node.path or 'a profile'} {text} (got {shown(node)})"
    if kind == "literal_error":
        text += did_you_mean(node.value, re.findall(r"'([^']*)'", detail["ctx"]["expected"]))
    return Problem(node.mark, text, _hint(kind, node))


def _unknown_key(section: type[schema.Section], root: Node, keys: list[str | int]) -> Problem:
    parent, key = root.nearest(keys[:-1]), str(keys[-1])
    model = section_at(section, keys[:-1])
    known = list(model.model_fields) if model else []
    entry = parent.entries[key]
    hint = f"known keys here: {', '.join(known)}"
    for home in ("encoding", "model", "training"):
        owner = section_at(schema.DeviceSection, [home])
        if owner is not None and key in owner.model_fields:
            hint = f"{key!r} belongs under `{home}:`"
    if key == "<<":
        hint = "merge keys are not part of YAML 1.2; use `defaults:` or `extends:`"
    text = f"{entry.node.path} is not a known key{did_you_mean(key, known)}"
    return Problem(entry.key, text, hint)


def _hint(kind: str, node: Node) -> str | None:
    value = node.value
    if kind in {"float_type", "int_type"} and isinstance(value, str):
        if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", value):
            return "a number must not be in quotes"
        if re.fullmatch(r"[\d.]+\s*/\s*[\d.]+", value):
            return "write a fraction as a decimal number"
    return _HINTS.get(kind)


def _join(path: str, key: str | int) -> str:
    return f"{path}.{key}" if path else str(key)


def shown(node: Node) -> str:
    """A value as an error quotes it: short, on one line, nothing that a terminal obeys."""
    value = node.value
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, tuple):
        return f"a list of {len(value)}"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:60] + "..."
