"""Every wrong input: one clear message, exit code 2, nothing half-written."""

import gzip
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RunFleet = Callable[..., Any]

SMALL = """\
version: 1
name: small
data: {{dataset: {dataset}, root: {root}, validation: 100, train_limit: 200}}
devices:
  - name: a
    encoding: {{alpha: {alpha}, beta: 16}}
    model: {{width: 0.25}}
    training: {{epochs: 1, batch_size: 64}}
"""


def write_profile(
    place: Path, root: Path, *, dataset: str = "mnist", alpha: str = "4", name: str = "p.yaml"
) -> Path:
    path = place / name
    path.write_text(SMALL.format(dataset=dataset, root=root, alpha=alpha))
    return path


def assert_refused(done: Any, *words: str) -> None:
    """One error, a hint, code 2, no traceback, nothing on stdout."""
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr, done.stderr


def test_a_profile_that_is_not_there(run_fleet: RunFleet, tmp_path: Path) -> None:
    assert_refused(run_fleet("train", "-p", "nope.yaml", cwd=tmp_path), "nope.yaml")


def test_a_wrong_profile_names_line_and_column(
    call_fleet: RunFleet, tmp_path: Path, mnist_root: Path
) -> None:
    path = write_profile(tmp_path, mnist_root, alpha="-4")
    done = call_fleet("train", "-p", path, cwd=tmp_path)
    assert_refused(done, "p.yaml:6:", "alpha")
    assert [p.name for p in tmp_path.iterdir()] == ["p.yaml"]


def test_missing_and_damaged_data(call_fleet: RunFleet, tmp_path: Path, mnist_root: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    damaged = tmp_path / "damaged"
    shutil.copytree(mnist_root / "MNIST", damaged / "MNIST")
    packed = damaged / "MNIST/raw/train-images-idx3-ubyte.gz"
    packed.chmod(0o644)
    packed.write_bytes(packed.read_bytes()[:100_000])
    path = write_profile(tmp_path, damaged)
    assert_refused(call_fleet("train", "-p", path, cwd=tmp_path), "train-images-idx3-ubyte.gz")
    packed.write_bytes(gzip.compress(b"not idx at all"))
    assert_refused(call_fleet("train", "-p", path, cwd=tmp_path), "train-images-idx3-ubyte.gz")
    path = write_profile(tmp_path, empty, dataset="cifar10")
    assert_refused(call_fleet("train", "-p", path, cwd=tmp_path), "hint:")
    assert not (tmp_path / "runs").exists()


def test_runs_that_do_not_exist(call_fleet: RunFleet, tmp_path: Path) -> None:
    for command in (("audit", "transfer"), ("package",), ("report",), ("verify",)):
        assert_refused(call_fleet(*command, cwd=tmp_path), "fleet demo")
    assert_refused(call_fleet("package", "nope", cwd=tmp_path), "no run at nope")
    assert_refused(call_fleet("train", "--resume", "must", "-p", "x.yaml", cwd=tmp_path), "x.yaml")


def test_an_unwritable_place(call_fleet: RunFleet, tmp_path: Path, mnist_root: Path) -> None:
    (tmp_path / "runs").write_text("a file in the way")
    path = write_profile(tmp_path, mnist_root)
    assert_refused(call_fleet("train", "-p", path, cwd=tmp_path), "cannot write", "hint:")
    assert (tmp_path / "runs").read_text() == "a file in the way"


def test_a_full_disk_while_training(
    call_fleet: RunFleet, tmp_path: Path, mnist_root: Path, small_disk: Path
) -> None:
    # One MiB holds no checkpoint of this network with its optimiser.
    path = write_profile(tmp_path, mnist_root)
    words = ("train", "-p", path, "--run", small_disk / "run", "--jobs", 1)
    done = call_fleet(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "No space left" in done.stderr
    assert "free some disk space" in done.stderr
    left = [p for p in (small_disk / "run" / "devices").rglob("*") if p.is_file()]
    assert not [p for p in left if p.suffix in (".tmp", ".safetensors")]


@pytest.mark.parametrize("eps", ["0", "1.5", "-0.1", "8/0", "nan", "abc"])
def test_an_eps_out_of_range(
    call_fleet: RunFleet, tmp_path: Path, eps: str, workplace: Path
) -> None:
    done = call_fleet("audit", "transfer", f"--eps={eps}", cwd=workplace)
    assert_refused(done)


def test_bundles_that_are_none(call_fleet: RunFleet, tmp_path: Path) -> None:
    assert_refused(call_fleet("verify", tmp_path / "nope.fleet"), "nope.fleet")
    assert_refused(call_fleet("verify", tmp_path), "no bundles in")
    (tmp_path / "image.png").write_bytes(b"not an image")
    (tmp_path / "x.fleet").write_bytes(b"not a bundle")
    assert_refused(call_fleet("predict", tmp_path / "x.fleet", tmp_path / "image.png"))
    assert call_fleet("verify", tmp_path / "x.fleet").returncode == 1


def test_an_image_that_cannot_be_read(
    call_fleet: RunFleet, tmp_path: Path, workplace: Path
) -> None:
    assert call_fleet("package", "--out", tmp_path / "d", cwd=workplace).returncode == 0
    bundle = next((tmp_path / "d").glob("door-*.fleet"))
    (tmp_path / "image.png").write_bytes(b"not an image")
    done = call_fleet("predict", bundle, tmp_path / "image.png")
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: cannot read the image" in done.stderr
    assert "image.png" in done.stderr
    assert_refused(call_fleet("predict", bundle, tmp_path / "absent.png"), "absent.png")


def test_a_typo_in_a_command_is_met_with_a_suggestion(run_fleet: RunFleet) -> None:
    done = run_fleet("trian")
    assert_refused(done)
    assert "train" in done.stderr


def test_a_changed_profile_is_refused_by_naming_the_field(
    call_fleet: RunFleet, tmp_path: Path, mnist_root: Path, workplace: Path
) -> None:
    source = next((workplace / "runs").iterdir())
    run = tmp_path / "runs" / "20260101-000000-small"
    shutil.copytree(source, run)
    path = write_profile(tmp_path, mnist_root)
    done = call_fleet("train", "-p", path, "--run", run, cwd=tmp_path)
    assert_refused(done, "the profile changed since", "devices[door]: removed", "--resume never")


def test_an_interrupt_says_what_is_kept_and_the_rerun_goes_on(
    call_fleet: RunFleet, tmp_path: Path, mnist_root: Path
) -> None:
    path = write_profile(tmp_path, mnist_root)
    path.write_text(path.read_text().replace("epochs: 1", "epochs: 2000"))
    process = subprocess.Popen(
        # A shell's background job has SIGINT ignored, and whatever it starts inherits that.
        ["env", "--default-signal=INT", sys.executable, "-m", "fleet", "train", "-p", str(path)],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 90
        while not list(tmp_path.glob("runs/*/devices/a/checkpoint.safetensors")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == 130, stderr
    assert "finished work is kept" in stderr
    assert "Traceback" not in stderr
    assert stdout == ""
    done = call_fleet("train", "-p", path, "--resume", "must", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"a\s+│\s+resume", done.stdout)
