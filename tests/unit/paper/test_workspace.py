"""Where a reproduction reads and writes."""

import shutil
from pathlib import Path

import pytest

from fleet.errors import CheckpointError, DataError, FleetError
from fleet.execution import Serial
from fleet.paper.workspace import PROFILES, QUICK_KINDS, Workspace, quietly
from fleet.profiles.problems import ProfileFileError


def workspace(place: Path, **more: object) -> Workspace:
    options = {"profiles": PROFILES, "runs": place / "runs", "results": place / "results"}
    return Workspace(**{**options, **more})  # type: ignore[arg-type]


def test_the_full_scale_is_the_committed_profile(tmp_path: Path) -> None:
    family = workspace(tmp_path).family("table1-nn")
    assert family.data.train_limit is None
    assert [(d.task, d.training.seed) for d in family.devices[-3:]] == [
        ("tra", 2),
        ("hin", 2),
        ("int", 2),
    ]


def test_quick_keeps_one_of_each_task_and_two_where_seeds_are_compared(
    tmp_path: Path,
) -> None:
    quick = workspace(tmp_path, quick=True)
    table = quick.family("table1-resnet18")
    assert [device.name for device in table.devices] == ["tra-0", "hin-0", "int-0"]
    assert {device.training.epochs for device in table.devices} == {1}
    assert table.data.train_limit == QUICK_KINDS
    photos = quick.family("table2-standin-alexnet")
    assert [device.name for device in photos.devices] == ["tra-0", "hin-0", "int-0"]
    figure = quick.family("figure3-mnist").devices
    assert [d.name for d in figure] == [f"a{a}-b16-s{s}" for a in (1, 4, 16) for s in (0, 1)]


def test_quick_needs_no_photos(tmp_path: Path) -> None:
    photos = workspace(tmp_path, quick=True).family("table2-standin-alexnet", own_data=True)
    assert (photos.data.dataset, photos.data.image_size, photos.data.channels) == ("mnist", 32, 1)
    assert {device.model.stem for device in photos.devices} == {"imagenet"}
    assert photos.data.root.is_dir()


def test_the_users_photos_take_the_place_of_the_profiles(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    place = workspace(tmp_path, data=photos)
    assert place.family("table2-resnet18", own_data=True).data.root == photos
    assert place.family("table1-nn").data.root != photos


def test_absent_photos_are_one_error_that_names_the_option(tmp_path: Path) -> None:
    place = workspace(tmp_path, data=tmp_path / "nowhere")
    with pytest.raises(DataError, match="nowhere") as caught:
        place.family("table2-resnet18", own_data=True)
    assert "--data" in str(caught.value.hint)
    assert not (tmp_path / "runs").exists()


def test_an_installed_package_has_its_digits_beside_the_runs(
    tmp_path: Path, mnist_root: Path
) -> None:
    """As from a wheel: the profiles' own copy of MNIST is not there."""
    profiles = tmp_path / "site-packages" / "fleet" / "paper" / "profiles"
    shutil.copytree(PROFILES, profiles)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "data").symlink_to(mnist_root)
    for name, quick in (("stems", False), ("table2-standin-alexnet", True)):
        place = workspace(tmp_path, profiles=profiles, quick=quick)
        assert place.family(name, own_data=True).data.root == mnist_root


def test_digits_that_cannot_be_fetched_are_one_error_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    shutil.copytree(PROFILES, tmp_path / "profiles" / "of" / "mine")
    place = workspace(tmp_path, profiles=tmp_path / "profiles" / "of" / "mine")
    with pytest.raises(DataError, match="no MNIST in") as caught:
        place.family("table1-nn")
    assert str(tmp_path / "runs" / "data" / "MNIST" / "raw") in str(caught.value.hint)
    assert not [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]


def test_an_absent_profile_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProfileFileError, match=r"table9\.yaml"):
        workspace(tmp_path).family("table9")


PROFILE = """\
version: 1
name: tiny
control: false
data: {{dataset: mnist, root: {root}, validation: 200, train_limit: 320}}
defaults:
  model: {{width: 0.0625}}
  training: {{epochs: 1, batch_size: 32, shift: 0, learning_rate: {rate}}}
devices:
  - {{name: a, task: tra}}
  - {{name: b, encoding: {{alpha: 4, beta: 16}}}}
"""


def write(place: Path, mnist_root: Path, rate: float = 3e-3) -> Workspace:
    place.mkdir(exist_ok=True)
    (place / "tiny.yaml").write_text(PROFILE.format(root=mnist_root, rate=rate))
    return workspace(place, profiles=place, stage=quietly(Serial()))


def test_what_is_trained_is_not_trained_again(tmp_path: Path, mnist_root: Path) -> None:
    place = write(tmp_path, mnist_root)
    family, run = place.trained("tiny")
    first = {d.name: run.model(d.name).stat().st_mtime_ns for d in family.devices}
    run.result("b").unlink()
    _, again = place.trained("tiny")
    assert again == run
    assert run.model("a").stat().st_mtime_ns == first["a"]
    assert run.model("b").stat().st_mtime_ns > first["b"]


def test_a_changed_profile_is_refused_by_naming_what_changed(
    tmp_path: Path, mnist_root: Path
) -> None:
    write(tmp_path, mnist_root).trained("tiny")
    changed = write(tmp_path, mnist_root, rate=1e-3)
    with pytest.raises(CheckpointError, match=r"learning_rate: 0\.003 -> 0\.001"):
        changed.trained("tiny")


def test_a_training_that_fails_is_an_error_and_the_others_are_kept(
    tmp_path: Path, mnist_root: Path
) -> None:
    place = write(tmp_path, mnist_root)
    text = (tmp_path / "tiny.yaml").read_text()
    (tmp_path / "tiny.yaml").write_text(
        text.replace("{name: a, task: tra}", "{name: a, task: tra, training: {learning_rate: 99}}")
        .replace("rate: 0.003", "rate: 0.003, optimizer: sgd")
        .replace("epochs: 1", "epochs: 3")
    )
    with pytest.raises(FleetError, match="a: loss"):
        place.trained("tiny")
    assert place.run("tiny").model("b").exists()
