"""The images of a run stay those that it was begun with, wherever they lie."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from fleet import assembly
from fleet.assembly import load_images, run_images
from fleet.audit.coalition.run import reach_of_device, try_devices
from fleet.audit.coalition.trials import Coalition, CoalitionSettings
from fleet.audit.core.jobs import AuditJob
from fleet.audit.core.members import TransferSettings
from fleet.audit.trace.evidence import TraceSettings
from fleet.audit.trace.run import _Plan, trace_source
from fleet.audit.transfer.audit import audit_run_transfer
from fleet.bundle.package import package_run
from fleet.data import load_data
from fleet.data.dataset import StreamedImages
from fleet.encoding import IntervalEncoding
from fleet.errors import CheckpointError, DataError
from fleet.execution import Progress, Serial
from fleet.paper.table import count_clean
from fleet.profiles.spec import DataSpec, DeviceSpec, FamilySpec, read_family
from fleet.rundata import move_images
from fleet.rundir import RunDirectory
from fleet.training import fit
from fleet.training.family import FamilyResult, train_family
from fleet.vocabulary import ModelSpec, TrainingSpec

SETTINGS = TransferSettings(eps=(0.1,), steps=1, restarts=1)


def pictures(root: Path) -> Path:
    """Bright and dark noise, 24 pictures a class to train on and 6 to test."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 24), ("test", 6)):
        for name, low in (("cat", 0), ("dog", 128)):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(low, low + 127, (16, 16), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return root


def family(root: Path, *names: str) -> FamilySpec:
    data = DataSpec("folder", root, 2, 1, 16, 8, None, 0)
    training = TrainingSpec(epochs=2, batch_size=8)
    model = ModelSpec(head="linear", width=0.25)
    encoding = IntervalEncoding(2, 4.0, 16.0)
    devices = tuple(DeviceSpec(n, "int", encoding, model, training) for n in names or ("a", "b"))
    return FamilySpec("pets", data, devices)


def train(spec: FamilySpec, run: Path, **more: Any) -> FamilyResult:
    return train_family(spec, run=run, **{"executor": Serial(), "check": False, **more})


def audit(run: RunDirectory) -> None:
    audit_run_transfer(run, SETTINGS, images=4, executor=Serial())


def package(run: RunDirectory) -> None:
    package_run(run, "1")


def content(run: RunDirectory) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in run.root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunDirectory]:
    place = tmp_path_factory.mktemp("pets")
    root = pictures(place / "images")
    return root, train(family(root), place / "run").run


@pytest.fixture
def place(trained: tuple[Path, RunDirectory], tmp_path: Path) -> tuple[Path, RunDirectory]:
    """A copy of the images and of the run that was trained on them."""
    root, run = trained
    shutil.copytree(root, tmp_path / "images")
    shutil.copytree(run.root, tmp_path / "run")
    moved = RunDirectory(tmp_path / "run")
    move_images(moved, tmp_path / "images")
    return tmp_path / "images", moved


def rename_class(root: Path) -> None:
    for part in ("train", "test"):
        (root / part / "cat").rename(root / part / "wolf")


def grow(root: Path) -> None:
    shutil.copy(root / "train/cat/00.png", root / "train/cat/99.png")


def swap_pixels(root: Path) -> None:
    shutil.copy(root / "train/dog/00.png", root / "train/cat/00.png")


def shrink_tests(root: Path) -> None:
    (root / "test/cat/00.png").unlink()


NAMES = ["a class renamed", "grown", "other pixels", "a test image less"]
CHANGES: list[tuple[Callable[[Path], None], str]] = [
    (rename_class, r"the classes changed \(without cat, with wolf\)"),
    (grow, "the training images changed"),
    (swap_pixels, "the training images changed"),
    (shrink_tests, "the test images changed"),
]


@pytest.mark.parametrize(
    ("change", "words"), CHANGES, ids=lambda value: getattr(value, "__name__", "")
)
def test_other_images_are_refused_before_anything_is_written(
    place: tuple[Path, RunDirectory], change: Callable[[Path], None], words: str
) -> None:
    root, run = place
    change(root)
    before = content(run)
    for command in (
        partial(train, family(root), run.root),
        partial(audit, run),
        partial(package, run),
    ):
        with pytest.raises(DataError, match=words) as caught:
            command()
        assert str(root) in caught.value.message
        assert "--data-root" in str(caught.value.hint)
    assert content(run) == before


