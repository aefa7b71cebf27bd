"""Names are printed as they are, and numbers are those that count, whatever the command."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import typer
from rich.console import Console
from rich.table import Table
from typer.testing import CliRunner, Result

from fleet.cli.audit import commands
from fleet.cli.bundle import package, verify
from fleet.cli.output import Format, Output
from fleet.cli.predict import predict
from fleet.cli.profiles import app as profiles_app
from fleet.cli.progress import FamilyProgress
from fleet.cli.train import train
from fleet.execution.jobs import Progress
from fleet.files import write_json
from unit.bundle import bundle_samples as samples

HOSTILE = ["runs [old]", "a[/]b", "[bold red]x", ":bug:", "[link=http://x]y", "a [b", "\\[c]"]


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    found = typer.Typer()
    for command in (package, verify, predict, train):
        found.command()(command)
    found.add_typer(commands(), name="audit")
    found.add_typer(profiles_app, name="profiles")
    return found


def call(app: typer.Typer, *arguments: object) -> Result:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def flat(text: str) -> str:
    """Text without line breaks and without the spaces that tables put there."""
    return "".join(text.split())


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("form", [Format.auto, Format.human])
def test_everything_that_is_printed_is_printed_as_it_is(
    name: str, form: Format, capsys: pytest.CaptureFixture[str]
) -> None:
    output = Output(form)
    table = Table(title=name, caption=name)
    table.add_column(name)
    table.add_row(name)
    output.data(table, None)
    output.data(name, None)
    output.note(name)
    output.next_command(name)
    shown = capsys.readouterr()
    assert flat(shown.out).count(flat(name)) == 5
    assert flat(shown.err).count(flat(name)) == 2


@pytest.mark.parametrize("name", HOSTILE)
def test_progress_bars_print_names_as_they_are(name: str) -> None:
    console = Console(record=True, force_terminal=True, width=100, quiet=False)
    with console.capture() as shown, FamilyProgress(console) as progress:
        progress.update(Progress(name, 1, 1, name))
    assert name in shown.get()


@pytest.mark.parametrize("name", HOSTILE[:3])
def test_commands_print_paths_as_they_are_and_next_commands_can_be_typed(
    app: typer.Typer, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mnist_root: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    place = name.replace("/", "")
    run = samples.finished_run(Path(place) / "20261122-213100-demo", "cam-01")
    packaged = call(app, "package", run.root, "--out", Path(place) / "out")
    assert flat(f"bundles in {place}/out") in flat(packaged.stdout)
    (line,) = [line for line in packaged.stderr.splitlines() if line.startswith("next: ")]
    words = shlex.split(line.removeprefix("next: "))
    assert words == ["fleet", "verify", f"{place}/out"]
    verified = call(app, *words[1:])
    assert verified.exit_code == 0
    assert f"{place}/out/cam-01-2026.11.22.fleet: verified" in verified.stdout
    profile = Path(place) / "p.yaml"
    made = call(app, "profiles", "new", profile, "--root", mnist_root)
    assert f"wrote {profile}: 4 devices" in made.stderr
    planned = call(app, "train", "-p", profile, "--runs", Path(place), "--dry-run")
    assert flat(f"new run {place}/") in flat(planned.stdout)


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("whitebox", ()),
        ("transfer", ()),
        ("coalition", ()),
        ("query", ()),
        ("trace", ("--calibration", 13)),
    ],
)
@pytest.mark.parametrize(("split", "images"), [("test", 30), ("validation", 20)])
def test_an_audit_announces_the_images_that_there_are(
    app: typer.Typer,
    command: str,
    more: tuple[str, ...],
    split: str,
    images: int,
    tmp_path: Path,
) -> None:
    run = samples.finished_run(tmp_path / "run", "a", "b")
    record = json.loads(run.dataset.read_text())
    write_json(run.dataset, {**record, "test": 30, "validation": 20})
    dry = ("audit", command, run.root, "--dry-run", "--format", "json", "--split", split)
    done = call(app, *dry, "--images", 100_000, *more)
    if command == "trace" and split == "validation":
        images = 20 - 13  # the calibration takes its own
    assert f" {images} {split} images" in done.stderr
    assert json.loads(done.stdout)["images"] == images
    few = call(app, *dry, "--images", 7, *more)
    assert f" 7 {split} images" in few.stderr
    assert json.loads(few.stdout)["images"] == 7
