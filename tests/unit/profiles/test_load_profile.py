"""What a profile resolves to."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import fleet.profiles
from fleet.encoding import IntervalEncoding
from fleet.errors import ProfileError
from fleet.profiles import FamilySpec, ProfileFileError, load_profile
from fleet.vocabulary import ModelSpec

HEAD = "version: 1\nname: fam\ndata: {dataset: mnist, root: images}\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    return tmp_path


def load(directory: Path, text: str, **settings: bool) -> FamilySpec:
    path = directory / "profile.yaml"
    path.write_text(text, encoding="utf-8")
    return load_profile(path, **settings)


def test_defaults_are_those_that_the_documentation_promises(directory: Path) -> None:
    family = load(directory, HEAD + "devices: [{name: a, encoding: {alpha: 4, beta: 16}}]\n")
    assert [control.name for control in family.controls] == ["control"]
    assert replace(family, controls=()).to_dict() == {
        "version": 1,
        "name": "fam",
        "data": {
            "dataset": "mnist",
            "root": str(directory / "images"),
            "num_classes": 10,
            "channels": 1,
            "image_size": 28,
            "validation": 5000,
            "train_limit": None,
            "test_limit": None,
            "split_seed": 0,
            "skip_broken": False,
        },
        "devices": [
            {
                "name": "a",
                "task": "int",
                "encoding": IntervalEncoding(10, 4.0, 16.0).to_dict(),
                "model": {
                    "architecture": "nn",
                    "head": "linear",
                    "width": 1.0,
                    "batch_norm": True,
                    "pretrained": False,
                    "weights": None,
                    "stem": "auto",
                    "activation": "relu",
                },
                "training": {
                    "loss": "scaled",
                    "margin": 0.3,
                    "epochs": 8,
                    "batch_size": 128,
                    "optimizer": "adam",
                    "learning_rate": 3e-3,
                    "weight_decay": 0.0,
                    "schedule": "one-cycle",
                    "precision": "bf16",
                    "shift": 1,
                    "mirror": False,
                    "gradient_clip": None,
                    "seed": 0,
                    "start": "range",
                    "dropout": 0.5,
                    "validate_every": None,
                    "method": "standard",
                    "eps": 0.0,
                    "eps_factor": 1.15,
                    "kappa": 0.4,
                    "warm_up": 0.05,
                    "ramp": 0.5,
                    "attack_steps": 7,
                    "l1": 0.0,
                    "pool": [],
                },
                "drawn": [],
            }
        ],
        "controls": [],
    }


def test_a_family_survives_json(directory: Path) -> None:
    text = HEAD + (
        "devices:\n"
        "  - {name: a, encoding: auto}\n"
        "  - {name: b, task: hin}\n"
        "  - {name: c, encoding: {alpha: [1, 2, 3, 4, 5, 6, 7, 8, 9, 1], beta: 3, s0: -2}}\n"
    )
    family = load(directory, text)
    plain = json.loads(json.dumps(family.to_dict()))
    assert plain == family.to_dict()
    assert FamilySpec.from_dict(plain) == family
    assert FamilySpec.from_dict(plain).digest() == family.digest()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("dataset: mnist", (10, 1, 28, 5000)),
        ("dataset: fashion-mnist", (10, 1, 28, 5000)),
        ("dataset: cifar10", (10, 3, 32, 5000)),
        ("dataset: imagenet10", (10, 3, 224, 500)),
        ("dataset: imagenet10, image_size: 64, validation: 7", (10, 3, 64, 7)),
        ("dataset: mnist, classes: 10, channels: 1", (10, 1, 28, 5000)),
        ("dataset: folder, classes: 4, channels: 3", (4, 3, 224, 500)),
    ],
)
def test_facts_follow_from_the_dataset(
    directory: Path, data: str, expected: tuple[int, int, int, int]
) -> None:
    text = f"version: 1\nname: x\ndata: {{{data}, root: images}}\ndevices: [{{name: a, task: tra}}]"
    spec = load(directory, text).data
    assert (spec.num_classes, spec.channels, spec.image_size, spec.validation) == expected


def test_a_family_of_before_start_and_validate_every_is_still_read(directory: Path) -> None:
    family = load(directory, HEAD + "devices: [{name: a, task: tra}]\n")
    plain = family.to_dict()
    for device in (*plain["devices"], *plain["controls"]):
        del device["training"]["start"], device["training"]["validate_every"]
    assert FamilySpec.from_dict(plain) == family


def test_where_outputs_start_and_how_often_to_validate_are_read(directory: Path) -> None:
    text = HEAD + (
        "defaults: {encoding: {alpha: 4, beta: 16}, training: {start: zero, validate_every: 20}}\n"
        "devices: [{name: a}, {name: b, allow_equivalent: true, training: {start: range}}]\n"
    )
    recipes = [device.training for device in load(directory, text).devices]
    assert [(recipe.start, recipe.validate_every) for recipe in recipes] == [
        ("zero", 20),
        ("range", 20),
    ]


def test_own_values_win_over_the_extended_device_and_that_over_defaults(directory: Path) -> None:
    text = HEAD + (
        "defaults:\n"
        "  encoding: {alpha: 4, beta: 16, order: [9, 1, 2, 3, 4, 5, 6, 7, 8, 0]}\n"
        "  training: {epochs: 2, seed: 5, gradient_clip: 1}\n"
        "devices:\n"
        "  - {name: child, extends: parent, encoding: {beta: 9}, training: {gradient_clip: null}}\n"
        "  - {name: parent, extends: root, encoding: {alpha: 2}, training: {epochs: 3}}\n"
        "  - {name: root, encoding: {order: null, s0: 1}, training: {batch_size: 64}}\n"
        "  - {name: other}\n"
    )
    family = load(directory, text)
    child, parent, root, other = family.devices
    assert child.encoding == IntervalEncoding(10, 2.0, 9.0, s0=1.0)
    assert parent.encoding == IntervalEncoding(10, 2.0, 16.0, s0=1.0)
    assert root.encoding == IntervalEncoding(10, 4.0, 16.0, s0=1.0)
    assert other.encoding == IntervalEncoding(10, 4.0, 16.0, order=(9, 1, 2, 3, 4, 5, 6, 7, 8, 0))
    recipe = [(d.training.epochs, d.training.batch_size, d.training.seed) for d in family.devices]
    assert recipe == [(3, 64, 5), (3, 64, 5), (2, 64, 5), (2, 128, 5)]
    assert [d.training.gradient_clip for d in family.devices] == [None, 1.0, 1.0, 1.0]
    assert [d.name for d in family.devices] == ["child", "parent", "root", "other"]


def test_a_long_chain_of_parents_is_no_recursion(directory: Path) -> None:
    links = "".join(
        f"  - {{name: d{i}, extends: d{i + 1}, training: {{seed: {i}}}}}\n" for i in range(900)
    )
    text = HEAD + "devices:\n" + links + "  - {name: d900, task: tra, training: {epochs: 3}}\n"
    family = load(directory, text)
    assert {(d.task, d.training.epochs) for d in family.devices} == {("tra", 3)}
    assert [d.training.seed for d in family.devices] == [*range(900), 0]


@pytest.mark.parametrize(
    ("task", "head"), [("int", "linear"), ("tra", "logits"), ("hin", "logits")]
)
def test_the_head_follows_from_the_task(directory: Path, task: str, head: str) -> None:
    encoding = "{alpha: 1, beta: 3}" if task == "int" else "null"
    text = HEAD + f"devices: [{{name: a, task: {task}, encoding: {encoding}}}]\n"
    assert load(directory, text).devices[0].model.head == head


def test_equivalent_devices_are_allowed_where_one_of_them_says_so(directory: Path) -> None:
    text = HEAD + (
        "defaults: {encoding: {alpha: 4, beta: 16}}\n"
        "devices:\n"
        "  - {name: a}\n"
        "  - {name: b, allow_equivalent: true, training: {seed: 1}}\n"
        "  - {name: c, allow_equivalent: true, encoding: {s0: 5}}\n"
    )
    assert len(load(directory, text).devices) == 3
    with pytest.raises(ProfileError, match="'c' is equivalent to that of 'a'"):
        load(directory, text.replace("c, allow_equivalent: true", "c"))


def test_devices_of_other_tasks_are_never_equivalent(directory: Path) -> None:
    text = HEAD + "devices: [{name: a, task: tra}, {name: b, task: tra}]\n"
    assert len(load(directory, text).devices) == 2


def test_aliases_are_read_and_their_mistakes_point_at_the_anchor(directory: Path) -> None:
    text = HEAD + (
        "devices:\n"
        "  - {name: a, encoding: &paper {alpha: 4, beta: 16}}\n"
        "  - {name: b, allow_equivalent: true, encoding: *paper}\n"
    )
    family = load(directory, text)
    assert family.devices[0].encoding == family.devices[1].encoding
    with pytest.raises(ProfileError, match=r"profile.yaml:5:40: devices\[0\].encoding.alpha must"):
        load(directory, text.replace("alpha: 4", "alpha: x"))


@pytest.mark.parametrize(
    ("scalar", "expected"),
    [
        ("1e-3", 1e-3),
        ("1E+1", 10.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("+3", 3.0),
        ("012", 12.0),
        ("0.25", 0.25),
        ("!!float 3", 3.0),
    ],
)
def test_numbers_are_those_of_yaml_1_2(directory: Path, scalar: str, expected: float) -> None:
    text = HEAD + f"devices: [{{name: a, task: tra, training: {{learning_rate: {scalar}}}}}]\n"
    assert load(directory, text).devices[0].training.learning_rate == expected


@pytest.mark.parametrize(
    "scalar", ["no", "off", "Yes", "12:30:45", "2026-01-01", "0x10", "0o7", "1_000", "8/255", "="]
)
def test_what_yaml_1_1_converts_stays_text(directory: Path, scalar: str) -> None:
    text = HEAD + f"devices: [{{name: a, task: tra, training: {{epochs: {scalar}}}}}]\n"
    with pytest.raises(ProfileError, match=r"whole number \(got '" + scalar):
        load(directory, text)


def test_a_device_may_be_called_no(directory: Path) -> None:
    assert load(directory, HEAD + "devices: [{name: no, task: tra}]\n").devices[0].name == "no"


def test_a_byte_order_mark_is_no_part_of_the_text(directory: Path) -> None:
    text = "\ufeff" + HEAD + "devices: [{name: a, task: tra}]\n"
    assert load(directory, text).name == "fam"


def test_windows_line_ends_do_not_move_the_place(directory: Path) -> None:
    text = (HEAD + "devices: [{name: a, task: trap}]\n").replace("\n", "\r\n")
    (directory / "profile.yaml").write_bytes(text.encode())
    with pytest.raises(ProfileError, match=r":4:27: .*did you mean 'tra'\?") as caught:
        load_profile(directory / "profile.yaml")
    assert "\r" not in caught.value.message


def test_the_root_is_relative_to_the_profile_not_to_the_process(
    directory: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    family = load(directory, HEAD + "devices: [{name: a, task: tra}]\n")
    assert family.data.root == directory / "images"


def test_the_data_may_be_left_unchecked(directory: Path) -> None:
    text = HEAD.replace("images", "not/yet") + "devices: [{name: a, task: tra}]\n"
    assert load(directory, text, check_data=False).data.root == directory / "not/yet"


def test_digest_ignores_where_the_data_lies_and_nothing_else(directory: Path) -> None:
    text = HEAD + "devices: [{name: a, encoding: {alpha: 4, beta: 16}}]\n"
    first = load(directory, text)
    (directory / "copy").mkdir()
    assert load(directory, text.replace("images", "copy")).digest() == first.digest()
    for old, new in [("beta: 16", "beta: 15"), ("name: a", "name: b"), ("mnist", "fashion-mnist")]:
        assert load(directory, text.replace(old, new)).digest() != first.digest()


def test_the_digest_is_that_of_the_first_version_but_for_what_came_later(directory: Path) -> None:
    text = HEAD + "devices: [{name: a, encoding: {alpha: 4, beta: 16}}]\n"
    family = load(directory, text)
    assert family.digest() == "0f3e4f13a612913f5061d1d0f450a3852094183b729de100b2f1b9a56a365cae"
    assert load(directory, text + "defaults: {training: {method: standard}}\n") == family
    recipe = replace(family.devices[0].training, method="certified")  # type: ignore[arg-type]
    defended = replace(family, devices=(replace(family.devices[0], training=recipe),))
    assert defended.digest() != family.digest()


def test_a_device_is_found_by_name(directory: Path) -> None:
    family = load(directory, HEAD + "devices: [{name: a, task: tra}, {name: b, task: hin}]\n")
    assert family.device("b").task == "hin"
    with pytest.raises(KeyError):
        family.device("c")


@pytest.mark.parametrize("name", ["absent.yaml", "folder", "nul\0.yaml"])
def test_a_file_that_cannot_be_read_is_another_error(directory: Path, name: str) -> None:
    (directory / "folder").mkdir()
    with pytest.raises(ProfileFileError, match="cannot read profile") as caught:
        load_profile(directory / name)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("from fleet.profiles import load_profile, template, json_schema", {"torch", "rich"}),
        ("from fleet.profiles import FamilySpec", {"torch", "pydantic", "yaml"}),
    ],
)
def test_an_import_loads_no_more_than_it_needs(statement: str, absent: set[str]) -> None:
    code = f"import sys; {statement}; sys.exit(len({absent} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_package_has_the_names_that_it_lists() -> None:
    for name in fleet.profiles.__all__:
        assert getattr(fleet.profiles, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fleet.profiles.nothing


def test_weights_to_start_from_lie_relative_to_the_profile(directory: Path) -> None:
    """The digest knows their name and not their folder; the control starts from nothing."""
    text = (
        HEAD
        + "devices:\n  - {name: a, encoding: {alpha: 4, beta: 16}, model: {weights: ours.pth}}\n"
    )
    (directory / "ours.pth").write_bytes(b"")
    family = load(directory, text)
    assert family.device("a").model.weights == str(directory / "ours.pth")
    assert family.controls[0].model.weights is None
    moved = replace(family.devices[0].model, weights="/elsewhere/ours.pth")
    other = replace(family, devices=(replace(family.devices[0], model=moved),))
    assert other.digest() == family.digest()
    assert (
        replace(
            family, devices=(replace(family.devices[0], model=ModelSpec(head="linear")),)
        ).digest()
        != family.digest()
    )


def test_networks_of_a_pool_lie_relative_to_the_profile(directory: Path) -> None:
    """The digest knows the networks' names alone; the control attacks nothing."""
    model = directory / "runs/plain/devices/one/model.safetensors"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"")
    place = model.relative_to(directory)
    text = (
        f"{HEAD}devices:\n  - {{name: a, encoding: {{alpha: 4, beta: 16}}, training: "
        f"{{method: cross, eps: 0.1, pool: [{place}]}}}}\n"
    )
    family = load(directory, text)
    device = family.device("a")
    assert device.training.pool == (str(model),)
    assert device.reads == (str(model), str(directory / "runs/plain/profile.resolved.json"))
    assert family.controls[0].reads == ()
    assert FamilySpec.from_dict(json.loads(json.dumps(family.to_dict()))) == family
    digests = set()
    for path in ("/elsewhere/devices/one/model.safetensors", "/elsewhere/two/model.safetensors"):
        moved = replace(device, training=replace(device.training, pool=(path,)))
        digests.add(replace(family, devices=(moved,)).digest())
    assert family.digest() in digests
    assert len(digests) == 2


def test_weights_that_are_nowhere_are_named_with_their_place(directory: Path) -> None:
    text = (
        HEAD
        + "devices:\n  - {name: a, encoding: {alpha: 4, beta: 16}, model: {weights: ours.pth}}\n"
    )
    with pytest.raises(ProfileError, match=r"model\.weights of device 'a' is no file"):
        load(directory, text)
