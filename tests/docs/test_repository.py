"""What a host of the repository reads: the site, the workflow, the container, the citation."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.commands import faults, resolve


def pages(nav: Any) -> list[str]:
    """Documents of a navigation, depth first."""
    if isinstance(nav, str):
        return [nav]
    inner = nav.values() if isinstance(nav, dict) else nav
    return [page for part in inner for page in pages(part)]


def test_the_site_leads_to_every_document(project: Path) -> None:
    nav = pages(yaml.safe_load((project / "mkdocs.yml").read_text())["nav"])
    documents = (project / "docs").rglob("*.md")
    assert sorted(nav) == sorted(str(path.relative_to(project / "docs")) for path in documents)


def test_every_result_stands_beside_the_command_that_makes_it(project: Path) -> None:
    root = project / "results"
    links = re.findall(r"\]\(([^)]+)\)", (root / "README.md").read_text())
    targets = {(root / link) for link in links}
    assert all(path.exists() for path in targets)
    found = {path for path in root.rglob("*.json") if root / "reproduce" not in path.parents}
    assert not found - targets


@pytest.mark.skipif(find_spec("mkdocs") is None, reason="mkdocs-material is not installed")
def test_the_site_is_built_without_warnings_and_fetches_nothing(
    project: Path, tmp_path: Path
) -> None:
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for page in tmp_path.rglob("*.html"):
        for address in re.findall(
            r"<(?:script|link|img)[^>]+(?:src|href)=\"?([^\s\">]+)", page.read_text()
        ):
            assert not address.startswith(("http", "//")), f"{page} fetches {address}"
            file = (page.parent / address.partition("#")[0].partition("?")[0]).resolve()
            assert file.exists() or page.name == "404.html", f"{page} misses {address}"


@pytest.mark.skipif(find_spec("check_jsonschema") is None, reason="no schema of workflows here")
@pytest.mark.parametrize("damage", ["", "steps:"])
def test_the_workflow_is_one_by_the_published_schema(
    project: Path, tmp_path: Path, damage: str
) -> None:
    """By the copy of the schema that check-jsonschema carries; nothing is fetched."""
    text = (project / "examples/ci/audit-gate.yml").read_text("utf-8")
    workflow = tmp_path / "workflow.yml"
    workflow.write_text(text.replace(damage, "stops:") if damage else text, "utf-8")
    check = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.github-workflows",
    ]
    done = subprocess.run([*check, str(workflow)], capture_output=True, text=True, check=False)
    assert done.returncode == bool(damage), done.stdout


def test_the_workflow_gates_with_commands_that_are_there(project: Path) -> None:
    workflow = yaml.safe_load((project / "examples/ci/audit-gate.yml").read_text())
    assert workflow[True] == {"pull_request": {"paths": ["profiles/**"]}}  # YAML 1.1 reads `on` so
    steps = workflow["jobs"]["audit"]["steps"]
    assert all(("run" in step) != ("uses" in step) for step in steps)
    lines = [
        line.split(">")[0].strip()
        for step in steps
        for line in step.get("run", "").replace("\\\n", " ").splitlines()
        if line.startswith("fleet ")
    ]
    assert [fault for line in lines for fault in faults(line, project / "Makefile")] == []
    named = [next(iter(resolve(shlex.split(line)[1:])[0])) for line in lines]
    assert named == [
        ("profiles", "check"),
        ("train",),
        ("audit", "certify"),
        ("audit", "transfer"),
        ("package",),
    ]
    gates = " ".join(lines)
    for gate in ("--max-blast-radius", "--max-transfer", "--fail-on masked", "--require-audit"):
        assert gate in gates


def test_the_container_copies_what_is_there_and_runs_the_demo(project: Path) -> None:
    text = (project / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and line[0] != "#"]
    known = {"FROM", "RUN", "WORKDIR", "COPY", "USER", "ENV", "ENTRYPOINT", "CMD"}
    assert {word for word, _ in lines} <= known
    kept = (project / ".dockerignore").read_text().splitlines()
    copied = [name for word, rest in lines if word == "COPY" for name in rest.split()[:-1]]
    assert copied
    for name in copied:
        assert (project / name).exists()
        assert f"!{name}" in kept
    found = dict(lines)
    words = [*yaml.safe_load(found["ENTRYPOINT"]), *yaml.safe_load(found["CMD"])]
    assert faults(shlex.join(words), project / "Makefile") == []
    assert words == ["fleet", "demo"]
    assert any(rest.endswith("chmod 777 . runs") for word, rest in lines if word == "RUN"), (
        "whoever `--user` names writes into the mounted directory"
    )


def test_the_citation_is_of_this_version(project: Path) -> None:
    citation = yaml.safe_load((project / "CITATION.cff").read_text())
    about = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == about["version"]
    assert citation["license"] == about["license"]
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["preferred-citation"]["url"] == about["urls"]["Paper"]
