"""Documents rendered from results: the figures in them are the committed ones."""

import io
import json
import shutil
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest

from docs import render as documents

SAMPLE: dict[str, Any] = {
    "what": "training of the demo family",
    "when": "2026-11-22T21:00:00+00:00",
    "environment": {
        "fleet": "0.1.0",
        "python": "3.11.9",
        "packages": {"torch": "2.15.0", "torchvision": "0.29.0", "numpy": "2.4.1"},
        "system": "Linux 6.1 x86_64",
        "processor": "Test Processor 9000",
        "cores": 2,
        "command": ["pytest"],
    },
    "devices": 2,
    "epochs": [6, 6],
    "fleet": {
        "images": 659_456,
        "seconds": 100.0,
        "images_per_second": 6594.56,
        "validation": {
            "cam-01": {"n": 5000, "correct": 4900, "rejected": 25},
            "cam-02": {"n": 5000, "correct": 4850, "rejected": 0},
        },
    },
    "plain": {
        "images": 659_456,
        "seconds": 300.0,
        "images_per_second": 2198.19,
        "threads": 2,
        "validation": {
            "cam-01": {"n": 5000, "correct": 4895, "rejected": 30},
            "cam-02": {"n": 5000, "correct": 4865, "rejected": 5},
        },
    },
    "ratio": 3.0,
    "accuracy_gap": {"cam-01": 0.001, "cam-02": -0.003},
    "mean_accuracy_gap": -0.001,
}


@pytest.fixture
def copy(project: Path, tmp_path: Path) -> Path:
    """One template, a sample of the training benchmark, and the attack benchmark's own file."""
    template = "docs/templates/benchmarks.md.jinja"
    (tmp_path / template).parent.mkdir(parents=True)
    shutil.copy(project / template, tmp_path / template)
    write_sample(tmp_path, SAMPLE)
    attacks = "results/benchmarks/attacks.json"
    shutil.copy(project / attacks, tmp_path / attacks)
    return tmp_path


def write_sample(root: Path, sample: dict[str, Any]) -> Path:
    path = root / "results" / "benchmarks" / "training.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(sample))
    return path


def render(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """What the script does, in this process."""
    stderr = io.StringIO()
    with redirect_stderr(stderr):
        code = documents.main([*map(str, arguments)])
    return subprocess.CompletedProcess(arguments, code, "", stderr.getvalue())


def test_every_rendered_document_of_the_project_is_current(project: Path) -> None:
    words = [sys.executable, project / "docs" / "render.py", "--check"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_figures_of_the_training_benchmark_stand_in_its_document(copy: Path) -> None:
    assert render("--root", copy).returncode == 0
    text = (copy / "docs" / "benchmarks.md").read_text()
    header, _, body = text.partition("\n")
    assert header == (
        "<!-- Rendered by docs/render.py from docs/templates/benchmarks.md.jinja and "
        "results/benchmarks/training.json and results/benchmarks/attacks.json. Do not edit. -->"
    )
    for line in (
        "| **images/s** | **6,595** | **2,198** |",
        "| ratio | 3.00 | 1 |",
        "| cam-01 | 98.00 % | 0.50 % | 97.90 % | 0.60 % | +0.10 |",
        "| cam-02 | 97.00 % | 0.00 % | 97.30 % | 0.10 % | -0.30 |",
        "| mean | | | | | -0.10 |",
        "| machine | Test Processor 9000, 2 cores, Linux 6.1 x86_64 |",
        "| versions | fleet 0.1.0, Python 3.11.9, torch 2.15.0, torchvision 0.29.0, numpy 2.4.1 |",
    ):
        assert line in body.splitlines(), body
    training, _, _ = body.partition("## Attacking a fleet")
    assert training.count("reached") == 2
    assert "missed" not in training


@pytest.mark.parametrize(("ratio", "word"), [(2.99, "**missed**"), (3.0, "reached")])
def test_the_goals_of_the_attack_benchmark_are_judged_by_its_figures(
    copy: Path, ratio: float, word: str
) -> None:
    path = copy / "results" / "benchmarks" / "attacks.json"
    attacks = json.loads(path.read_text())
    attacks["matrix"]["ratio"] = ratio
    path.write_text(json.dumps(attacks))
    assert render("--root", copy).returncode == 0
    text = (copy / "docs" / "benchmarks.md").read_text()
    assert f"{ratio:.2f}, {word}." in text
    rate = attacks["matrix"]["rates"]["fleet"]
    assert f"| {rate:,.0f} | 1.00 |" in text


def test_a_missed_goal_is_called_missed(copy: Path) -> None:
    write_sample(copy, {**SAMPLE, "ratio": 2.49, "mean_accuracy_gap": -0.0031})
    assert render("--root", copy).returncode == 0
    text = (copy / "docs" / "benchmarks.md").read_text()
    training, _, _ = text.partition("## Attacking a fleet")
    assert training.count("**missed**") == 2


def test_check_says_whether_a_document_is_current_and_writes_nothing(copy: Path) -> None:
    document = copy / "docs" / "benchmarks.md"
    assert render("--root", copy, "--check").returncode == 1
    assert not document.exists()
    assert render("--root", copy).returncode == 0
    assert render("--root", copy, "--check").returncode == 0
    document.write_text(document.read_text().replace("6,595", "9,999"))
    done = render("--root", copy, "--check")
    assert done.returncode == 1
    assert "benchmarks.md is not current: run `python docs/render.py`" in done.stderr
    assert "9,999" in document.read_text()


def test_a_document_without_its_results_is_left_out_with_a_message(copy: Path) -> None:
    result, document = write_sample(copy, SAMPLE), copy / "docs" / "benchmarks.md"
    result.unlink()
    done = render("--root", copy)
    assert (done.returncode, document.exists()) == (0, False)
    assert f"left out {document}: {result} is absent" in done.stderr
    assert render("--root", copy, "--check").returncode == 0
    document.write_text("figures from nowhere")
    done = render("--root", copy, "--check")
    assert done.returncode == 1
    assert f"{document} is there, {result} is not" in done.stderr


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text("{"),
        lambda path: path.write_text(json.dumps({**SAMPLE, "fleet": {}})),
    ],
    ids=["not JSON", "a figure is missing"],
)
def test_results_that_cannot_be_used_are_an_error_not_a_gap(copy: Path, damage: Any) -> None:
    damage(write_sample(copy, SAMPLE))
    done = render("--root", copy)
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot render ")
    assert "benchmarks.md.jinja" in done.stderr
    assert not (copy / "docs" / "benchmarks.md").exists()
