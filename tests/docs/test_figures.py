"""Figures of the documents: drawn from committed results, and there where a document shows one."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image


def draw(project: Path, root: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "docs.figures", "--root", root],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(project: Path, tmp_path: Path) -> Path:
    for folder in ("demo", "paper-demo", "robust"):
        shutil.copytree(project / "results" / folder, tmp_path / "results" / folder)
    return tmp_path


def test_the_figures_of_the_documents_are_drawn_from_results(project: Path, copy: Path) -> None:
    done = draw(project, copy)
    assert done.returncode == 0, done.stderr
    drawn = {path.name: path for path in (copy / "docs" / "images").iterdir()}
    for name, path in drawn.items():
        committed = project / "docs" / "images" / name
        with Image.open(path) as new, Image.open(committed) as old:
            assert new.format == "PNG"
            assert new.size == old.size, f"{name} is not current: run `make docs`"
    pages = [project / "README.md", *(project / "docs").glob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    assert set(re.findall(r"images/([\w-]+\.png)", text)) == set(drawn)


def test_a_result_that_is_gone_is_an_error_and_draws_nothing(project: Path, copy: Path) -> None:
    (copy / "results" / "robust" / "demo-gates.json").unlink()
    done = draw(project, copy)
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot draw the documents' figures: ")
    assert not (copy / "docs").exists()
