"""``fleet demo``: a fleet on MNIST trained, certified, attacked, packaged and verified."""

import json
import os
import re
import shlex
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from fleet.cli import options
from fleet.cli.output import Output
from fleet.errors import ProfileError
from fleet.execution import kept_workers
from fleet.files import write_text
from fleet.rundir import find_run

CHECKOUT = Path("examples/data")
"""Where a checkout of the project keeps MNIST."""

_LESS = {
    "  validation: 5000": "  train_limit: 2000\n  test_limit: 300\n  validation: 500",
    "    epochs: 3": "    epochs: 1",
    "    batch_size: 128": "    batch_size: 32",
}
"""Lines of the profile, and what ``--quick`` makes of them."""


def demo(
    profile: Annotated[
        Path | None,
        typer.Option(
            "--profile", "--profiles", "-p", help="Another fleet; by default demo.yaml is written."
        ),
    ] = None,
    data_root: Annotated[
        Path | None,
        typer.Option(
            "--data-root",
            metavar="DIR",
            help="Holds MNIST/raw; by default examples/data of a checkout, else the user's cache, "
            "into which MNIST is fetched.",
        ),
    ] = None,
    runs: options.Runs = Path("runs"),
    jobs: options.Jobs = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Few images: shows how it works, with figures to ignore."),
    ] = False,
    dry_run: options.DryRun = False,
) -> None:
    """Train, certify, attack, package and verify four certified devices on MNIST.

    Minutes on two cores; with --quick less than one. Each step is a command that you can type.

    Example: fleet demo --quick
    """
    output = Output()
    if profile is None:
        profile = Path("quick-demo.yaml" if quick else "demo.yaml")
        text = _profile(data_root or _found(), profile.parent, quick)
        if profile.exists() and _elsewhere(profile.read_text(encoding="utf-8")) != _elsewhere(text):
            raise ProfileError(
                f"{profile} exists and is another fleet",
                hint=f"name it with --profile {profile}, or move it away",
            )
        if not dry_run:
            write_text(profile, text)
            output.note(f"wrote {profile}")
    steps = _steps(profile, runs, jobs, quick)
    with kept_workers():
        for number, words in enumerate(steps, 1):
            output.note(f"step {number} of {len(steps)}: fleet {shlex.join(words)}")
            if not dry_run:
                _run(words)
    if not dry_run:
        output.note(f"report: {find_run(None, runs).audits / 'report.html'}")


def _steps(profile: Path, runs: Path, jobs: int | None, quick: bool) -> list[list[str]]:
    """The commands, without ``fleet``.

    One restart instead of three takes half the work. On one trained demo (150 validation images,
    eps 0.1) the adaptive attacks evade 244 times instead of 248 over all 36 pairs, each shipped
    device as often; the paper's evade 179 times instead of 182.
    """
    there = [] if runs == Path("runs") else ["--runs", str(runs)]
    spent = [*there, *([] if jobs is None else ["--jobs", str(jobs)])]
    less = ["--preset", "quick"]
    proven = less if quick else ["--radii", "100"]
    attacked = ["--images", "20", *less] if quick else ["--images", "150", "--restarts", "1"]
    return [
        ["train", "--profiles", str(profile), *spent],
        ["audit", "certify", "--eps", "0.1", *proven, *spent],
        ["audit", "transfer", "--eps", "0.1", *attacked, *spent],
        ["package", *there],
        ["verify", *there],
        ["report", "--brief", *there],
    ]


def _run(words: list[str]) -> None:
    from fleet.cli.app import command_line

    code = command_line(words[0])(words, prog_name="fleet", standalone_mode=False)
    if code:
        raise typer.Exit(code)


def _profile(data: Path, place: Path, quick: bool) -> str:
    """The profile of the project's own demo, with the data's place written in."""
    text = resources.files("fleet.profiles").joinpath("templates/demo.yaml").read_text("utf-8")
    root = os.path.relpath(data.absolute(), place.absolute()) if data == CHECKOUT else data
    text = _elsewhere(text, f"  root: {json.dumps(str(root), ensure_ascii=False)}")
    for line, replaced in _LESS.items() if quick else ():
        text = text.replace(line, replaced)
    return text


def _elsewhere(text: str, line: str = "") -> str:
    """Replace the line that says where the data lie."""
    return re.sub(r"(?m)^  root: .*$", lambda _: line, text)


def _found() -> Path:
    """Where MNIST lies, or is to be fetched to."""
    source = Path(__file__).resolve().parents[2] / CHECKOUT
    for place in (CHECKOUT, source):
        if (place / "MNIST" / "raw").is_dir():
            return place
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "fleet"
