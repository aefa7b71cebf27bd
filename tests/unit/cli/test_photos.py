"""The first hour of a user with a folder of photos of their own."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fleet.cli.train import weak_devices
from fleet.data import load_data
from fleet.data.folder import read_folder
from fleet.data.survey import survey_folder
from fleet.encoding.orders import zigzag_orders
from fleet.errors import DataError, FleetWarning
from fleet.execution import Serial
from fleet.profiles import load_profile
from fleet.training.family import train_family

Fleet = Callable[..., Any]
CLASSES = ("ant", "bee", "cat")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """180 photos of 40 x 32 pixels, in three classes, 48 + 12 each."""
    for part, count in (("train", 48), ("test", 12)):
        for label, name in enumerate(CLASSES):
            folder = tmp_path / "photos" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                colour = (60 * label + i, 255 - 60 * label, 3 * i)
                Image.new("RGB", (40, 32), colour).save(folder / f"{i:02d}.png")
    return tmp_path


def new(call_fleet: Fleet, home: Path, *more: str) -> Any:
    words = ("profiles", "new", "cams.yaml", "--dataset", "folder", "--root", "photos", *more)
    return call_fleet(*words, cwd=home)


def test_new_looks_into_the_photos_and_check_accepts_what_it_wrote(
    home: Path, call_fleet: Fleet
) -> None:
    done = new(call_fleet, home)
    assert done.returncode == 0, done.stderr
    assert "found 3 classes in photos: 144 images for training and 36 for test" in done.stderr
    family = load_profile(home / "cams.yaml")
    data = family.data
    assert (data.num_classes, data.channels, data.image_size) == (3, 3, 32)
    assert 10 <= data.validation <= 36
    left = 144 - data.validation
    assert {(d.model.architecture, d.model.width) for d in family.trained} == {("cnn", 0.5)}
    for device in family.devices:
        assert left // device.training.batch_size >= 8
        assert left // device.training.batch_size * device.training.epochs >= 400
        assert device.model.head == "softmax"
        assert device.drawn == ()
    first = family.devices[0].encoding
    assert first is not None
    assert (first.alpha, first.beta, first.order) == (4, 16, zigzag_orders(3)[0])
    assert not list(home.glob("*.secret"))
    check = call_fleet("profiles", "check", "cams.yaml", "--format", "json", cwd=home)
    assert check.returncode == 0, check.stderr
    told = json.loads(check.stdout)
    assert [entry["name"] for entry in told["classes"]] == list(CLASSES)
    assert [entry["train"] + entry["validation"] for entry in told["classes"]] == [48] * 3
    assert [entry["test"] for entry in told["classes"]] == [12] * 3
    assert set(told["steps"].values()) == {left // family.devices[0].training.batch_size}
    assert told["minutes"] > 0
    assert "steps an epoch; roughly: " in check.stderr
    human = call_fleet("profiles", "check", "cams.yaml", cwd=home).stdout
    rows = [line.split() for line in human.splitlines()]
    assert ["│", "all", "│", str(left), "│", str(data.validation), "│", "36", "│"] in rows


@pytest.fixture
def unsplit(tmp_path: Path) -> Path:
    """180 photos of 20 x 16 pixels in three classes, without train and test."""
    for label, name in enumerate(CLASSES):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for i in range(60):
            colour = (60 * label + i, 255 - 60 * label, 3 * i)
            Image.new("RGB", (20, 16), colour).save(folder / f"IMG_{100 * label + i}.png")
    return tmp_path


def test_photos_without_train_and_test_are_split_by_their_names(
    unsplit: Path, call_fleet: Fleet
) -> None:
    done = new(call_fleet, unsplit)
    assert done.returncode == 0, done.stderr
    assert "144 images for training and 36 for test" in done.stderr
    assert "of each class 1 photo of 5 is kept for test" in done.stderr
    first = read_folder(unsplit / "photos")
    assert [int((first.test.labels == label).sum()) for label in range(3)] == [12, 12, 12]
    assert not set(first.train.pictures) & set(first.test.pictures)
    (unsplit / "photos").rename(unsplit / "moved")
    again = read_folder(unsplit / "moved")
    names = [[Path(path).name for path in found.test.pictures] for found in (first, again)]
    assert names[0] == names[1]
    rare = unsplit / "moved" / "dog"
    rare.mkdir()
    Image.new("RGB", (20, 16)).save(rare / "only.png")
    with pytest.raises(DataError, match="dog holds one picture, which cannot be split"):
        read_folder(unsplit / "moved")
    assert survey_folder(unsplit / "moved").stray == ("dog (fewer than 2 pictures)",)


def test_train_without_test_says_both_ways_out(unsplit: Path, call_fleet: Fleet) -> None:
    (unsplit / "photos").rename(unsplit / "train")
    (unsplit / "photos").mkdir()
    (unsplit / "train").rename(unsplit / "photos" / "train")
    done = new(call_fleet, unsplit)
    assert done.returncode == 2
    assert "no test images" in done.stderr
    assert "move the classes from `train` to photos itself" in done.stderr


def test_each_next_command_leads_on_from_photos_to_a_decision(
    unsplit: Path, call_fleet: Fleet, light_probes: Callable[..., Any]
) -> None:
    """Nothing is typed but what the last command said and a photo; the training is cut short."""
    words = ["profiles", "new", "cams.yaml", "--dataset", "folder", "--root", "photos"]
    words += ["--devices", "1"]
    obeyed, photo = [], sorted((unsplit / "photos" / "bee").iterdir())[0]
    while words:
        if words[-1] == "IMAGE...":
            words[-1] = str(photo)
        if words[0] == "audit":
            words += ["--preset", "quick", "--images", "12", "--jobs", "1"]
        more = ["--jobs", "1"] if words[0] == "train" else []
        with light_probes():
            done = call_fleet(*words, *more, cwd=unsplit)
        assert done.returncode == 0, done.stderr
        if words[:2] == ["profiles", "new"]:
            profile = unsplit / "cams.yaml"
            profile.write_text(re.sub(r"epochs: \d+", "epochs: 2", profile.read_text()))
        obeyed.append(" ".join(words[: 2 if words[0] in {"profiles", "audit"} else 1]))
        said = [line for line in done.stderr.splitlines() if line.startswith("next: fleet ")]
        words = shlex.split(said[-1].removeprefix("next: fleet ")) if said else []
    assert obeyed == [
        "profiles new",
        "profiles check",
        "train",
        "audit transfer",
        "package",
        "verify",
        "predict",
    ]
    assert any(name in done.stdout.split() for name in (*CLASSES, "None"))
    (bundle,) = unsplit.glob("runs/*/bundles/*.fleet")
    for step in ("report", "package"):  # what a trained and audited run lacks, with bundles or not
        for words in (["train", "--profiles", "cams.yaml"], ["audit", "certify", "--radii", "1"]):
            again = call_fleet(*words, "--jobs", "1", cwd=unsplit)
            assert f"next: fleet {step} runs/" in again.stderr, again.stderr
        bundle.unlink(missing_ok=True)


def test_new_tells_grey_photos_from_colour(home: Path, call_fleet: Fleet) -> None:
    for path in (home / "photos").rglob("*.png"):
        Image.open(path).convert("L").save(path)
    assert "grey" in new(call_fleet, home).stderr
    assert load_profile(home / "cams.yaml").data.channels == 1


def test_check_finds_photos_that_moved_where_it_is_told(home: Path, call_fleet: Fleet) -> None:
    new(call_fleet, home)
    (home / "photos").rename(home / "moved")
    words = ("profiles", "check", "cams.yaml", "--data-root")
    assert call_fleet(*words[:3], cwd=home).returncode == 1
    done = call_fleet(*words, "moved", cwd=home)
    assert done.returncode == 0, done.stderr
    assert re.search(r"all +│ +122 ", done.stdout)
    assert "next: fleet train --profiles cams.yaml --data-root moved" in done.stderr
    absent = call_fleet(*words, "gone", cwd=home)
    assert (absent.returncode, absent.stdout) == (1, "")
    assert "--data-root is not a directory: 'gone'" in absent.stderr


def test_stray_class_folders_are_named_with_where_they_lie(home: Path, call_fleet: Fleet) -> None:
    (home / "photos" / "train" / "dog").mkdir()
    (home / "photos" / "test" / "unsorted").mkdir()
    done = new(call_fleet, home)
    assert load_profile(home / "cams.yaml").data.num_classes == 3
    check = call_fleet("profiles", "check", "cams.yaml", cwd=home)
    assert (check.returncode, check.stdout) == (1, "")
    for told in (done.stderr, check.stderr):
        assert "dog (only in train)" in told
        assert "unsorted (only in test)" in told


def test_new_without_photos_says_where_they_should_lie(home: Path, call_fleet: Fleet) -> None:
    (home / "photos").rename(home / "elsewhere")
    done = new(call_fleet, home)
    assert done.returncode == 2
    assert not (home / "cams.yaml").exists()
    (home / "photos" / "train").mkdir(parents=True)
    (home / "photos" / "test").mkdir()
    assert "ROOT/train/CLASS/" in new(call_fleet, home).stderr


def test_every_broken_image_is_named_and_left_out_when_asked(home: Path, call_fleet: Fleet) -> None:
    new(call_fleet, home)
    broken = [home / "photos" / part / "bee" / "07.png" for part in ("train", "test")]
    broken.append(home / "photos" / "train" / "cat" / "11.png")
    for path in broken:
        path.write_bytes(path.read_bytes()[:60])
    check = call_fleet("profiles", "check", "cams.yaml", cwd=home)
    train = call_fleet("train", "--profiles", "cams.yaml", cwd=home)
    assert (check.returncode, train.returncode) == (1, 2)
    for told in (check.stderr, train.stderr):
        assert "3 of 180 images cannot be read:" in told
        assert all(str(path) in told for path in broken)
        assert "skip_broken: true" in told
    assert not (home / "runs").exists()
    profile = home / "cams.yaml"
    text = profile.read_text("utf-8")
    before = load_profile(profile).digest()
    profile.write_text(text.replace("skip_broken: false", "skip_broken: true"), "utf-8")
    done = call_fleet("profiles", "check", "cams.yaml", "--format", "json", cwd=home)
    assert done.returncode == 0, done.stderr
    assert sum(entry["test"] for entry in json.loads(done.stdout)["classes"]) == 35
    assert "3 broken images (train/bee/07.png, " in done.stderr
    assert load_profile(profile).digest() != before


def test_streamed_images_name_all_that_are_broken_too(home: Path) -> None:
    settings = {"channels": 3, "image_size": 16, "num_classes": 3, "validation": 9}
    for name in CLASSES:
        (home / "photos" / "train" / name / "00.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="cannot read the image") as found:
        load_data("folder", home / "photos", memory_budget=0, **settings)
    assert found.value.message.startswith("3 of 180 images")
    with pytest.warns(FleetWarning, match="3 broken images"):
        kept = load_data("folder", home / "photos", memory_budget=0, skip_broken=True, **settings)
    assert (len(kept.train), len(kept.validation), len(kept.test)) == (132, 9, 36)


TINY = """\
version: 1
name: cams
data:
  {dataset: folder, root: photos, classes: 3, channels: 3, image_size: 16, validation: 9,
   train_limit: 16}
