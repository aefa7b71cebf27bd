"""Results as JSON documents: one schema's name, written whole, read and validated in one pass."""

import dataclasses
import json
from dataclasses import field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError

from fleet.errors import AuditError
from fleet.files import write_json

Result = TypeVar("Result")


def to_document(result: Any, schema: str) -> dict[str, Any]:
    """Turn a frozen dataclass into plain JSON values, with its schema's name."""
    return {"schema": schema, **dataclasses.asdict(result)}


def from_document(kind: type[Result], data: Any, schema: str) -> Result:
    """Rebuild a result from :func:`to_document`, the inverse; raises as :func:`from_json`."""
    # Through JSON, because strict validation takes lists for tuples only there.
    return from_json(kind, json.dumps(data), schema)


def from_json(kind: type[Result], text: str | bytes, schema: str) -> Result:
    """Rebuild a result from its document's text, which is parsed and validated in one go.

    Args:
        kind: A dataclass whose ``__post_init__`` raises ``ValueError`` if it contradicts itself.
        text: JSON; bytes in UTF-8.
        schema: Name and version that the document must carry.

    Raises:
        AuditError: The schema is another, a field is missing, unknown or of another type, or the
            result contradicts itself.
        ValueError: The text is not JSON.
    """
    try:
        found = _reader(cast(Any, kind), schema).validate_json(text, strict=True)
    except ValidationError as error:
        raise _unreadable(error, schema) from error
    fields = dataclasses.fields(cast(Any, kind))
    return kind(**{field.name: getattr(found, field.name) for field in fields})


@cache
def _reader(kind: type, schema: str) -> TypeAdapter[Any]:
    """Reads ``kind`` with its schema's name beside the fields, and no other field."""
    config = {"__pydantic_config__": ConfigDict(extra="forbid")}
    name = ("schema", cast(Any, Literal[schema]), field(kw_only=True))
    return TypeAdapter(
        dataclasses.make_dataclass(
            kind.__name__, [name], bases=(kind,), namespace=config, frozen=True
        )
    )


def _unreadable(error: ValidationError, schema: str) -> AuditError | ValueError:
    """Say the first of what keeps a document from being read, another schema before all else."""
    found = error.errors()
    first = next((each for each in found if each["loc"] == ("schema",)), found[0])
    where = ".".join(map(str, first["loc"]))
    if first["type"] == "json_invalid":
        return ValueError(first["msg"])
    if first["type"] == "dataclass_type" and not where:
        return AuditError("this is not an audit", hint="`fleet audit` writes one as a JSON object")
    if where == "schema":
        name = None if first["type"] == "missing" else first["input"]
        return AuditError(
            f"audit schema is {name!r}, not {schema!r}",
            hint="render it with the version of fleet that wrote it, or audit again",
        )
    if first["type"] == "unexpected_keyword_argument":
        return _broken(f"it has no field {where}")
    return _broken(f"{where}: {first['msg']}")


class Stored:
    """A frozen dataclass that is kept as one JSON document; name the schema where it is declared.

    Example: ``class TraceAudit(Stored, schema="fleet.audit.trace/1")``.
    """

    _schema: ClassVar[str]

    def __init_subclass__(cls, *, schema: str = "") -> None:
        cls._schema = schema

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values with the schema's name; :meth:`from_dict` is the inverse."""
        return to_document(self, self._schema)

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """Rebuild a result from :meth:`to_dict`.

        Raises:
            AuditError: The schema is another, a field is missing or of another type, or the result
                contradicts itself.
        """
        return from_document(cls, data, cls._schema).whole()

    def whole(self) -> Self:
        """Return this result if nothing of it is missing, else raise ``AuditError``."""
        try:
            self.require_whole()
        except (KeyError, ValueError) as error:
            raise _broken(str(error)) from error
        return self

    def require_whole(self) -> None:
        """Raise ``KeyError`` or ``ValueError`` unless every figure that a report shows is there."""

    def save(self, path: Path) -> None:
        """Write the document, whole or not at all.

        Raises:
            StorageError: It cannot be written.
        """
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a document.

        Raises:
            AuditError: The file is absent, not JSON, of another schema, or damaged.
        """
        try:
            return from_json(cls, path.read_bytes(), cls._schema).whole()
        except (OSError, ValueError) as error:
            hint = "`fleet audit` writes it"
            raise AuditError(f"cannot read {path}: {error}", hint=hint) from error


def _broken(words: str) -> AuditError:
    return AuditError(
        f"audit file is incomplete or contradicts itself: {words}",
        hint="audit again to write a whole one",
    )