def jobs_of_audits(run: RunDirectory) -> Iterator[Callable[[], object]]:
    """The bodies of jobs that an audit starts after it compared the images."""
    quiet: dict[str, Any] = {"progress": lambda *_: None}
    job = AuditJob(run, "a", SETTINGS, 4, "test")
    colluding, tracing = CoalitionSettings(SETTINGS, held_out=2), TraceSettings((0.1,), steps=1)
    plan = _Plan(tracing, 2, 2, "test")
    coalition = Coalition(("a",), ("random",))
    yield partial(reach_of_device, job, digests={"a": ""}, settings=colluding, **quiet)
    yield partial(try_devices, job, coalition, {"a": ""}, settings=colluding, **quiet)
    yield partial(trace_source, job, plan=plan, **quiet)
    yield partial(count_clean, job, **quiet)


def test_images_that_change_during_an_audit_are_not_used(
    place: tuple[Path, RunDirectory],
) -> None:
    root, run = place
    swap_pixels(root)
    before = content(run)
    for body in jobs_of_audits(run):
        with pytest.raises(DataError, match="are not those of"):
            body()
    assert content(run) == before


def test_a_device_left_to_train_meets_the_same_images(
    place: tuple[Path, RunDirectory],
) -> None:
    root, run = place
    run.result("b").unlink()
    rename_class(root)
    with pytest.raises(DataError, match="the classes changed"):
        train(family(root), run.root)


def test_images_that_moved_are_those_of_the_run(place: tuple[Path, RunDirectory]) -> None:
    root, run = place
    weights = run.model("a").read_bytes()
    there = root.rename(root.parent / "elsewhere")
    with pytest.raises(DataError):
        audit(run)
    package(run)  # whose images are not there has nothing to compare
    move_images(run, there)
    audit(run)
    package(run)
    again = there.rename(root.parent / "again")
    train(family(again), run.root)  # a profile that names the new place does the same
    assert read_family(run).data.root == again
    audit(run)
    assert run.model("a").read_bytes() == weights


@pytest.mark.parametrize("change", [rename_class, None])
def test_a_run_is_not_moved_to_other_images(
    place: tuple[Path, RunDirectory], tmp_path: Path, change: Callable[[Path], None] | None
) -> None:
    _, run = place
    other = pictures(tmp_path / "other") if change else tmp_path / "nowhere"
    if change:
        change(other)
    before = content(run)
    with pytest.raises(DataError, match="classes changed" if change else "there is no folder data"):
        move_images(run, other)
    assert content(run) == before


PROFILE = """
version: 1
name: pets
data: {dataset: folder, root: images, classes: 2, channels: 1, image_size: 16, validation: 8}
defaults: {encoding: {alpha: 4, beta: 16}, model: {width: 0.25}, training: {epochs: 2}}
control: false
devices: [{name: a, training: {batch_size: 8}}]
"""


def test_every_command_finds_images_that_moved(
    call_fleet: Callable[..., Any], tmp_path: Path
) -> None:
    def fleet(*words: str | Path) -> Any:
        return call_fleet(*words, cwd=tmp_path)

    root = pictures(tmp_path / "images")
    (tmp_path / "p.yaml").write_text(PROFILE)
    train = ("train", "-p", "p.yaml", "--run", "runs/20261128-pets", "--jobs", "1")
    assert fleet(*train).returncode == 0
    there = root.rename(tmp_path / "there")
    run = RunDirectory(tmp_path / "runs/20261128-pets")
    before = content(run)
    audits = [
        ("whitebox", "--steps", "1", "--restarts", "1"),
        ("transfer", "--steps", "1", "--restarts", "1"),
        ("all",),
    ]
    for audit in audits:
        command = ("audit", *audit, "--images", "4", "--eps", "0.1", "--jobs", "1")
        assert fleet(*command).returncode == 2
    assert fleet("package", "--data-root", there, "--dry-run").returncode == 0
    assert fleet("audit", "whitebox", "--data-root", there, "--dry-run").returncode == 0
    assert content(run) == before, "a dry run remembers nothing"
    assert "nowhere" in fleet("package", "--data-root", tmp_path / "nowhere").stderr
    command = ("audit", *audits[0], "--images", "4", "--eps", "0.1", "--jobs", "1")
    assert fleet(*command, "--data-root", "there").returncode == 0
    assert fleet("package").returncode == 0, "the run remembers"
    again = there.rename(tmp_path / "again")
    assert fleet(*train).returncode == 2
    assert fleet(*train, "--data-root", "again").returncode == 0
    assert read_family(run).data.root == again
    rename_class(again)
    refused = fleet("package")
    assert (refused.returncode, "without cat, with wolf" in refused.stderr) == (2, True)