defaults:
  encoding: ENCODING
  model: {architecture: nn, head: linear, width: 0.125}
  training: {epochs: 1, batch_size: 8, precision: fp32}
devices: [{name: a}]
"""


@pytest.fixture
def drawn(home: Path) -> Path:
    """A profile of one device with drawn encoding, which trains in a second."""
    (home / "cams.yaml").write_text(TINY.replace("ENCODING", "auto"), "utf-8")
    return home


def begun(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "runs").glob("*"))


def test_a_second_training_finds_nothing_to_do_and_runs_says_how_far_it_is(
    drawn: Path, call_fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.cli.progress.FORECAST", 0.0)
    assert call_fleet("runs", "--format", "json", cwd=drawn).stdout == '{\n  "runs": []\n}\n'
    first = call_fleet("train", "--profile", "cams.yaml", "-j", 1, cwd=drawn)
    assert first.returncode == 0, first.stderr
    assert "wrote cams.secret: back it up" in first.stderr
    told = r"about \d+ s and (\d+\.\d) GB for 2 jobs \(first batches\)"
    assert float(re.search(told, first.stderr)[1]) > 0.1  # type: ignore[index]
    (run,) = begun(drawn)
    again = call_fleet("train", "--profiles", "cams.yaml", cwd=drawn)
    assert again.returncode == 0
    assert f"nothing to do: runs/{run} is trained; --new begins another run" in again.stderr
    assert f"next: fleet audit transfer runs/{run}" in again.stderr
    assert again.stdout == first.stdout
    assert "back it up" not in again.stderr
    assert begun(drawn) == [run]
    dry = call_fleet("train", "--profile", "cams.yaml", "--new", "--dry-run", cwd=drawn)
    assert "new run" in dry.stdout
    (drawn / "photos" / "train" / "ant" / "00.png").rename(drawn / "photos" / "gone.png")
    refused = call_fleet("train", "--profile", "cams.yaml", cwd=drawn)
    assert "the training images changed" in refused.stderr
    (drawn / "runs" / run / "audits" / "transfer").mkdir(parents=True)
    (drawn / "runs" / run / "audits" / "transfer" / "audit.json").write_text("{}", "utf-8")
    (drawn / "runs" / "20200101-000000-broken").mkdir()
    (drawn / "runs" / "20200101-000000-broken" / "profile.resolved.json").write_text("{", "utf-8")
    listed = json.loads(call_fleet("runs", "--format", "json", cwd=drawn).stdout)["runs"]
    assert [entry["family"] for entry in listed] == ["cams", None]
    assert listed[0]["networks"] == listed[0]["trained"] == ["a", "control"]
    assert (listed[0]["audited"], listed[0]["bundles"]) == (["transfer"], 0)
    human = call_fleet("runs", cwd=drawn).stdout
    assert "2 of 2" in human
    assert "damaged" in human


def test_a_renamed_profile_draws_as_before_and_one_without_its_secret_is_refused(
    drawn: Path, call_fleet: Fleet
) -> None:
    call_fleet("train", "--profile", "cams.yaml", "-j", 1, cwd=drawn)
    before = begun(drawn)
    (drawn / "cams.yaml").rename(drawn / "cameras.yaml")
    assert "nothing to do" in call_fleet("train", "--profile", "cameras.yaml", cwd=drawn).stderr
    (drawn / "cams.secret").rename(drawn / "kept")
    refused = call_fleet("train", "--profile", "cameras.yaml", cwd=drawn)
    assert refused.returncode == 2
    assert "the secret is not the one of" in refused.stderr
    assert (begun(drawn), list(drawn.glob("*.secret"))) == (before, [])
    named = ("train", "--profile", "cameras.yaml", "--secret", "kept")
    assert "nothing to do" in call_fleet(*named, cwd=drawn).stderr


def test_a_training_without_its_accelerator_makes_no_secret(
    drawn: Path, call_fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = "cuda" if sys.platform == "darwin" else "mps"
    monkeypatch.setenv("FLEET_ACCELERATOR", absent)
    done = call_fleet("train", "--profile", "cams.yaml", cwd=drawn)
    assert (done.returncode, list(drawn.glob("*.secret"))) == (2, [])


@pytest.mark.parametrize("words", [("--run", "cams.yaml"), ("--log", "tensorboard")])
def test_a_training_that_cannot_write_its_run_or_its_log_makes_no_secret(
    drawn: Path, call_fleet: Fleet, words: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    done = call_fleet("train", "--profile", "cams.yaml", *words, cwd=drawn)
    assert done.returncode == 2
    assert "hint: " in done.stderr
    assert "--run" not in words or "training into" not in done.stderr
    assert (begun(drawn), list(drawn.glob("*.secret"))) == ([], [])


def test_a_profile_read_in_python_is_trained_with_the_secret_that_it_was_read_with(
    drawn: Path,
) -> None:
    family = load_profile(drawn / "cams.yaml")
    assert not list(drawn.glob("*.secret"))
    with pytest.warns(FleetWarning, match="cams.secret: back it up"):
        train_family(family, parent=drawn / "runs", executor=Serial())
    assert load_profile(drawn / "cams.yaml") == family


def test_a_training_that_fails_at_its_images_makes_no_secret(
    drawn: Path, call_fleet: Fleet
) -> None:
    (drawn / "photos" / "test").rename(drawn / "photos" / "elsewhere")
    assert call_fleet("train", "--profile", "cams.yaml", cwd=drawn).returncode == 2
    with pytest.raises(DataError):
        train_family(drawn / "cams.yaml", parent=drawn / "runs")
    assert not list(drawn.glob("*.secret"))


def test_repr_hides_what_was_drawn(drawn: Path) -> None:
    family = load_profile(drawn / "cams.yaml")
    encoding = family.devices[0].encoding
    assert encoding is not None
    assert "encoding='auto'" in repr(family)
    assert str(encoding.beta) not in repr(family)
    (drawn / "cams.yaml").write_text(TINY.replace("ENCODING", "{alpha: 4, beta: 16}"), "utf-8")
    assert "beta=16" in repr(load_profile(drawn / "cams.yaml"))


def test_a_device_far_below_its_control_is_named_with_what_to_change(drawn: Path) -> None:
    family = load_profile(drawn / "cams.yaml")
    rates = {"a": 70, "control": 76}
    results = [
        {"device": name, "status": "complete", "test": {"n": 100, "correct": correct}}
        for name, correct in rates.items()
    ]
    (told,) = weak_devices(family, results)
    assert "a is right on 70.0% of the test images, 6 points below its control (76.0%)" in told
    assert "`model.head: softmax` (now linear)" in told
    results[0]["test"] = {"n": 100, "correct": 72}
    assert not list(weak_devices(family, results))
    assert not list(weak_devices(family, results[:1]))
    results[0]["test"] = {"n": 100, "correct": 0}
    (told,) = weak_devices(family, results[:1])  # with no control beside it either
    assert told.startswith("warning: a is right on 0.0% of the test images, no more than guessing")
