"""The profile language for machines (JSON Schema) and for readers (Markdown tables)."""

import json
from typing import Any

from fleet.profiles import schema

DRAFT = "http://json-schema.org/draft-07/schema#"

_SECTIONS = {
    "Top level": ("ProfileSection", ""),
    "`data`": ("DataSection", ""),
    "`devices[]`": ("DeviceSection", "`defaults` takes all of these but `name` and `extends`."),
    "`encoding`": ("EncodingSection", "`encoding: auto` stands for `auto` in all four."),
    "`model`": ("ModelSection", ""),
    "`training`": ("TrainingSection", ""),
    "`per_job`": ("PerJobSection", ""),
}
_BOUNDS = {
    "minimum": "≥ ",
    "exclusiveMinimum": "> ",
    "maximum": "≤ ",
    "exclusiveMaximum": "< ",
}
_TYPES = {"integer": "whole number", "boolean": "true, false", "string": "text", "array": "list"}


def json_schema() -> dict[str, Any]:
    """JSON Schema of a profile, in keywords of draft 7, which editors understand."""
    plain = schema.ProfileSection.model_json_schema(ref_template="#/definitions/{model}")
    plain["definitions"] = plain.pop("$defs")
    converted: dict[str, Any] = _draft7(plain)
    return {"$schema": DRAFT, **converted, "title": "fleet profile"}


def field_tables() -> str:
    """Markdown: for each section, a table of its fields."""
    whole = json_schema()
    sections = {**whole["definitions"], "ProfileSection": whole}
    return "\n".join(
        _table(title, sections[name], note) for title, (name, note) in _SECTIONS.items()
    )


def _draft7(value: Any) -> Any:
    """Drop titles that repeat a key, and move ``$ref`` away from siblings that draft 7 ignores."""
    if isinstance(value, list):
        return [_draft7(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {
        key: _draft7(item)
        for key, item in value.items()
        if not (key == "title" and isinstance(item, str))
    }
    if "$ref" in kept and len(kept) > 1:
        kept["allOf"] = [{"$ref": kept.pop("$ref")}]
    return kept


def _table(title: str, section: dict[str, Any], note: str) -> str:
    rows = [f"### {title}", "", *([note, ""] if note else [])]
    rows += ["| key | values | default | meaning |", "|---|---|---|---|"]
    required = section.get("required", [])
    for key, field in section["properties"].items():
        default = "required" if key in required else _default(field["default"])
        rows.append(f"| `{key}` | {_values(field)} | {default} | {field['description']} |")
    return "\n".join([*rows, ""])


def _default(value: Any) -> str:
    return "" if isinstance(value, dict) else f"`{json.dumps(value)}`".replace('"', "")


def _values(field: dict[str, Any]) -> str:
    """What a field takes, in words."""
    for union in ("anyOf", "oneOf"):
        if union in field:
            return ", or ".join(_values(branch) for branch in field[union])
    if "enum" in field or "const" in field:
        return ", ".join(f"`{choice}`" for choice in field.get("enum", [field.get("const")]))
    if "type" not in field or field["type"] in {"object", "null"}:
        return "null" if field.get("type") == "null" else "mapping"
    if field["type"] == "array":
        return f"list of: {_values(field['items'])}"
    bounds = [f"{sign}{field[key]}" for key, sign in _BOUNDS.items() if key in field]
    return " ".join([_TYPES.get(field["type"], field["type"]), ", ".join(bounds)]).strip()