def test_a_run_without_a_record_of_its_images_says_so(place: tuple[Path, RunDirectory]) -> None:
    _, run = place
    run.dataset.write_text("{}")
    with pytest.raises(CheckpointError, match=r"dataset\.json is damaged"):
        run_images(run)


def test_a_run_of_before_knows_all_its_images_by_one_digest(
    place: tuple[Path, RunDirectory],
) -> None:
    root, run = place
    record = json.loads(run.dataset.read_text())
    del record["train_sha256"]
    run.dataset.write_text(json.dumps(record))
    run_images(run)
    shrink_tests(root)
    with pytest.raises(DataError, match=r"the images changed \(12 -> 11\)"):
        run_images(run)


def test_what_was_read_is_read_again_once_a_file_changes(tmp_path: Path) -> None:
    spec = family(pictures(tmp_path / "images")).data
    first = load_images(spec)
    assert load_images(spec) is first
    swap_pixels(spec.root)
    assert load_images(spec).provenance["sha256"] != first.provenance["sha256"]


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Images that are decoded whenever they are read, as more than 2 GiB are."""
    monkeypatch.setattr(assembly, "load_data", partial(load_data, memory_budget=0))
    monkeypatch.setattr(fit, "REPORT_STEPS", 1)
    return pictures(tmp_path / "images")


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_damaged_picture_is_met_before_the_first_step(
    streamed: Path, tmp_path: Path, part: str
) -> None:
    damage(streamed / part / "dog/03.png")
    steps: list[Progress] = []
    with pytest.raises(DataError, match=r"03\.png"):
        train(family(streamed), tmp_path / "run", executor=Serial(on_event=steps.append))
    assert not steps
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("mend", ["restored", "removed"])
def test_a_test_image_that_is_damaged_meanwhile_costs_no_training(
    streamed: Path, tmp_path: Path, mend: str
) -> None:
    spec = family(streamed, "a")
    unbroken = train(spec, tmp_path / "unbroken").run
    picture = streamed / "test/dog/03.png"
    whole = picture.read_bytes()

    def report(progress: Progress) -> None:
        if progress.done == progress.total:
            damage(picture)

    outcome = train(spec, tmp_path / "run", executor=Serial(on_event=report))
    assert isinstance(outcome.errors["a"], DataError)
    assert outcome.run.model("a").read_bytes() == unbroken.model("a").read_bytes()
    if mend == "restored":
        picture.write_bytes(whole)
    else:
        picture.unlink()
    steps: list[Progress] = []
    result = train(spec, tmp_path / "run", executor=Serial(on_event=steps.append)).results["a"]
    assert [step.done for step in steps] == [0], "announced, and nothing is trained again"
    assert result["test"]["n"] == (12 if mend == "restored" else 11)
    assert run_images(outcome.run).provenance["test"] == result["test"]["n"]
    assert outcome.run.model("a").read_bytes() == unbroken.model("a").read_bytes()


def test_no_more_images_are_held_at_a_time_than_the_batch_size_says(
    streamed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    read = StreamedImages.read

    def count(source: StreamedImages, indices: Tensor) -> Tensor:
        asked.append(len(indices))
        return read(source, indices)

    spec = family(streamed, "a")
    spec = replace(spec, data=replace(spec.data, validation=20))
    monkeypatch.setattr(StreamedImages, "read", count)
    outcome = train(spec, tmp_path / "run")
    assert not outcome.errors
    del asked[: asked.index(8)]  # what was read before the first step
    assert max(asked) == 8
    assert sum(asked) == 2 * 24 + 2 * 20 + 12  # two epochs, validated, and the test
