"""The README's commands, run as they stand there.

They run in a directory like a clone of the project, cut down to one epoch and a few images. ``RUN``
stands for the newest run. Lines of output that begin with ``wrote``, ``next:`` or ``report:`` must
be what the commands say, up to numbers and the run's name.
"""

import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from docs.markdown import Shown, blocks, shown_commands

RunLine = Callable[[str], "subprocess.CompletedProcess[str]"]
README = Path(__file__).resolve().parents[2] / "README.md"
LAST_LINES = ("wrote ", "next: ", "report: ")


def console_block(command: str) -> list[Shown]:
    """The first console block of the README with a command that begins with these words."""
    for block in blocks(README.read_text(encoding="utf-8"), "console"):
        shown = shown_commands(block)
        if any(one.command.startswith(command) for one in shown):
            return shown
    pytest.fail(f"README.md has no console block with `$ {command}`")


def form(line: str) -> str:
    """A line without what differs from run to run."""
    named = re.sub(r"\bruns/(\d{8}-\d{6}[\w-]*|RUN)", "runs/RUN", line.strip())
    return re.sub(r"\d+([.,]\d+)*", "N", named)


def last_lines(output: Iterable[str]) -> set[str]:
    return {form(line) for line in output if line.strip().startswith(LAST_LINES)}


def cut_down(profile: Path) -> None:
    """One epoch, the narrowest network, few images, and nothing beside the devices."""
    left_out = ("width:", "twin:", "validation:")
    lines = [s for s in profile.read_text().splitlines() if not s.strip().startswith(left_out)]
    lines.append("control: false")
    text = "\n".join(lines)
    text, epochs = re.subn(r"epochs: \d+", "epochs: 1", text)
    text, widths = re.subn(r"( +)architecture: c?nn\b.*", r"\g<0>\n\1width: 0.0625", text)
    text, images = re.subn(r"( +)dataset: mnist\b.*", r"\g<0>\n\1validation: 500", text)
    assert (epochs, widths, images) == (1, 1, 1), f"{profile} does not look as this test expects"
    profile.write_text(text + "\n")


def run_here(line: str, place: Path, run_line: RunLine) -> list[str]:
    """Run a command, with the profile that it names cut down; gives its output."""
    if train := re.search(r"fleet (?:train|demo)(?: --profiles? (\S+))?", line):
        cut_down(place / (train[1] or "profiles/devices.yaml"))
    runs = sorted((place / "runs").glob("*"))
    done = run_line(line.replace("runs/RUN", f"runs/{runs[-1].name}") if runs else line)
    gated = done.returncode == 1 and "\ngate: " in done.stdout
    assert done.returncode == 0 or gated, f"$ {line}\n{done.stdout}"
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def demo(project: Path, place: Path, run_line: RunLine) -> set[str]:
    """What `make demo` runs after the installation, run here; the last lines of its output."""
    listed = subprocess.run(
        ["make", "-n", "demo"], cwd=project, capture_output=True, text=True, check=True
    )
    body = re.findall(r"^(?:\.venv/bin/(python -m fleet .*)|(echo .*))$", listed.stdout, re.M)
    assert len(body) >= 3
    return {
        line
        for fleet, echo in body
        for line in last_lines(run_here(fleet or echo, place, run_line))
    }


def test_make_demo_does_and_says_what_the_readme_shows(demo: set[str], place: Path) -> None:
    (shown,) = console_block("make demo")
    expected = last_lines(shown.output)
    assert "report: runs/RUN/audits/report.html" in expected
    assert expected <= demo
    assert len(list(place.glob("runs/*/bundles/*.fleet"))) == 4


def test_the_commands_of_the_readme_run_as_they_stand_there(
    demo: set[str], place: Path, run_line: RunLine
) -> None:
    shown = console_block("fleet train")
    words = " ".join(one.command for one in shown)
    for command in ("train", "audit transfer", "package", "verify", "predict"):
        assert f"fleet {command}" in words
    for one in shown:
        output = run_here(one.command, place, run_line)
        assert last_lines(one.output) <= last_lines(output), "\n".join(output)


def test_the_python_of_the_readme_runs(demo: set[str], place: Path) -> None:
    code = "\n".join(blocks(README.read_text(encoding="utf-8"), "python"))
    assert "import fleet" in code
    # From stdin, as in a console: worker processes find no main file to import again.
    done = subprocess.run(
        [sys.executable, "-"], cwd=place, input=code, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
