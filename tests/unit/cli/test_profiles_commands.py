"""``fleet profiles check|show|schema|new``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from fleet.cli.profiles import app
from fleet.errors import ProfileError, StorageError
from fleet.profiles import ProfileFileError, field_tables, json_schema, load_profile
from fleet.seeding import derive_seed
from fleet.vocabulary import counted

GOOD = (
    "version: 1\nname: fam\ndata: {dataset: mnist, root: .}\n"
    "devices:\n"
    "  - {name: a, encoding: {alpha: 4, beta: 16, order: [1, 0, 2, 3, 4, 5, 6, 7, 8, 9]}}\n"
    "  - {name: b, task: tra}\n"
)
SECRET = (
    GOOD + "  - {name: c, encoding: auto}\n  - {name: d, encoding: {alpha: 4, beta: 8, s0: auto}}\n"
)


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "devices.yaml"
    path.write_text(GOOD, encoding="utf-8")
    return path


def fleet_profiles(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_check_says_ok_on_stderr_and_nothing_on_stdout(profile: Path) -> None:
    result = fleet_profiles("check", profile)
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"ok: {profile}: 2 devices, mnist" in result.stderr
    assert f"next: fleet train --profiles {profile}" in result.stderr


def test_check_names_certified_devices_with_too_few_steps(profile: Path) -> None:
    profile.write_text(
        "version: 1\nname: f\ndata: {dataset: mnist, root: ., train_limit: 6000}\n"
        "defaults: {encoding: {alpha: 2, beta: 18}, model: {architecture: cnn, head: softmax}}\n"
        "devices:\n"
        "  - {name: a, training: {method: certified, eps: 0.1, epochs: 4}}\n"
        "  - {name: b, extends: a, allow_equivalent: true, training: {epochs: 20}}\n"
    )
    result = fleet_profiles("check", profile)
    assert result.exit_code == 0
    assert "note: eps grows in 92 steps for a: certified training" in result.stderr
    profile.write_text(profile.read_text().replace("train_limit: 6000", "train_limit: null"))
    assert "eps grows" not in fleet_profiles("check", profile).stderr


def test_check_prints_every_mistake_and_exits_1(profile: Path) -> None:
    profile.write_text(GOOD.replace("beta: 16", "beta: -16").replace("tra}", "trap}"))
    result = fleet_profiles("check", profile)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: {profile}:5:42: devices[0].encoding.beta must be >= 0")
    assert f"{profile}:6:21: devices[1].task must be 'int', 'tra' or 'hin'" in result.stderr
    assert result.stderr.endswith("hint:  2 mistakes; `fleet profiles schema` lists every key\n")


def test_check_of_one_mistake_ends_with_its_hint(profile: Path) -> None:
    profile.write_text(GOOD.replace("name: b", "name: a"))
    result = fleet_profiles("check", profile)
    assert result.stderr.endswith("^\nhint:  give every device a name of its own\n")


def test_check_of_a_mistake_without_a_hint_prints_none(profile: Path) -> None:
    profile.write_text(GOOD.replace("beta: 16", "beta: -16"))
    assert "hint:" not in fleet_profiles("check", profile).stderr


def test_check_leaves_an_unreadable_file_to_the_caller(tmp_path: Path) -> None:
    result = fleet_profiles("check", tmp_path / "absent.yaml")
    assert isinstance(result.exception, ProfileFileError)


def test_check_may_leave_the_data_alone(profile: Path) -> None:
    profile.write_text(GOOD.replace("root: .", "root: elsewhere"))
    refused = fleet_profiles("check", profile)
    assert refused.exit_code == 1
    assert "`fleet demo` fetches MNIST" in refused.stderr
    assert fleet_profiles("check", profile, "--no-data").exit_code == 0


def keep_secret(profile: Path, at: Path | None = None) -> None:
    new = load_profile(profile, secret=at).new_secret
    assert new is not None
    assert new.keep()


def test_check_and_show_make_no_secret(profile: Path) -> None:
    profile.write_text(SECRET)
    assert fleet_profiles("check", profile).exit_code == 0
    assert fleet_profiles("show", profile).exit_code == 0
    revealed = fleet_profiles("show", profile, "--reveal")
    assert isinstance(revealed.exception, ProfileError)
    assert "there is no secret" in revealed.exception.message
    assert not list(profile.parent.glob("*.secret"))


def test_show_gives_the_resolved_profile_as_json(profile: Path) -> None:
    result = fleet_profiles("show", profile, "--format", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == load_profile(profile).to_dict()


def test_show_gives_a_table(profile: Path) -> None:
    lines = [line.split("│") for line in fleet_profiles("show", profile).stdout.splitlines()]
    rows = [[cell.strip() for cell in line[1:-1]] for line in lines if len(line) > 2]
    assert rows == [
        ["a", "int", "0 .. 196", "0.800", "1 0 2 3 4 5 6 7 8 9", "nn, linear", "8"],
        ["b", "tra", "-", "-", "-", "nn, logits", "8"],
    ]


def test_show_gives_the_range_of_ratios_over_the_classes(profile: Path) -> None:
    profile.write_text(GOOD.replace("beta: 16", "beta: [4, 4, 4, 4, 4, 4, 4, 4, 4, 12]"))
    assert "0.500 .. 0.750" in fleet_profiles("show", profile).stdout


def test_show_hides_drawn_values_until_asked(profile: Path) -> None:
    profile.write_text(SECRET)
    keep_secret(profile)
    drawn = load_profile(profile).device("c").encoding
    assert drawn is not None
    hidden = fleet_profiles("show", profile)
    assert "--reveal shows it" in hidden.stdout
    row = next(line for line in hidden.stdout.splitlines() if "│ c " in line)
    assert row.count("auto") == 3
    as_json = fleet_profiles("show", profile, "--format", "json").stdout
    devices = json.loads(as_json)["devices"]
    assert {devices[2]["encoding"][key] for key in ("alpha", "beta", "s0", "order")} == {"auto"}
    assert devices[3]["encoding"]["s0"] == "auto"
    assert devices[3]["encoding"]["beta"] == 8
    for text in (hidden.stdout, as_json):
        assert f"{drawn.s0:g}" not in text
        assert f"{drawn.beta:g}" not in text
    shown = fleet_profiles("show", profile, "--format", "json", "--reveal").stdout
    assert json.loads(shown) == load_profile(profile).to_dict()
    table = fleet_profiles("show", profile, "--reveal").stdout
    assert "auto" not in table
    assert " ".join(map(str, drawn.classes)) in table


def test_show_reads_the_secret_from_an_option_or_the_environment(
    profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile.write_text(SECRET)
    keep_secret(profile)
    keep_secret(profile, tmp_path / "other")
    reveal = ("show", profile, "--reveal", "--format", "json")
    by_option = fleet_profiles(*reveal, "--secret", tmp_path / "other")
    monkeypatch.setenv("FLEET_SECRET", str(tmp_path / "other"))
    assert fleet_profiles(*reveal).stdout == by_option.stdout != ""
    monkeypatch.delenv("FLEET_SECRET")
    assert fleet_profiles(*reveal).stdout != by_option.stdout


def test_schema_goes_to_stdout_or_to_a_file(tmp_path: Path) -> None:
    result = fleet_profiles("schema")
    assert json.loads(result.stdout) == json_schema()
    out = tmp_path / "schema.json"
    assert fleet_profiles("schema", "--out", out).stdout == ""
    assert out.read_text(encoding="utf-8") == result.stdout


def test_schema_can_be_read_as_tables() -> None:
    assert fleet_profiles("schema", "--format", "markdown").stdout == field_tables()


def test_new_writes_a_profile_that_check_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    assert fleet_profiles("new").exit_code == 0
    assert fleet_profiles("check").exit_code == 0
    family = load_profile(Path("profiles/devices.yaml"))
    assert (family.name, len(family.devices)) == ("devices", 4)
    assert family.data.root == tmp_path / "data"


def test_new_takes_its_name_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "my cameras (2).yaml"
    result = fleet_profiles("new", path, "--devices", 7, "--dataset", "cifar10", "--root", tmp_path)
    assert result.exit_code == 0
    family = load_profile(path)
    assert (family.name, family.data.dataset, len(family.devices)) == ("my-cameras-2", "cifar10", 7)


def test_new_replaces_a_file_only_by_force(profile: Path) -> None:
    result = fleet_profiles("new", profile)
    assert isinstance(result.exception, ProfileError)
    assert profile.read_text(encoding="utf-8") == GOOD
    assert fleet_profiles("new", profile, "--force").exit_code == 0
    assert profile.read_text(encoding="utf-8") != GOOD


def test_new_names_a_place_that_it_cannot_write(profile: Path) -> None:
    result = fleet_profiles("new", profile / "below.yaml")
    assert isinstance(result.exception, StorageError)


@pytest.mark.parametrize("devices", [0, 1001])
def test_new_bounds_the_family(tmp_path: Path, devices: int) -> None:
    result = fleet_profiles("new", tmp_path / "x.yaml", "--devices", devices)
    assert result.exit_code == 2
    assert not list(tmp_path.iterdir())


FOLDER = (
    "version: 1\nname: fam\n"
    "data: {dataset: folder, root: ., classes: 2, channels: 1, image_size: 16, validation: 2}\n"
    "defaults: {encoding: {alpha: 4, beta: 16}, training: {batch_size: 4}}\n"
    "devices: [{name: a}, {name: b, encoding: {beta: 8}, training: {batch_size: 3}}]\n"
)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A profile and its pictures: 4 of each of two classes for training, 6 after validation."""
    for part, count in (("train", 4), ("test", 1)):
        for name in ("ant", "bee"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(count):
                Image.new("L", (8, 8), i).save(tmp_path / part / name / f"{i}.png")
    (tmp_path / "p.yaml").write_text(FOLDER, encoding="utf-8")
    return tmp_path


def test_check_looks_at_the_images_and_says_what_is_short(
    pictures: Path, call_fleet: Callable[..., Any]
) -> None:
    (pictures / "train" / "ant" / "notes.txt").write_text("")
    done = call_fleet("profiles", "check", pictures / "p.yaml")
    assert done.returncode == 0
    assert "note: left out of " in done.stderr
    assert "1 file (train/ant/notes.txt)" in done.stderr
    assert "note: 1 step an epoch for a, " in done.stderr
    assert ": 6 images for training are fewer than two batches" in done.stderr
    unlooked = call_fleet("profiles", "check", "--no-data", pictures / "p.yaml")
    assert (unlooked.returncode, "note:" in unlooked.stderr) == (0, False)


def _rename(root: Path, name: str) -> None:
    for part in ("train", "test"):
        (root / part / "bee").rename(root / part / name)


def _write(root: Path, old: str, new: str) -> None:
    (root / "p.yaml").write_text(FOLDER.replace(old, new), encoding="utf-8")


def _keep(root: Path, count: int) -> None:
    for name in ("ant", "bee"):
        for i in range(count, 4):
            (root / "train" / name / f"{i}.png").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: _rename(root, "b\u00adee"), "(U+00AD SOFT HYPHEN) in"),
        (lambda root: (root / "test" / "bee").rename(root / "test" / "be"), "different classes"),
        (lambda root: (root / "train").rename(root / "elsewhere"), "cannot read the directory"),
        (lambda root: _keep(root, 1), "cannot cut 2 validation images from 2 training images"),
        (lambda root: _write(root, "n: 2}", "n: 7}"), "is 1 image"),
        (
            lambda root: _write(root, "n: 2}", "n: 2, train_limit: 4, split_seed: SEED}"),
            "no image for training is of class",
        ),
        (lambda root: _write(root, "classes: 2", "classes: 3"), "set `data.classes` to 2"),
    ],
)
def test_check_refuses_images_that_training_would_refuse(
    pictures: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(pictures)
    profile = pictures / "p.yaml"
    profile.write_text(profile.read_text("utf-8").replace("SEED", str(_one_class_seed())), "utf-8")
    result = fleet_profiles("check", profile)
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr


def _one_class_seed() -> int:
    """A seed whose split of 4 + 4 images leaves one class alone for a limit of four."""
    for seed in range(1000):
        generator = torch.Generator().manual_seed(derive_seed(seed, "validation-split"))
        if len({int(row) // 4 for row in torch.randperm(8, generator=generator)[2:6]}) == 1:
            return seed
    raise AssertionError


@pytest.mark.parametrize("root", ["images", "linked-images", ".."])
def test_a_new_profile_finds_its_data_through_linked_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    """A shell's ``..`` and the kernel's differ behind a link; the profile is read by the kernel."""
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    project = tmp_path / "project"
    (project / "images").mkdir(parents=True)
    (project / "linked-images").symlink_to("images")
    (project / "profiles").symlink_to(tmp_path / "elsewhere" / "deep")
    monkeypatch.chdir(project)
    assert fleet_profiles("new", "profiles/new.yaml", "--root", root).exit_code == 0
    found = load_profile("profiles/new.yaml")
    assert found.data.root == (project / root).resolve()


@pytest.mark.parametrize(("count", "words"), [(0, "0 classes"), (1, "1 class"), (2, "2 classes")])
def test_one_is_not_many(count: int, words: str) -> None:
    assert counted(count, "class", "classes") == words


@pytest.mark.parametrize(("method", "least", "most"), [("certified", 2, 4), ("adversarial", 4, 8)])
def test_the_estimate_before_a_training_knows_its_method(
    profile: Path, method: str, least: float, most: float
) -> None:
    """A certified step takes 2 to 3.5 times a standard one; 7 attack steps take 5 times."""
    recipe = "training: {epochs: 40, batch_size: 20, eps: 0.1, method: METHOD}"
    text = (
        "version: 1\nname: fam\ncontrol: false\ndata: {dataset: mnist, root: .}\n"
        "defaults: {model: {architecture: cnn, head: softmax}}\n"
        f"devices: [{{name: a, encoding: {{alpha: 4, beta: 16}}, {recipe}}}]\n"
    )
    minutes = []
    for each in (method, "standard"):
        written = text.replace("METHOD", each)
        profile.write_text(written.replace("eps: 0.1, ", "") if each == "standard" else written)
        said = fleet_profiles("check", profile).stderr
        assert "1 network, 2750 steps an epoch; roughly: about " in said, said
        assert f"({each} training)" in said
        minutes.append(int(re.search(r"about (\d+) minutes", said)[1]))  # type: ignore[index]
    assert least <= minutes[0] / minutes[1] <= most
