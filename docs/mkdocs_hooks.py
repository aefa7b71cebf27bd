"""What mkdocs.yml needs beyond mkdocs: files that the documents link to join the site."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(((?:\.\./)+[^)#\s]+)(#[^)\s]*)?\)")


def outside(page: Path, link: str) -> Path | None:
    """The file of the project that a link leads to, from its root; None for a document."""
    target = (page.parent / link).resolve()
    return None if target.is_relative_to(DOCS) else target.relative_to(ROOT)


def on_files(files: Any, config: Any) -> Any:
    """Add every file outside docs/ that a document links to."""
    from mkdocs.structure.files import File  # noqa: PLC0415  only a site needs it

    for page in sorted(DOCS.rglob("*.md")):
        for match in _LINK.finditer(page.read_text(encoding="utf-8")):
            found = outside(page, match[3])
            if found and (ROOT / found).is_file() and str(found) not in files.src_uris:
                files.append(File.generated(config, str(found), abs_src_path=str(ROOT / found)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links out of docs/ lead to these files; of a directory keep the words."""
    here = DOCS / page.file.src_uri

    def moved(match: re.Match[str]) -> str:
        found = outside(here, match[3])
        if found is None:
            return match[0]
        if not (ROOT / found).is_file():
            return match[2]
        return f"{match[1]}[{match[2]}]({'../' * page.file.src_uri.count('/')}{found})"

    return _LINK.sub(moved, markdown)
