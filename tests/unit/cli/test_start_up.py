"""Help is quick, loads no torch, and is there for every command."""

import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from fleet.cli.app import command_line

RunFleet = Callable[..., Any]


def command_tree(
    command: Any, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group below ``command``, with the words that call it."""
    yield words, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from command_tree(inner, (*words, name))


COMMANDS = dict(command_tree(typer.main.get_command(command_line())))


def test_help_takes_less_than_half_a_second_of_user_time_and_no_torch() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COV")}

    def user_seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "fleet", "--help"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "import time:" in done.stderr
        assert not re.search(r"\| +(torch|torchvision|pydantic|matplotlib)$", done.stderr, re.M)
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before

    assert min(user_seconds() for _ in range(3)) < 0.5


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(
    call_fleet: RunFleet, words: tuple[str, ...]
) -> None:
    command = COMMANDS[words]
    done = call_fleet(*words, "--help")
    assert done.returncode == 0
    assert "Usage:" in done.stdout
    if not hasattr(command, "commands"):
        assert not any("\n" in part for part in command.help.split("\n\n")), "it fills any width"
        assert f"Example: fleet {' '.join(words)}" in " ".join(done.stdout.split())
    for option in command.params:
        assert option.help or option.name == "help", f"{words}: {option.name} has no help"
    assert call_fleet(*words, "-h").stdout == done.stdout


def test_the_exit_codes_are_documented_and_the_version_is_shown(run_fleet: RunFleet) -> None:
    assert "130 interrupted" in " ".join(run_fleet("--help").stdout.split())
    assert re.fullmatch(r"fleet \d+\.\d+\.\d+\S*\n", run_fleet("--version").stdout)


def test_an_unexpected_failure_is_no_traceback_unless_asked_for(
    run_fleet: RunFleet, tmp_path: Any
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import fleet.rundir\n"
        "def broken(*_, **__): raise ZeroDivisionError('a defect')\n"
        "fleet.rundir.find_run = broken\n"
    )
    done = run_fleet("package", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "ZeroDivisionError: a defect" in done.stderr
    assert "Traceback" not in done.stderr
    asked = run_fleet("package", PYTHONPATH=str(tmp_path), FLEET_DEBUG="1")
    assert "Traceback" in asked.stderr


def test_a_traceback_changes_no_exit_code(run_fleet: RunFleet) -> None:
    plain = run_fleet("inspect", "absent.fleet")
    asked = run_fleet("-v", "inspect", "absent.fleet")
    assert "Traceback" in asked.stderr
    assert asked.stderr.endswith(plain.stderr)  # the same words follow it
    assert asked.returncode == plain.returncode == 2  # 1 would be the answer of a check


RESNET = """\
version: 1
name: small
data: {{dataset: mnist, root: {root}, validation: 100, train_limit: 200}}
devices:
  - name: a
    encoding: {{alpha: 4, beta: 16}}
    model: {{architecture: resnet18}}
"""


@pytest.mark.parametrize(
    ("module", "failure", "words"),
    [
        ("torch", "ModuleNotFoundError('no', name='torch')", "interval-fleet[train]"),
        ("torchvision", "RuntimeError('operator torchvision::nms does not exist')", "nms"),
    ],
)
def test_a_missing_or_broken_torch_leads_to_the_doctor(
    run_fleet: RunFleet, tmp_path: Path, mnist_root: Path, module: str, failure: str, words: str
) -> None:
    (tmp_path / module).mkdir()
    (tmp_path / module / "__init__.py").write_text(f"raise {failure}\n")
    profile = tmp_path / "p.yaml"
    profile.write_text(RESNET.format(root=mnist_root))
    command = ("train", "-p", profile, "--jobs", 1)
    done = run_fleet(*command, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert words in done.stderr
    assert "fleet doctor" in done.stderr
    assert "Traceback" not in done.stderr
