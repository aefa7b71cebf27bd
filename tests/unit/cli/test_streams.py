"""What happens to stdout and stderr changes no answer: readers leave, disks fill, streams close."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from fleet.errors import FleetWarning, warn
from unit.bundle import bundle_samples as samples

FLEET = [sys.executable, "-m", "fleet"]
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A good bundle and a damaged one, by the exit code that ``verify`` gives them."""
    folder = tmp_path_factory.mktemp("bundles")
    good = samples.tiny_bundle()
    damaged = bytearray(good)
    damaged[-2000] ^= 1
    paths = {"0": folder / "good.fleet", "1": folder / "bad.fleet"}
    paths["0"].write_bytes(good)
    paths["1"].write_bytes(damaged)
    return paths


def gone() -> IO[bytes]:
    """A pipe whose reader has left."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "wb")


def full() -> IO[bytes]:
    return Path("/dev/full").open("wb")


@pytest.mark.parametrize("code", ["0", "1"])
@pytest.mark.parametrize("state", ["gone", "closed", pytest.param("full", marks=FULL)])
def test_a_lost_stderr_changes_nothing(bundles: dict[str, Path], code: str, state: str) -> None:
    words = [*FLEET, "verify", str(bundles[code]), "--format", "json"]
    if state == "closed":
        words = ["bash", "-c", 'exec "$@" 2>&-', "bash", *words]
        done = subprocess.run(words, stdout=subprocess.PIPE, check=False)
    else:
        with gone() if state == "gone" else full() as stream:
            done = subprocess.run(words, stdout=subprocess.PIPE, stderr=stream, check=False)
    assert done.returncode == int(code)
    assert json.loads(done.stdout)["ok"] is (code == "0")


@pytest.mark.parametrize("code", ["0", "1"])
@pytest.mark.parametrize("state", ["gone", "closed"])
def test_a_reader_of_stdout_that_has_left_changes_no_exit_code(
    bundles: dict[str, Path], code: str, state: str
) -> None:
    words = [*FLEET, "verify", str(bundles[code])]
    if state == "closed":
        words = ["bash", "-c", 'exec "$@" >&-', "bash", *words]
    with gone() as stream:
        done = subprocess.run(words, stdout=stream, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == int(code)
    assert ("next: fleet predict" if code == "0" else "1 of 1 bundle failed") in done.stderr
    assert "Error" not in done.stderr


@FULL
@pytest.mark.parametrize(
    "command",
    [
        ["verify", "BUNDLE"],  # plain lines
        ["verify", "BUNDLE", "--format", "json"],
        ["profiles", "schema", "--format", "markdown"],
        ["doctor", "--help"],  # written by typer through rich
    ],
    ids=" ".join,
)
def test_data_that_a_full_disk_loses_are_an_error(
    bundles: dict[str, Path], command: list[str]
) -> None:
    words = [str(bundles["0"]) if word == "BUNDLE" else word for word in command]
    with full() as stream:
        done = subprocess.run(
            [*FLEET, *words], stdout=stream, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot write standard output: No space left on device\n")
    assert "free some disk space" in done.stderr


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_what_an_encoding_lacks_is_escaped(tmp_path: Path, encoding: str) -> None:
    """Names on disk need not be text in any encoding; JSON stays JSON."""
    place = tmp_path / os.fsdecode(b"caf\xe9 \xff") / "β😀"
    place.mkdir(parents=True)
    bundle = place / "a.fleet"
    bundle.write_bytes(samples.tiny_bundle())
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    for form in ("json", "auto"):
        words = [*FLEET, "verify", bundle, "--format", form]
        done = subprocess.run(words, env=environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        text = done.stdout.decode(encoding)
        if form == "json":
            assert json.loads(text)["bundles"][0]["path"] == str(bundle)
        assert ("β" in text) == (encoding == "utf-8")
        assert b"next: fleet predict" in done.stderr


def test_what_the_library_warns_of_is_a_note_on_stderr(run_fleet: object, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import fleet.provenance\n"
        "from fleet.errors import warn\n"
        "def version(): warn('a [b] c'); return '0'\n"
        "fleet.provenance.fleet_version = version\n"
    )
    done = run_fleet("--version", PYTHONPATH=f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")  # type: ignore[operator]
    assert (done.returncode, done.stdout, done.stderr) == (0, "fleet 0\n", "note: a [b] c\n")
    with pytest.warns(FleetWarning, match="as it is"):
        warn("as it is")
