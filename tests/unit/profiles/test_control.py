"""The control: the undefended network that every family is trained and audited with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import ProfileError
from fleet.profiles import load_profile
from fleet.profiles.control import derive_controls
from fleet.profiles.spec import FamilySpec
from fleet.seeding import derive_seed

HEAD = "version: 1\nname: fam\ndata: {dataset: mnist, root: images}\n"
ONE = "devices: [{name: a, encoding: {alpha: 4, beta: 16}, training: {epochs: 3, seed: 5}}]\n"


def load(tmp_path: Path, text: str) -> FamilySpec:
    (tmp_path / "images").mkdir(exist_ok=True)
    path = tmp_path / "profile.yaml"
    path.write_text(text, encoding="utf-8")
    return load_profile(path)


def test_a_family_has_one_control_of_its_backbone_and_recipe(tmp_path: Path) -> None:
    family = load(tmp_path, HEAD + ONE)
    (device,), (control,) = family.devices, family.controls
    assert (control.name, control.task, control.encoding) == ("control", "tra", None)
    assert control.model == replace(device.model, head="logits")
    assert control.training == device.training
    assert family.trained == (device, control)
    assert family.device("control") is control
    assert FamilySpec.from_dict(family.to_dict()) == family


def test_the_control_of_a_defended_device_is_trained_undefended(tmp_path: Path) -> None:
    (device,) = load(tmp_path, HEAD + ONE).devices
    recipe = replace(device.training, method="certified", epochs=7)  # type: ignore[arg-type]
    (control,) = derive_controls([replace(device, training=recipe)])
    assert control.training == replace(device.training, method="standard", epochs=7)


def test_devices_of_one_backbone_share_a_control_and_others_have_their_own(tmp_path: Path) -> None:
    text = (
        "defaults: {encoding: {alpha: 4, beta: 16}, allow_equivalent: true}\n"
        "devices:\n"
        "  - {name: a}\n"
        "  - {name: b, model: {head: ordinal}}\n"
        "  - {name: c, model: {width: 0.5}}\n"
        "  - {name: d, model: {architecture: resnet18}}\n"
        "  - {name: e, model: {architecture: resnet18, stem: imagenet}}\n"
    )
    names = [control.name for control in load(tmp_path, HEAD + text).controls]
    assert names == ["control-nn", "control-nn-2", "control-resnet18", "control-resnet18-2"]


def test_a_family_can_do_without(tmp_path: Path) -> None:
    family = load(tmp_path, HEAD + "control: false\n" + ONE.replace("name: a", "name: control"))
    assert family.controls == ()
    assert family.trained == family.devices
    assert derive_controls(()) == ()


@pytest.mark.parametrize("name", ["control", "Control", "control-nn"])
def test_its_names_are_kept_for_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(ProfileError, match="kept for the control") as caught:
        load(tmp_path, HEAD + ONE.replace("name: a", f"name: {name}"))
    assert "profile.yaml:4:" in str(caught.value)
    assert "control: false" in f"{caught.value} {caught.value.hint}"
    assert load(tmp_path, HEAD + ONE.replace("name: a", "name: controller")).controls


def test_the_twin_has_the_first_devices_encoding_and_weights_of_its_own(tmp_path: Path) -> None:
    family = load(tmp_path, HEAD + "twin: true\n" + ONE)
    (device,), (control, twin) = family.devices, family.controls
    assert control.name == "control"
    assert twin == replace(device, name="twin")
    assert family.trained == (device, control, twin)
    seeds = {derive_seed(d.training.seed, d.name, "weights") for d in (device, twin)}
    assert len(seeds) == 2
    assert load(tmp_path, HEAD + "twin: false\n" + ONE) == load(tmp_path, HEAD + ONE)


@pytest.mark.parametrize(
    ("head", "second", "names"),
    [
        ("", "{name: b, encoding: {alpha: 1, beta: 9}}", ["control", "twin"]),
        ("twin: false\n", "{name: b, encoding: {alpha: 1, beta: 9}}", ["control"]),
        ("control: false\n", "{name: b, encoding: {alpha: 1, beta: 9}}", []),
        ("", "{name: b, extends: a, allow_equivalent: true}", ["control"]),
        ("", "{name: b, task: tra}", ["control"]),
        ("", "{name: Twin, encoding: {alpha: 1, beta: 9}}", ["control"]),
    ],
)
def test_a_twin_comes_with_the_control_where_nothing_else_shows_what_another_encoding_buys(
    tmp_path: Path, head: str, second: str, names: list[str]
) -> None:
    devices = f"devices: [{{name: a, encoding: {{alpha: 4, beta: 16}}}}, {second}]\n"
    assert [one.name for one in load(tmp_path, HEAD + head + devices).controls] == names


def test_a_twin_needs_a_name_and_an_encoding(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="kept for the twin"):
        load(tmp_path, HEAD + "twin: true\n" + ONE.replace("name: a", "name: Twin"))
    with pytest.raises(ProfileError, match="`twin: true` repeats an encoding, and 'a' has none"):
        load(tmp_path, HEAD + "twin: true\ndevices: [{name: a, task: tra}]\n")
