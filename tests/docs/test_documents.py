"""What documents say is there, is there: commands, options, targets, files, headings."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from docs.commands import faults, leaves, resolve, targets
from docs.markdown import anchors, blocks, broken_links, shown_commands, spans

PROJECT = Path(__file__).resolve().parents[2]
SHELL = ("console", "sh", "shell", "bash")
DOCUMENTS = [
    *(PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((PROJECT / "docs").rglob("*.md")),
    *sorted((PROJECT / "examples").rglob("*.md")),
]


def lines_of(document: Path) -> list[str]:
    """Command lines in a document: in blocks, and in running text."""
    text = document.read_text(encoding="utf-8")
    shown = [s.command for block in blocks(text, *SHELL) for s in shown_commands(block)]
    return [*shown, *(span for span in spans(text) if re.match(r"(fleet|make) [a-z-]", span))]


def name_of(document: Path) -> str:
    return str(document.relative_to(PROJECT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_options_and_targets_in_a_document_exist(document: Path) -> None:
    wrong = [f for line in lines_of(document) for f in faults(line, PROJECT / "Makefile")]
    assert not wrong


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_relative_links_of_a_document_lead_somewhere(document: Path) -> None:
    assert not broken_links(document, PROJECT)


def test_every_command_is_mentioned_in_a_document() -> None:
    mentioned: set[tuple[str, ...]] = set()
    for document in DOCUMENTS:
        for line in lines_of(document):
            if document.name != "CHANGELOG.md" and line.startswith("fleet "):
                mentioned |= resolve(line.split()[1:])[0]
    assert leaves() - mentioned == set()


def test_every_document_is_in_the_index() -> None:
    index = (PROJECT / "docs" / "README.md").read_text(encoding="utf-8")
    documents = {path.relative_to(PROJECT / "docs") for path in (PROJECT / "docs").rglob("*.md")}
    missing = [str(path) for path in documents if f"]({path})" not in index]
    assert missing == ["README.md"]


def test_every_body_of_the_makefile_can_be_typed_without_make() -> None:
    # -B: also what is up to date. Without the variables of a make that runs this very test.
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    done = subprocess.run(
        ["make", "-n", "-B", "PYTHON=python3", *sorted(targets(PROJECT / "Makefile"))],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    plain = re.compile(r"(python3|\.venv(-crosscheck)?/bin/python) -m |touch |echo |make: ")
    assert [line for line in done.stdout.splitlines() if not plain.match(line)] == []
    assert ".venv/bin/python -m fleet demo --profile profiles/devices.yaml" in done.stdout


def test_these_tests_find_what_is_wrong(tmp_path: Path) -> None:
    makefile = tmp_path / "Makefile"
    makefile.write_text("VENV := .venv\n.PHONY: gone\ninstall: x\n\ttrue\n")
    for line in ("make install", "fleet --version", "python -m fleet audit transfer --eps=0.1"):
        assert faults(line, makefile) == []
    for line, fault in {
        "make gone": "no target gone",
        "X=1 fleet trian": "no command trian",
        "cd x && .venv/bin/fleet train --profil x": "no option --profil",
        ".venv/bin/python -m fleet audit tranfser": "no command tranfser",
        "fleet profiles check|shwo": "no command shwo",
    }.items():
        assert faults(line, makefile) == [f"{fault} in {line!r}"]
    (tmp_path / "other.md").write_text("# One & two\n\n## One & two\n\n```\n# no heading\n```\n")
    assert anchors((tmp_path / "other.md").read_text()) == {"one--two", "one--two-1"}
    document = tmp_path / "document.md"
    document.write_text(
        "[a](other.md) [b](other.md#one--two-1) [c](https://example.org/gone) `[code](gone)`\n"
        "[d](gone.md) ![e](gone.png) [f](other.md#no-heading) [g](#here) [h](/etc/passwd) [i][j]\n"
        "\n[j]: gone-too.md\n"
    )
    assert broken_links(document, tmp_path) == [
        "gone.md", "gone.png", "other.md#no-heading", "#here", "/etc/passwd", "gone-too.md",
    ]  # fmt: skip


def test_every_threat_names_tests_that_are_there(project: Path) -> None:
    page = (project / "docs" / "security.md").read_text()
    module, named = "", []
    for word in re.findall(r"`([a-z_0-9]+\.py)?(?:::(test_[a-z_0-9]+))?`", page):
        module = word[0] or module
        if word[1]:
            named.append((module, word[1]))
    rows = re.findall(r"^\| (?!threat)([a-z].*) \|$", page.partition("## What was tried")[0], re.M)
    assert len(rows) >= 20
    assert [row for row in rows if "test_" not in row.rpartition(" | ")[2]] == []
    sources = {path.name: path.read_text() for path in (project / "tests").rglob("test_*.py")}
    missing = [f"{file}::{test}" for file, test in named if f"def {test}(" not in sources[file]]
    assert missing == []
