"""The little Markdown that the documents' tests need: code blocks, code spans, links, anchors."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^ {0,3}```(\w*).*?$\n(.*?)^ {0,3}```\s*$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_LINK = re.compile(r"\]\(<?([^)>\s]+)>?(?:\s+\"[^\"]*\")?\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)


@dataclass(frozen=True)
class Shown:
    """One command of a console block, with the output that the document shows under it."""

    command: str
    output: tuple[str, ...]


def blocks(text: str, *languages: str) -> list[str]:
    """Bodies of the fenced blocks in one of ``languages``."""
    return [body for language, body in _FENCE.findall(text) if language in languages]


def shown_commands(block: str) -> list[Shown]:
    """Split a console block at its ``$ `` lines; a block without one holds commands only."""
    lines = block.splitlines()
    if not any(line.startswith("$ ") for line in lines):
        stripped = [re.sub(r"\s+#.*", "", line).strip() for line in lines]
        return [Shown(line, ()) for line in stripped if line and not line.startswith("#")]
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.startswith("$ "):
            found.append((line[2:].strip(), []))
        elif found and found[-1][0].endswith("\\"):
            found[-1] = (found[-1][0][:-1] + line.removeprefix("> ").strip(), [])
        elif found:
            found[-1][1].append(line.rstrip())
    return [Shown(re.sub(r"\s+#.*", "", command), tuple(output)) for command, output in found]


def spans(text: str) -> list[str]:
    """Inline code, line breaks turned into spaces."""
    return [" ".join(span.split()) for span in _SPAN.findall(_FENCE.sub("", text))]


def links(text: str) -> list[str]:
    """Targets of links and images outside of code."""
    prose = _SPAN.sub("", _FENCE.sub("", text))
    return [first or second for first, second in _LINK.findall(prose)]


def anchors(text: str) -> set[str]:
    """Anchors of a document's headings, as GitHub makes them."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def broken_links(document: Path, project: Path) -> list[str]:
    """Relative links of a document that lead to no file of the project, or to no heading of it."""
    found = []
    for link in links(document.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        inside = target.exists() and target.is_relative_to(project)
        if not inside or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            found.append(link)
    return found
