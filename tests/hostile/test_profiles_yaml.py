"""Profiles written to break the reader: each gives one clear error, quickly."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.errors import ProfileError
from fleet.profiles import load_profile
from fleet.profiles.yaml_text import MAX_BYTES, MAX_DEPTH

HEAD = b"version: 1\nname: fam\ndata: {dataset: mnist, root: .}\n"
LAUGHS = b"a: &a0 [x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 12)
)

HOSTILE = {
    "billion laughs": (LAUGHS, "aliases expand to too many values"),
    "list that holds itself": (b"devices: &a [*a]\n", "an anchor holds an alias of itself"),
    "mapping that holds itself": (b"devices: &a {b: *a}\n", "an anchor holds an alias of itself"),
    "deep list": (b"[" * 100_000, "too deeply nested"),
    "deep mapping": (b"{a: " * 50_000, "too deeply nested"),
    "deep blocks": (b"".join(b" " * i + b"a:\n" for i in range(300)), "too deeply nested"),
    "too large": (b"#" * (MAX_BYTES + 1), "is larger than 256 KiB"),
    "python object": (
        b"version: !!python/object/apply:os.system ['exit 1']\n",
        "tag '!!python/object/apply:os.system' does not belong here",
    ),
    "binary": (b"version: !!binary aGk=\n", "tag '!!binary' does not belong here"),
    "set": (b"version: !!set {a, b}\n", "tag '!!set' does not belong here"),
    "number that is none": (b"version: !!int one\n", "tag '!!int' does not belong here"),
    "undefined alias": (b"version: *nowhere\n", "undefined alias"),
    "unknown directive prefix": (b"version: !e!x 1\n", "undefined tag handle"),
    "UTF-16": ("version: 1".encode("utf-16"), "byte 0xff is not UTF-8"),
    "Latin-1": (b"name: caf\xe9\n", "byte 0xe9 is not UTF-8"),
    "null byte": (b"version: 1\nname: a\x00b\n", "character U+0000 is not allowed"),
    "escape sequence": (b"name: \x1b[31mred\n", "character U+001B is not allowed"),
    "number of many digits": (b"version: " + b"9" * 5000, "may have 400 characters at most"),
    "list as key": (b"[a, b]: 1\n", "a key must be text"),
    "null as key": (b"~: 1\n", "a key must be text"),
    "boolean as key": (b"true: 1\n", "a key must be text"),
}


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    return tmp_path / "profile.yaml"


def message(profile: Path, data: bytes) -> str:
    profile.write_bytes(data)
    with pytest.raises(ProfileError) as caught:
        load_profile(profile)
    return caught.value.message


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_refused_quickly(profile: Path, name: str) -> None:
    data, says = HOSTILE[name]
    start = time.process_time()
    text = message(profile, data)
    assert says in text
    assert time.process_time() - start < 20  # seconds; without the limits some never end
    assert len(text) < 5000


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"version: 1\nname: caf\xe9\n", "2:10"),
        ("# \N{SNOWMAN}\nname: caf".encode() + b"\xff", "2:10"),
        (b"version: 1\nname: a\x00b\n", "2:8"),
        (b"\xef\xbb\xbfname: \xff", "1:7"),
        (b"a: [\n  {b: [1, *x]}]", "2:11"),
    ],
)
def test_place_of_a_hostile_byte(profile: Path, data: bytes, place: str) -> None:
    assert message(profile, data).startswith(f"{profile}:{place}: ")


def test_nesting_is_allowed_up_to_the_limit(profile: Path) -> None:
    assert "must be a mapping" in message(profile, b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


def test_nothing_that_a_terminal_obeys_reaches_the_message(profile: Path) -> None:
    data = (
        HEAD
        + b'devices: [{"\\e[31m": 1, name: "\\e[2J", task: "\\u202e", extends: "\\x07\\x9b"}]\n'
        + '"\N{RIGHT-TO-LEFT OVERRIDE}": \N{RIGHT-TO-LEFT OVERRIDE}\n'.encode()
    )
    text = message(profile, data)
    assert text.count(f"{profile}:") == 5
    assert all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize("value", ["\\ud800", "\\udfff"])
def test_lone_surrogates_are_refused_in_a_printable_way(profile: Path, value: str) -> None:
    text = f'version: 1\nname: "{value}"\ndata: {{dataset: mnist, root: "{value}"}}\n'
    text += f'devices: [{{name: "{value}", task: tra, extends: "{value}"}}]\n"{value}": 1\n'
    message(profile, text.encode()).encode("utf-8")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("encoding: {alpha: 1e309, beta: 1}", "must be finite"),
        ("encoding: {alpha: .nan, beta: 1}", "must be"),
        ("encoding: {alpha: 1, beta: -.inf}", "must be"),
        ("encoding: {alpha: 1e300, beta: 1e300}", "devices[0].encoding"),
        ("encoding: {alpha: 1e-300, beta: 1e-300}", "devices[0].encoding"),
        ("encoding: {alpha: 1, beta: " + "9" * 400 + "}", "devices[0].encoding.beta must be"),
        ("training: {seed: 9223372036854775808}", "must be < 9.22337e+18"),
        ("training: {epochs: " + "9" * 300 + "}", "must be <= 10000 (got 999"),
        ("training: {epochs: true}", "must be a whole number (got true)"),
        ("training: {learning_rate: true}", "must be a number (got true)"),
        ("training: {mirror: 1}", "must be true or false (got 1)"),
        ("encoding: {alpha: true, beta: 1}", "(got true)"),
        ("encoding: {alpha: auto, beta: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]}", "cannot be auto"),
        ("encoding: {alpha: {}, beta: 1}", "(got a mapping)"),
        ("encoding: {alpha: [], beta: 1}", "(got 0)"),
        ("encoding: {alpha: 1, beta: 1, order: [0, 1.0]}", "order[1] must be a whole number"),
        ("model: [nn]", "devices[0].model must be a mapping (got a list of 1)"),
    ],
)
def test_values_at_the_edge_of_their_type(profile: Path, field: str, value: str) -> None:
    text = HEAD + f"devices:\n  - {{name: a, {field}}}\n".encode()
    assert value in message(profile, text)


@pytest.mark.parametrize("root", ['"a\\0b"', "x" * 300, "loop", "x/" * 2000])
def test_roots_that_no_file_system_takes(profile: Path, root: str) -> None:
    (profile.parent / "loop").symlink_to("loop")
    data = f"version: 1\nname: f\ndata: {{dataset: mnist, root: {root}}}\n"
    text = message(profile, (data + "devices: [{name: a, task: tra}]\n").encode())
    assert text.startswith(f"{profile}:3:30: data.root is not a")


@pytest.mark.parametrize(
    "name", [".", "..", ".git", "a/b", "a\\b", "-rf", "", " ", "a b", "é", "a" * 65, "x\ty"]
)
def test_device_names_are_safe_as_parts_of_a_path(profile: Path, name: str) -> None:
    text = HEAD + f"devices: [{{name: '{name}', task: tra}}]\n".encode()
    assert "devices[0].name must be letters" in message(profile, text)


def test_a_huge_family_is_refused(profile: Path) -> None:
    devices = b"".join(b"- {name: a%d}\n" % i for i in range(10_001))
    assert "devices may have 10000 items at most" in message(
        profile, HEAD + b"defaults: {task: tra}\ndevices:\n" + devices
    )


def test_a_large_default_is_not_copied_for_every_device(profile: Path) -> None:
    """10,000 values cost some 9 MiB once, and 23 MiB more if each device had a list of its own."""
    order = b"[" + b", ".join([b"0"] * 10_000) + b"]"
    devices = b"".join(b"- {name: a%d}\n" % i for i in range(300))
    text = HEAD + b"defaults: {encoding: {alpha: 1, beta: 1, order: " + order + b"}}\n"
    tracemalloc.start()
    try:
        assert "may have 1000 items at most" in message(profile, text + b"devices:\n" + devices)
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=200))
def test_any_bytes_give_a_profile_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    profile = tmp_path_factory.mktemp("fuzz") / "profile.yaml"
    message(profile, data).encode("utf-8")


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    scalars | st.just("auto"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["name", "task", "encoding", "alpha", "beta", "order", "model", "extends"]
            )
            | st.text(max_size=4),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150)
@given(values, values, values)
def test_any_values_give_a_family_or_a_profile_error(
    tmp_path_factory: pytest.TempPathFactory, defaults: object, device: object, data: object
) -> None:
    import yaml

    profile = tmp_path_factory.mktemp("fuzz") / "profile.yaml"
    content = {
        "version": 1,
        "name": "fam",
        "data": {"dataset": "mnist", "root": "."} if data is None else data,
        "defaults": defaults,
        "devices": [{"name": "a", "task": "tra"}, device],
    }
    profile.write_text(yaml.safe_dump(content, allow_unicode=False), encoding="utf-8")
    try:
        load_profile(profile)
    except ProfileError as error:
        text = error.message
    else:
        text = str(profile)
    assert str(profile) in text
    text.encode("utf-8")


def test_a_number_in_the_place_of_a_device_is_no_count(tmp_path: Path) -> None:
    """It once was taken for the number of devices that the entry stands for."""
    text = b"version: 1\nname: fam\ndata: {dataset: mnist, root: .}\ndevices: [99999999999999]\n"
    assert "devices[0] must be a mapping" in message(tmp_path / "profile.yaml", text)
