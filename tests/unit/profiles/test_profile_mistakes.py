"""Every named mistake: what the profile says, where the error points, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from fleet.errors import ProfileError
from fleet.profiles import load_profile

HEAD = "version: 1\nname: fam\ndata: {dataset: mnist, root: images}\n"  # lines 1 to 3
INT = HEAD + "defaults: {encoding: {alpha: 4, beta: 16}}\n"  # lines 1 to 4
OTHER = "{alpha: 8, beta: 16}"


class Mistake(NamedTuple):
    name: str
    text: str
    where: str
    says: str
    hint: str = ""


MISTAKES = [
    Mistake(
        "negative beta",
        HEAD + "devices:\n  - name: a\n    encoding: {alpha: 4, beta: -16}\n",
        "6:32",
        "devices[0].encoding.beta must be >= 0 (got -16)",
    ),
    Mistake(
        "alpha of zero",
        HEAD + "devices:\n  - {name: a, encoding: {alpha: 0, beta: 16}}\n",
        "5:33",
        "devices[0].encoding.alpha must be > 0 (got 0)",
    ),
    Mistake(
        "alpha in quotes",
        HEAD + "devices:\n  - {name: a, encoding: {alpha: '4', beta: 16}}\n",
        "5:33",
        "alpha must be a number, a list with one for each class, or auto (got '4')",
        "must not be in quotes",
    ),
    Mistake(
        "fraction",
        INT + "devices:\n  - {name: a, training: {learning_rate: 3/1000}}\n",
        "6:41",
        "devices[0].training.learning_rate must be a number (got '3/1000')",
        "decimal",
    ),
    Mistake(
        "infinite length",
        HEAD + "devices:\n  - {name: a, encoding: {alpha: 4, beta: .inf}}\n",
        "5:42",
        "devices[0].encoding.beta must be finite (got inf)",
    ),
    Mistake(
        "s0 as a list",
        HEAD + "devices:\n  - {name: a, encoding: {alpha: 4, beta: 16, s0: [0]}}\n",
        "5:50",
        "devices[0].encoding.s0 must be a number or auto (got a list of 1)",
    ),
    Mistake(
        "encoding as a number",
        HEAD + "devices:\n  - {name: a, encoding: 5}\n",
        "5:25",
        "devices[0].encoding must be a mapping or auto (got 5)",
    ),
    Mistake(
        "order as a word",
        INT + "devices:\n  - {name: a, encoding: {order: random}}\n",
        "6:33",
        "order must be a list with one slot for each class, spread, or auto (got 'random')",
    ),
    Mistake(
        "fractional epochs",
        INT + "devices:\n  - {name: a, training: {epochs: 2.5}}\n",
        "6:34",
        "devices[0].training.epochs must be a whole number (got 2.5)",
    ),
    Mistake(
        "bound of a default points at the default",
        HEAD
        + "defaults:\n  encoding: {alpha: 4, beta: 16}\n  training: {margin: 0.5}\n"
        + "devices: [{name: a}]\n",
        "6:22",
        "defaults.training.margin must be < 0.5 (got 0.5)",
    ),
    Mistake(
        "yes is no boolean",
        INT + "devices:\n  - {name: a, training: {mirror: yes}}\n",
        "6:34",
        "devices[0].training.mirror must be true or false (got 'yes')",
        "YAML 1.2",
    ),
    Mistake(
        "misspelt choice",
        INT + "devices:\n  - {name: a, model: {architecture: resnet-18}}\n",
        "6:37",
        "'densenet121' or 'torchvision/NAME' (got 'resnet-18'); did you mean 'resnet18'?",
    ),
    Mistake(
        "unknown key",
        INT + "devices:\n  - name: a\n    training:\n      epoch: 3\n",
        "8:7",
        "devices[0].training.epoch is not a known key; did you mean 'epochs'?",
        "known keys here: loss",
    ),
    Mistake(
        "key in the wrong section",
        INT + "devices:\n  - name: a\n    epochs: 3\n",
        "7:5",
        "devices[0].epochs is not a known key",
        "'epochs' belongs under `training:`",
    ),
    Mistake(
        "merge key",
        INT + "devices:\n  - {name: a, <<: {task: tra}}\n",
        "6:15",
        "is not a known key",
        "use `defaults:` or `extends:`",
    ),
    Mistake(
        "duplicate key",
        HEAD + "devices:\n  - name: a\n    encoding:\n      alpha: 4\n      alpha: 5\n",
        "8:7",
        "key 'alpha' is written twice; the first is in line 7",
    ),
    Mistake(
        "duplicate device",
        INT + f"devices:\n  - name: a\n  - name: a\n    encoding: {OTHER}\n",
        "7:11",
        "devices[1].name 'a' is taken (line 6)",
    ),
    Mistake(
        "devices that differ in letter case",
        INT + f"devices:\n  - name: Cam\n  - name: cAM\n    encoding: {OTHER}\n",
        "7:11",
        "(line 6) by 'Cam'; some file systems ignore letter case",
    ),
    Mistake(
        "device name that is a path",
        INT + "devices:\n  - name: ../a\n",
        "6:11",
        "devices[0].name must be letters, digits",
    ),
    Mistake(
        "device name that is a number",
        INT + "devices:\n  - name: 007\n",
        "6:11",
        "devices[0].name must be text (got 7)",
        "quotes",
    ),
    Mistake(
        "device without a name",
        INT + "devices:\n  - name: a\n  - {extends: a, task: tra, encoding: null}\n",
        "7:5",
        "devices[1].name is missing",
    ),
    Mistake(
        "equivalent devices",
        HEAD
        + "devices:\n  - {name: a, encoding: {alpha: 4, beta: 16}}\n"
        + "  - {name: b, encoding: {alpha: 1, beta: 4, s0: 7}}\n",
        "6:25",
        "the encoding of device 'b' is equivalent to that of 'a' (line 5)",
        "allow_equivalent: true",
    ),
    Mistake(
        "reversed order is equivalent",
        INT
        + "devices:\n  - {name: a}\n"
        + "  - {name: b, encoding: {order: [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]}}\n",
        "7:25",
        "equivalent to that of 'a' (line 6)",
    ),
    Mistake(
        "wrong class count of the order",
        INT + "devices:\n  - {name: a, encoding: {order: [0, 1, 2]}}\n",
        "6:33",
        "devices[0].encoding.order must have one value for each of 10 classes (got 3)",
    ),
    Mistake(
        "wrong class count of a list of lengths",
        INT + "devices:\n  - {name: a, encoding: {beta: [16, 16]}}\n",
        "6:32",
        "devices[0].encoding.beta must have one value for each of 10 classes (got 2)",
    ),
    Mistake(
        "wrong class count of the data",
        "version: 1\nname: fam\ndata: {dataset: mnist, root: images, classes: 9}\n"
        "devices: [{name: a, task: tra}]\n",
        "3:47",
        "data.classes must be 10 for mnist (got 9)",
    ),
    Mistake(
        "order that uses a slot twice",
        INT + "devices:\n  - {name: a, encoding: {order: [0, 1, 2, 3, 4, 5, 6, 7, 8, 3]}}\n",
        "6:61",
        "devices[0].encoding.order[9] gives slot 3 a second time; the first is class 3",
    ),
    Mistake(
        "order with a slot that is not there",
        INT + "devices:\n  - {name: a, encoding: {order: [0, 1, 2, 3, 4, 5, 6, 7, 8, 10]}}\n",
        "6:61",
        "devices[0].encoding.order[9] must be a slot from 0 to 9 (got 10)",
    ),
    Mistake(
        "intervals that merge in float32",
        HEAD + "devices:\n  - {name: a, encoding: {alpha: 1e-6, beta: 1, s0: 1e6}}\n",
        "5:25",
        "devices[0].encoding of device 'a': ",
    ),
    Mistake(
        "drawn gap beside a length of zero",
        HEAD + "devices:\n  - {name: a, encoding: {alpha: auto, beta: 0}}\n",
        "5:33",
        "devices[0].encoding.alpha cannot be auto beside a beta of 0",
    ),
    Mistake(
        "interval device without an encoding",
        HEAD + "devices:\n  - name: a\n",
        "5:5",
        "devices[0].encoding is missing; task 'int' needs intervals",
        "encoding: auto",
    ),
    Mistake(
        "encoding without beta",
        HEAD + "devices:\n  - name: a\n    encoding: {alpha: 4}\n",
        "6:15",
        "devices[0].encoding.beta is missing for device 'a'",
    ),
    Mistake(
        "inherited encoding on a task without intervals points at the default",
        INT + "devices:\n  - {name: a, task: tra}\n",
        "4:22",
        "defaults.encoding is only for task 'int'; device 'a' has task 'tra'",
        "encoding: null",
    ),
    Mistake(
        "head of another task",
        HEAD + "devices:\n  - {name: a, task: hin, model: {head: ordinal}}\n",
        "5:40",
        "devices[0].model.head 'ordinal' does not fit task 'hin' of device 'a'",
        "logits",
    ),
    Mistake(
        "width of a network that has none",
        INT + "devices:\n  - {name: a, model: {architecture: alexnet, width: 2}}\n",
        "6:53",
        "devices[0].model.width is only for 'nn' and 'cnn'; device 'a' has 'alexnet'",
    ),
    Mistake(
        "activation of a network that has its own",
        INT + "devices:\n  - {name: a, model: {activation: clip}}\n",
        "6:35",
        "devices[0].model.activation is only for 'cnn'; device 'a' has 'nn'",
    ),
    Mistake(
        "certified training without a radius",
        INT + "devices:\n  - {name: a, model: {head: softmax}, training: {method: certified}}\n",
        "6:49",
        "devices[0].training.eps is missing; method 'certified' of device 'a' defends a radius",
        "eps: 0.1",
    ),
    Mistake(
        "attacks on other networks without any",
        INT + "devices:\n  - {name: a, training: {method: cross, eps: 0.1}}\n",
        "6:25",
        "devices[0].training.pool is missing; method 'cross' of device 'a' attacks other networks",
        "pool: [../runs/RUN/devices/NAME/model.safetensors]",
    ),
    Mistake(
        "a pool that nothing attacks",
        INT + "devices:\n  - {name: a, training: {pool: [one.safetensors]}}\n",
        "6:32",
        "devices[0].training.pool of device 'a' is for method 'cross', not 'standard'",
        "method: cross",
    ),
    Mistake(
        "a network of a pool that is nowhere",
        INT
        + "devices:\n  - {name: a, training: {method: cross, eps: 0.1, pool: [one.safetensors]}}\n",
        "6:57",
        "training.pool of device 'a' is no file",
    ),
    Mistake(
        "certified training of the paper's head",
        INT + "devices:\n  - {name: a, training: {method: certified, eps: 0.1}}\n",
        "6:5",
        "devices[0].model.head of device 'a' cannot be certified",
        "head: softmax",
    ),
    Mistake(
        "certified training of a network without bounds",
        INT
        + "devices:\n  - {name: a, model: {architecture: resnet18, head: softmax},"
        + " training: {method: certified, eps: 0.1}}\n",
        "6:37",
        "devices[0].model.architecture 'resnet18' of device 'a' has no bounds to train",
        "architecture: cnn",
    ),
    Mistake(
        "Eq. 3 behind a gate",
        INT + "devices:\n  - {name: a, model: {head: softmax}, training: {loss: paper}}\n",
        "6:56",
        "devices[0].training.loss cannot train the head 'softmax' of device 'a'",
        "leave `loss` out",
    ),
    Mistake(
        "ResNet-18 without BatchNorm",
        INT + "devices:\n  - {name: a, model: {architecture: resnet18, batch_norm: false}}\n",
        "6:59",
        "batch_norm must be true; only 'nn' and 'alexnet' can be built without",
    ),
    Mistake(
        "first layers of a network that has one form",
        INT + "devices:\n  - {name: a, model: {stem: imagenet}}\n",
        "6:29",
        "devices[0].model.stem is not for 'nn'; device 'a' has no other first layers",
    ),
    Mistake(
        "pretrained weights behind other first layers",
        "version: 1\nname: fam\ndata: {dataset: cifar10, root: images, image_size: 64}\n"
        "devices:\n"
        "  - {name: a, task: tra, model: {architecture: alexnet, pretrained: true, stem: cifar}}\n",
        "5:81",
        "devices[0].model.stem must be 'imagenet' or 'auto' for pretrained weights",
    ),
    Mistake(
        "validation after every 0 steps",
        INT + "devices:\n  - {name: a, training: {validate_every: 0}}\n",
        "6:42",
        "devices[0].training.validate_every must be",
    ),
    Mistake(
        "a start elsewhere",
        INT + "devices:\n  - {name: a, training: {start: middle}}\n",
        "6:33",
        "devices[0].training.start must be 'range' or 'zero' (got 'middle')",
    ),
    Mistake(
        "pretrained paper network",
        "version: 1\nname: fam\ndata: {dataset: cifar10, root: images, image_size: 64}\n"
        "devices: [{name: a, task: tra, model: {pretrained: true}}]\n",
        "4:52",
        "pretrained must be false; there are no pretrained weights of 'nn'",
    ),
    Mistake(
        "pretrained on grey images",
        INT + "devices:\n  - {name: a, model: {architecture: resnet18, pretrained: true}}\n",
        "6:59",
        "takes colour images of 64 pixels or more, not 1-channel images of 28 pixels",
    ),
    Mistake(
        "shift beyond the image",
        INT + "devices:\n  - {name: a, training: {shift: 28}}\n",
        "6:33",
        "devices[0].training.shift must be smaller than the image (28 pixels)",
    ),
    Mistake(
        "batch larger than the training set",
        "version: 1\nname: fam\ndata: {dataset: mnist, root: images, train_limit: 100}\n"
        "devices: [{name: a, task: tra}]\n",
        "4:11",
        "batch_size 128 is more than the 100 training images",
    ),
    Mistake(
        "validation as large as the training set",
        "version: 1\nname: fam\ndata: {dataset: mnist, root: images, validation: 60000}\n"
        "devices: [{name: a, task: tra}]\n",
        "3:50",
        "data.validation must be smaller than the training set of 60000 (got 60000)",
    ),
    Mistake(
        "training limit that eats the validation images",
        "version: 1\nname: fam\ndata: {dataset: cifar10, root: images, train_limit: 45001}\n"
        "devices: [{name: a, task: tra}]\n",
        "3:53",
        "data.train_limit must be <= 45000",
    ),
    Mistake(
        "folder without classes",
        "version: 1\nname: fam\ndata: {dataset: folder, root: images, channels: 3}\n"
        "devices: [{name: a, task: tra}]\n",
        "3:7",
        "data.classes is missing; a folder does not tell it",
    ),
    Mistake(
        "two channels",
        "version: 1\nname: fam\ndata: {dataset: folder, root: images, classes: 3, channels: 2}\n"
        "devices: [{name: a, task: tra}]\n",
        "3:61",
        "data.channels must be 1 or 3 (got 2)",
    ),
    Mistake(
        "data that is not there",
        "version: 1\nname: fam\ndata: {dataset: mnist, root: elsewhere}\n"
        "devices: [{name: a, task: tra}]\n",
        "3:30",
        "data.root is not a directory: ",
        "relative to the profile",
    ),
    Mistake(
        "data that is a file",
        "version: 1\nname: fam\ndata: {dataset: mnist, root: profile.yaml}\n"
        "devices: [{name: a, task: tra}]\n",
        "3:30",
        "data.root is not a directory: ",
    ),
    Mistake(
        "no data",
        "version: 1\nname: fam\ndevices: [{name: a, task: tra}]\n",
        "1:1",
        "data is missing",
    ),
    Mistake(
        "no devices",
        HEAD + "devices: []\n",
        "4:10",
        "devices must have at least 1 item (got a list of 0)",
    ),
    Mistake(
        "devices as a mapping",
        HEAD + "devices: {a: {task: tra}}\n",
        "4:10",
        "devices must be a list (got a mapping)",
    ),
    Mistake(
        "device that is a word",
        HEAD + "devices:\n  - cam-01\n",
        "5:5",
        "devices[0] must be a mapping (got 'cam-01')",
    ),
    Mistake(
        "empty section",
        INT + "devices:\n  - name: a\n    training:\n",
        "7:14",
        "devices[0].training must be a mapping (got nothing)",
    ),
    Mistake(
        "unknown parent",
        INT + f"devices:\n  - name: cam-01\n  - {{name: b, extends: cam-1, encoding: {OTHER}}}\n",
        "7:24",
        "devices[1].extends names no device: 'cam-1'; did you mean 'cam-01'?",
    ),
    Mistake(
        "parents in a cycle",
        INT + "devices:\n  - {name: a, extends: b}\n  - {name: b, extends: a, task: tra}\n",
        "7:24",
        "devices[1].extends closes a cycle: 'a' extends 'b' extends 'a'",
    ),
    Mistake(
        "its own parent",
        INT + "devices:\n  - {name: a, extends: a}\n",
        "6:24",
        "closes a cycle: 'a' extends 'a'",
    ),
    Mistake(
        "later version",
        "version: 2\nname: fam\nfamily: {}\n",
        "1:10",
        "version must be 1 (got 2)",
        "later fleet",
    ),
    Mistake(
        "version that only equals 1",
        "version: true\n",
        "1:10",
        "version must be 1 (got true)",
    ),
    Mistake("list at the top", "- a\n", "1:1", "a profile must be a mapping (got a list of 1)"),
    Mistake("empty file", "", "1:1", "the profile is empty"),
    Mistake("only a comment", "# later\n", "1:1", "the profile is empty"),
    Mistake("tab", "version: 1\ndata:\n\tdataset: mnist\n", "3:1", "a tab cannot indent YAML"),
    Mistake("open bracket", "devices: [a, b\n", "2:1", "not YAML: while parsing a flow sequence"),
    Mistake("two documents", "a: 1\n---\nb: 2\n", "2:1", "a profile is one YAML document"),
    Mistake("unknown tag", "version: !later 1\n", "1:10", "tag '!later' does not belong here"),
    Mistake("key that is a number", "version: 1\n2: 3\n", "2:1", "a key must be text"),
]


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    return tmp_path / "profile.yaml"


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name.replace(" ", "-"))
def test_mistake_is_named_where_it_was_written(profile: Path, mistake: Mistake) -> None:
    profile.write_text(mistake.text, encoding="utf-8")
    with pytest.raises(ProfileError) as caught:
        load_profile(profile)
    first, source_line, caret = caught.value.message.splitlines()
    line, column = map(int, mistake.where.split(":"))
    assert first.startswith(f"{profile}:{mistake.where}: "), first
    assert mistake.says in first
    assert mistake.hint in (caught.value.hint or "")
    written = mistake.text.splitlines() or [""]
    shown = written[line - 1] if line <= len(written) else ""
    assert source_line == f"{line:5d} | {shown[:100]}".replace("\t", " ")
    assert caret == "      | " + " " * (column - 1) + "^"


def test_mistakes_have_names_of_their_own() -> None:
    assert len({mistake.name for mistake in MISTAKES}) == len(MISTAKES)


def test_message_has_the_shape_that_the_documentation_shows(profile: Path) -> None:
    text = "\n".join(
        [
            "version: 1",
            "devices:",
            "  - name: cam-01",
            "    encoding: {alpha: 4, beta: -16}",
            "name: fam",
            "data: {dataset: mnist, root: images}",
        ]
    )
    profile.write_text(text, encoding="utf-8")
    with pytest.raises(ProfileError) as caught:
        load_profile(profile)
    assert caught.value.message == (
        f"{profile}:4:32: devices[0].encoding.beta must be >= 0 (got -16)\n"
        "    4 |     encoding: {alpha: 4, beta: -16}\n"
        "      |                                ^"
    )


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file(profile: Path) -> None:
    text = HEAD.replace("images", "elsewhere") + (
        "defaults: {training: {epochs: 0}}\n"
        "devices:\n"
        "  - {name: a, encoding: {alpha: 4, beta: 16}}\n"
        "  - {name: b, encoding: {alpha: 8, beta: 32}, modle: {}}\n"
        "  - {name: c, task: tra, training: {epochs: 1}, model: {head: linear}}\n"
        "  - {name: d, extends: nobody, encoding: auto}\n"
        "  - {name: A, encoding: auto}\n"
    )
    profile.write_text(text, encoding="utf-8")
    with pytest.raises(ProfileError) as caught:
        load_profile(profile)
    places = [
        line.removeprefix(f"{profile}:").split(": ")[0]
        for line in caught.value.message.splitlines()
        if line.startswith(str(profile))
    ]
    assert places == ["3:30", "4:31", "7:47", "8:63", "9:24", "10:12"]
    assert (caught.value.hint or "").startswith("6 mistakes")
    assert "known keys here" in caught.value.message
    assert not list(profile.parent.glob("*.secret")), "a bad profile must not make a secret"


def test_a_mistake_in_the_data_hides_none_in_the_devices(profile: Path) -> None:
    text = HEAD.replace("mnist", "mnits") + "devices: [{name: a, encoding: {alpha: 4}}]\n"
    profile.write_text(text, encoding="utf-8")
    with pytest.raises(ProfileError) as caught:
        load_profile(profile)
    assert "did you mean 'mnist'?" in caught.value.message
    assert "devices[0].encoding.beta is missing for device 'a'" in caught.value.message


def test_a_mistake_in_defaults_is_reported_once_for_many_devices(profile: Path) -> None:
    names = "".join(f"  - {{name: d{i}, encoding: auto}}\n" for i in range(20))
    profile.write_text(
        HEAD + "defaults: {training: {epochs: 0}}\ndevices:\n" + names, encoding="utf-8"
    )
    with pytest.raises(ProfileError) as caught:
        load_profile(profile)
    assert caught.value.message.count("epochs must be >= 1") == 1


def test_a_default_that_every_device_replaces_is_still_checked(profile: Path) -> None:
    text = HEAD + "defaults: {training: {epochs: 0}}\n"
    text += "devices: [{name: a, task: tra, training: {epochs: 1}}]\n"
    profile.write_text(text, encoding="utf-8")
    with pytest.raises(ProfileError, match=r":4:31: defaults.training.epochs must be >= 1"):
        load_profile(profile)


def test_error_in_an_extended_device_points_at_the_device_that_wrote_it(profile: Path) -> None:
    text = INT + (
        "devices:\n"
        "  - {name: a, model: {head: logits}}\n"
        "  - {name: b, extends: a, encoding: {alpha: 1}}\n"
        "  - {name: c, extends: b, task: tra, encoding: null}\n"
    )
    profile.write_text(text, encoding="utf-8")
    with pytest.raises(ProfileError) as caught:
        load_profile(profile)
    lines = [line for line in caught.value.message.splitlines() if str(profile) in line]
    assert [line.split(": ")[0] for line in lines] == [f"{profile}:6:29"] * 2
    assert "of device 'a'" in lines[0]
    assert "of device 'b'" in lines[1]


def test_a_line_that_is_too_long_is_shown_around_the_mistake(profile: Path) -> None:
    padding = ", ".join(["0"] * 200)
    text = HEAD + f"devices: [{{name: a, encoding: {{alpha: [{padding}, -1], beta: 1}}}}]\n"
    profile.write_text(text, encoding="utf-8")
    with pytest.raises(ProfileError) as caught:
        load_profile(profile)
    lines = caught.value.message.splitlines()
    assert all(len(line) <= 108 for line in lines if " | " in line)
    position = next(i for i, line in enumerate(lines) if "(got -1)" in line)
    assert lines[position + 1][lines[position + 2].index("^") :].startswith("-1]")
