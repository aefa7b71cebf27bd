"""Render the documents whose figures come from ``results/``.

    python docs/render.py           # docs/templates/NAME.md.jinja -> docs/NAME.md
    python docs/render.py --check   # exit code 1 if a document is not what it would be rendered to

A template reads its figures with ``results("benchmarks/training.json")``. Where such a file is
absent the document is left out, and a message says so; with ``--check``, a document without its
results is as wrong as one with old figures. ``maybe("...")`` is None for an absent file, for a
document that can do without. ``field_tables()`` gives the tables of the profile language.

Exit codes: 0 done; 1 a document is not current; 2 a template or a result cannot be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, TemplateError

from fleet.errors import FleetError
from fleet.files import write_text
from fleet.profiles import field_tables

PROJECT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Document:
    """One rendered document.

    Attributes:
        path: Where it belongs.
        text: Its whole content, or None where a result that it needs is absent.
        absent: That result; None where nothing is absent.
    """

    path: Path
    text: str | None
    absent: Path | None = None


class AbsentError(Exception):
    """A result that a template asks for is not there."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path


def render(template: Path, project: Path) -> Document:
    """Render one template.

    Args:
        template: ``NAME.md.jinja`` under ``docs/templates/``.
        project: Root of the project; ``results/`` is looked for there.

    Raises:
        FleetError: The template is wrong, a result is not JSON, or lacks a figure.
    """
    used: list[str] = []

    def results(name: str) -> Any:
        path = project / "results" / name
        used.append(path.relative_to(project).as_posix())
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise AbsentError(path) from error

    def maybe(name: str) -> Any:
        try:
            return results(name)
        except AbsentError:
            used.pop()
            return None

    # Markdown, not HTML: nothing is to be escaped.
    environment = Environment(  # noqa: S701
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    path = project / "docs" / template.name.removesuffix(".jinja")
    source = template.read_text(encoding="utf-8")
    try:
        names = {"results": results, "maybe": maybe, "field_tables": field_tables}
        body = environment.from_string(source).render(**names)
    except AbsentError as error:
        return Document(path, None, error.path)
    except (TemplateError, TypeError, ValueError) as error:
        raise FleetError(f"cannot render {template}: {error}") from error
    sources = [template.relative_to(project).as_posix(), *used]
    header = f"<!-- Rendered by docs/render.py from {' and '.join(sources)}. Do not edit. -->\n\n"
    return Document(path, header + body)


def write(document: Document) -> str:
    """Write a document, and say what became of it."""
    if document.text is None:
        return f"left out {document.path}: {document.absent} is absent"
    write_text(document.path, document.text)
    return f"wrote {document.path}"


def fault(document: Document) -> str | None:
    """What is wrong with a document as it lies there, or None."""
    present = document.path.exists()
    if document.text is None:
        return f"{document.path} is there, {document.absent} is not" if present else None
    if present and document.path.read_text(encoding="utf-8") == document.text:
        return None
    return f"{document.path} is not current: run `python docs/render.py`"


def main(arguments: list[str] | None = None) -> int:
    """Render or check every template; returns the exit code."""
    parser = argparse.ArgumentParser(description="Render documents from results/.")
    parser.add_argument("--check", action="store_true", help="write nothing; say what is outdated")
    parser.add_argument("--root", type=Path, default=PROJECT, help="root of the project")
    options = parser.parse_args(arguments)
    root = options.root.resolve()
    try:
        templates = sorted((root / "docs" / "templates").glob("*.md.jinja"))
        documents = [render(template, root) for template in templates]
        found = [(fault if options.check else write)(document) for document in documents]
    except (FleetError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    lines = [line for line in found if line is not None]
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    return 1 if options.check and lines else 0


if __name__ == "__main__":
    sys.exit(main())
