"""The profiles, the schema and the tables that the project ships."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet.files import canonical_json
from fleet.profiles import Photos, field_tables, json_schema, load_profile, template
from fleet.profiles.data_section import DATASETS
from fleet.profiles.schema import TrainingSection

PROJECT = Path(__file__).resolve().parents[3]
PROFILES = sorted((PROJECT / "profiles").glob("*.yaml"))
REPRODUCTION = sorted((PROJECT / "fleet" / "paper" / "profiles").glob("*.yaml"))
DIGESTS = dict(
    line.split()
    for line in """
photos-fleet 6436502524f9e78c5a75229428972fe6d449a4c6dfe916849c598669dba9bfe5
photos-cross 3cab727365b826bb8eb440969071a3602b0a71340e369d0229136fca124b4b1e
photos-accuracy 8f07e07c3c6582d6a0a710996491a64138ed37de09a8c8ae65b71fa44f8da30f
orders ea5dfedf49f6198ef2a782299840dcc50266fa1039a15bd28aa2af424918230a
devices ade6345627bfa74ba2a45341d85326d2345941cacbf9c08a1c9fed7b70d7f720
paper-demo d8dab879a4a1c194164ddfa0e29f5d4b64be537572accf828107a0b7cb80ff62
fashion-demo b6d43beac76eff0810d151db8e260c2789a70154532e1e25504243893a0f754d
robust-adversarial a738b6c786455f066bb3a5aad91f489d3e0f8309473311b70d65b639b819f7f1
robust-heads 34965331ee6e6c4009997d1d6b75801638fd3c62234ea0f9c7eba6976c8eb23e
robust-mnist 847acfcad119004540fb9fafad101d6a03790b332adbca860b56e04176b5e09d
robust-one ae6a39994fcab1e9db35e82f36f781ee01a172a87e343550359bf03f66933e57
convergence 664823aed49394e308d70dd653b141d578596d05fc54c9ab379576e897e8e5d2
figure3-mnist 1f299e92f9c62d5012ba7fa0917959d8cf4f93bc07feb661bf1d45c53a254d20
figure3-standin aeafbf85d929f23ae3171786723ff321a841f4f91fc8bde11433452d4860ea7f
figure3 2badf0a3e5bb91c79a4ff0e08e64a5dca23705c6abd13c0d8c7e6944b63d6b1f
stems 4de4261cdbb85f9f4c5a530740e71d8f45d97f9e05f9b7b0daa8ff5d8f805c97
table1-alexnet 2d7937937626be24f0072c2b69acc3d8a9eb4cc40d7a275ca676809e312173c4
table1-nn 9dbc1dd5f33fe28f16aaaadba0848f39e1535e28a6561be05627df322df05df0
table1-resnet18 534c0da6bdeebaa6463fabe6bb12563c171841549862829eee2048b15a10f2ec
table2-alexnet 8c4186994578b594423dab6f9c533fab3534381bbf1e50c34b5dd89de33f74dd
table2-densenet121 ab521e48d6f8cbd2a6c740bf73cfff1370b65b5c6bf395b140a9f9b6db9e4589
table2-resnet18 93773d247e572b6abf535c21ea7c27ea0efc5b2b4bd19d5d63843887943fb6d5
table2-standin-alexnet 4ea77fe5c2875e363fa2478f7a28b20be65266a787315f510f2883eeddfc20ff
table2-standin-densenet121 01bf7f230cf3798b7375782ff2d647086b37dc000bd65618414288740ec47500
table2-standin-resnet18 7381973193be7f60fb96b0e5c89dde9458c58280ca93f7e8aefb4efed3ca9055
""".strip().splitlines()
)
DRAFT7 = {
    *("$schema", "$ref", "definitions", "title", "description", "default", "type", "enum"),
    *("const", "properties", "additionalProperties", "required", "items", "minItems", "maxItems"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern"),
    *("minLength", "maxLength", "anyOf", "oneOf", "allOf"),
}


def neighbours(classes: tuple[int, ...]) -> set[frozenset[int]]:
    return {frozenset(pair) for pair in itertools.pairwise(classes)}


def test_digests_of_profiles_stay_as_they_were() -> None:
    """A digest stands in runs, audits and bundles; a new setting at its default keeps it."""
    found = {
        path.stem: load_profile(path, check_data=False).digest()
        for path in (*PROFILES, *REPRODUCTION)
    }
    assert found == DIGESTS


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_shipped_profile_is_valid(path: Path) -> None:
    family = load_profile(path, check_data=False)
    assert family.name == path.stem.replace("devices", "demo")
    modeline = "# yaml-language-server: $schema=./devices.schema.json"
    assert path.read_text(encoding="utf-8").splitlines()[0] == modeline


def test_the_profiles_are_the_demo_orders_the_certified_fleets_and_photos() -> None:
    names = [
        *("devices", "fashion-demo", "orders", "paper-demo", "photos-accuracy"),
        *("photos-cross", "photos-fleet"),
        *("robust-adversarial", "robust-heads", "robust-mnist", "robust-one"),
    ]
    assert [p.stem for p in PROFILES] == names


@pytest.mark.parametrize("path", REPRODUCTION, ids=lambda path: path.stem)
def test_profile_of_the_reproduction_is_valid(path: Path) -> None:
    family = load_profile(path, check_data=False)
    assert family.name == path.stem
    assert family.controls == ()  # the tables hold the paper's own baselines
    modeline = "# yaml-language-server: $schema=../../../profiles/devices.schema.json"
    assert path.read_text(encoding="utf-8").splitlines()[0] == modeline


def test_the_reproduction_has_the_papers_networks_for_each_table() -> None:
    networks = {
        path.stem.rsplit("-", 1)[0]: set[str]() for path in REPRODUCTION if "table" in path.stem
    }
    for path in REPRODUCTION:
        if "table" in path.stem:
            table, network = path.stem.rsplit("-", 1)
            devices = load_profile(path, check_data=False).devices
            assert {device.model.architecture for device in devices} == {network}
            assert [d.task for d in devices[:3]] == ["tra", "hin", "int"]
            networks[table].add(network)
    assert networks == {
        "table1": {"nn", "alexnet", "resnet18"},
        "table2": {"alexnet", "resnet18", "densenet121"},
        "table2-standin": {"alexnet", "resnet18", "densenet121"},
    }


def test_the_demo_is_certified_and_is_what_its_comments_say() -> None:
    family = load_profile(PROJECT / "profiles/devices.yaml")
    recipes = {d.training for d in family.devices}
    assert {(t.method, t.eps) for t in recipes} == {("certified", 0.1)}
    encodings = [device.encoding for device in family.devices if device.encoding]
    assert len({encoding.canonical() for encoding in encodings}) == 4
    *_, three, four = (encoding.classes for encoding in encodings)
    assert three == (0, 1, 9, 2, 8, 3, 7, 4, 6, 5)
    assert four == (1, 2, 0, 3, 9, 4, 8, 5, 7, 6)
    assert not neighbours(three) & neighbours(four)
    assert [c.name for c in family.controls] == ["control", "twin"]


def test_the_papers_demo_is_what_its_comments_say() -> None:
    family = load_profile(PROJECT / "profiles/paper-demo.yaml")
    encodings = [device.encoding for device in family.devices]
    one, two, three, four = (encoding for encoding in encodings if encoding is not None)
    assert (one.alpha, one.beta, one.s0, one.order) == (4.0, 16.0, 0.0, None)
    assert (two.alpha, two.beta, two.order) == (2.0, 18.0, None)
    assert three.classes == (3, 8, 1, 6, 0, 9, 5, 2, 7, 4)
    assert four.classes == (6, 2, 9, 4, 1, 7, 3, 5, 0, 8)
    for a, b in itertools.combinations((one.classes, three.classes, four.classes), 2):
        assert not neighbours(a) & neighbours(b)
    assert [d.model.head for d in family.devices] == ["linear", "linear", "linear", "ordinal"]


@pytest.mark.parametrize("name", ["figure3", "figure3-mnist", "figure3-standin"])
def test_figure_3_has_two_networks_of_each_encoding_and_a_family_of_seeds(name: str) -> None:
    family = load_profile(PROJECT / f"fleet/paper/profiles/{name}.yaml", check_data=False)
    counts = Counter((d.encoding.alpha, d.encoding.beta) for d in family.devices if d.encoding)
    assert {pair for pair in counts if pair[1] == 16} == {(1, 16), (4, 16), (16, 16)}
    assert {pair for pair in counts if pair[0] == 4} == {(4, 1), (4, 4), (4, 16), (4, 64)}
    assert counts == {**dict.fromkeys(counts, 2), (4, 16): 4}
    assert {d.model.architecture for d in family.devices} == {"resnet18"}
    recipes = {dataclasses.replace(d.training, seed=0) for d in family.devices}
    assert len(recipes) == 1  # encoding and seed are all that differs


def test_schema_file_is_current() -> None:
    text = (PROJECT / "profiles/devices.schema.json").read_text(encoding="utf-8")
    assert text == canonical_json(json_schema()), "run `make docs`"


def test_documented_tables_are_current() -> None:
    text = (PROJECT / "docs/profiles.md").read_text(encoding="utf-8")
    assert text.endswith(field_tables()), "run `make docs`"


def test_documented_example_is_valid(tmp_path: Path) -> None:
    text = (PROJECT / "docs/profiles.md").read_text(encoding="utf-8")
    example = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert example is not None
    path = tmp_path / "cameras.yaml"
    path.write_text(example.group(1), encoding="utf-8")
    family = load_profile(path, check_data=False)
    assert [device.training.epochs for device in family.devices] == [8, 8, 12]


def test_documented_dataset_facts_are_those_of_the_code() -> None:
    tables = field_tables()
    small = {name for name, facts in DATASETS.items() if facts.validation == 5000}
    assert small == {"mnist", "fashion-mnist", "cifar10"}
    assert "null is 5000 for MNIST, Fashion-MNIST and CIFAR-10, 500 for the others" in tables
    assert {facts.image_size for facts in DATASETS.values()} == {28, 32, 224}


def test_every_field_is_documented() -> None:
    tables = field_tables()
    for name, field in TrainingSection.model_fields.items():
        assert f"| `{name}` | " in tables
        assert field.description in tables


def test_schema_speaks_draft_7() -> None:
    schema = json_schema()
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    check_draft7(schema, schema)


def check_draft7(schema: dict[str, Any], root: dict[str, Any]) -> None:
    assert set(schema) <= DRAFT7
    assert "$ref" not in schema or len(schema) == 1, "draft 7 ignores what stands beside $ref"
    if "$ref" in schema:
        assert schema["$ref"].removeprefix("#/definitions/") in root["definitions"]
    inner = [*schema.get("properties", {}).values(), *schema.get("definitions", {}).values()]
    for key in ("anyOf", "oneOf", "allOf"):
        inner += schema.get(key, [])
    if "items" in schema:
        inner.append(schema["items"])
    for part in inner:
        check_draft7(part, root)


def test_schema_holds_the_bounds_that_the_loader_holds() -> None:
    definitions = json_schema()["definitions"]
    beta = definitions["EncodingSection"]["properties"]["beta"]
    branches = beta["anyOf"][0]["oneOf"]
    assert {"type": "number", "minimum": 0} in branches
    assert {"type": "string", "const": "auto"} in branches
    assert definitions["DeviceSection"]["required"] == ["name"]


@pytest.mark.parametrize("dataset", list(DATASETS))
@pytest.mark.parametrize("devices", [1, 4, 120])
def test_starter_is_valid_as_it_stands(tmp_path: Path, dataset: Any, devices: int) -> None:
    path = tmp_path / "starter.yaml"
    photos = Photos(3, 3, 90, 150) if dataset == "folder" else None
    text = template("2024", dataset=dataset, devices=devices, root=".", photos=photos)
    path.write_text(text, encoding="utf-8")
    family = load_profile(path)
    assert (family.name, family.data.dataset, len(family.devices)) == ("2024", dataset, devices)
    assert family.devices[0].name.startswith("device-0")


def test_what_the_starter_leaves_in_comments_is_valid_too(tmp_path: Path) -> None:
    text = template("x", root=".")
    head, comments = text.rsplit("\n\n", 1)
    lines = [line.removeprefix("# ") for line in comments.splitlines()[2:]]
    path = tmp_path / "starter.yaml"
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    family = load_profile(path)
    assert family.devices[-1].name == "device-with-drawn-values"
    assert family.devices[-1].drawn == ("alpha", "beta", "s0", "order")
    assert not any(device.drawn for device in family.devices[:-1])


def test_starter_quotes_what_yaml_would_misread(tmp_path: Path) -> None:
    text = template("true", root='a: b # c\n"é\\')
    assert yaml.safe_load(text)["data"]["root"] == 'a: b # c\n"é\\'
    assert yaml.safe_load(text)["name"] == "true"


def test_schema_is_plain_json() -> None:
    assert json.loads(canonical_json(json_schema())) == json_schema()
