"""How results of audits are stored: frozen dataclasses as one JSON document with a schema's name.

Nothing in this module imports torch.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from fleet.errors import AuditError
from fleet.files import write_json

Result = TypeVar("Result")


def to_document(result: Any, schema: str) -> dict[str, Any]:
    """Turn a frozen dataclass into plain JSON values, with its schema's name."""
    return {"schema": schema, **dataclasses.asdict(result)}


def from_document(kind: type[Result], data: Any, schema: str) -> Result:
    """Rebuild a result from :func:`to_document`; the inverse.

    Args:
        kind: A dataclass whose ``__post_init__`` raises ``ValueError`` if it contradicts itself.
        data: Plain JSON values.
        schema: Name and version that ``data`` must carry.

    Raises:
        AuditError: The schema is another, a field is missing, unknown or of another type, or the
            result contradicts itself.
    """
    if not isinstance(data, dict):
        raise AuditError(
            "this is not an audit",
            hint="`fleet audit` writes one as a JSON object",
        )
    if data.get("schema") != schema:
        raise AuditError(
            f"audit schema is {data.get('schema')!r}, not {schema!r}",
            hint="render it with the version of fleet that wrote it, or audit again",
        )
    fields = {key: value for key, value in data.items() if key != "schema"}
    known = {field.name for field in dataclasses.fields(cast(Any, kind))}
    if unknown := fields.keys() - known:
        raise _broken(f"it has no field {', '.join(sorted(unknown))}")
    try:
        # Through JSON, because strict validation takes lists for tuples only there.
        return TypeAdapter(kind).validate_json(json.dumps(fields), strict=True)
    except (ValidationError, TypeError, ValueError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        where = ".".join(map(str, first["loc"])) if first else ""
        words = f"{where}: {first['msg']}" if first else str(error)
        raise _broken(words) from error


class Stored:
    """A frozen dataclass that is kept as one JSON document; name the schema where it is declared.

    Example: ``class TraceAudit(Stored, schema="fleet.audit.trace/1")``.
    """

    _schema: ClassVar[str]

    def __init_subclass__(cls, *, schema: str) -> None:
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
        found = from_document(cls, data, cls._schema)
        try:
            found.require_whole()
        except (KeyError, ValueError) as error:
            raise _broken(str(error)) from error
        return found

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
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            hint = "`fleet audit` writes it"
            raise AuditError(f"cannot read {path}: {error}", hint=hint) from error
        return cls.from_dict(data)


def _broken(words: str) -> AuditError:
    return AuditError(
        f"audit file is incomplete or contradicts itself: {words}",
        hint="audit again to write a whole one",
    )
