"""An entry with a ``count`` stands for many devices, and orders are spread over them."""

from __future__ import annotations

import time
from itertools import combinations
from pathlib import Path

import pytest

from fleet.encoding.orders import expected_shared, mean_shared, shared_dichotomies, spread_orders
from fleet.errors import ProfileError
from fleet.profiles import FamilySpec, load_profile
from tests.conftest import RunFleet

HEAD = "version: 1\nname: fam\ndata: {dataset: mnist, root: .}\n"
SPREAD = HEAD + "defaults: {encoding: {alpha: 4, beta: 16, order: spread}}\n"


def load(tmp_path: Path, text: str) -> FamilySpec:
    path = tmp_path / "profile.yaml"
    path.write_text(text, encoding="utf-8")
    return load_profile(path)


@pytest.mark.parametrize(
    "devices",
    [
        "devices: {count: 3, name: cam-{n:03}}\n",
        "devices: {count: 3, name: 'cam-{n:03}'}\n",
        "devices:\n  count: 3\n  name: cam-{n:03}\n",
        "devices:\n  - count: 3\n    name: cam-{n:03}\n",
    ],
)
def test_a_count_gives_what_the_devices_written_out_give(tmp_path: Path, devices: str) -> None:
    written = "devices: [{name: cam-001}, {name: cam-002}, {name: cam-003}]\n"
    counted, listed = load(tmp_path, SPREAD + devices), load(tmp_path, SPREAD + written)
    assert counted == listed
    assert counted.digest() == listed.digest()


def test_entries_with_and_without_a_count_stand_beside_each_other(tmp_path: Path) -> None:
    family = load(
        tmp_path,
        SPREAD + "devices:\n  - {name: door, training: {epochs: 2}}\n"
        "  - {count: 2, name: '{n}-lot', extends: door, training: {seed: 4}}\n"
        "  - {name: roof, extends: 2-lot}\n",
    )
    assert [device.name for device in family.devices] == ["door", "1-lot", "2-lot", "roof"]
    assert [device.training.seed for device in family.devices] == [0, 4, 4, 4]
    assert {device.training.epochs for device in family.devices} == {2}


def test_a_larger_count_leaves_the_devices_of_before_as_they_were(tmp_path: Path) -> None:
    few, many = (
        load(tmp_path, SPREAD + f"devices: {{count: {n}, name: c{{n}}}}\n") for n in (7, 9)
    )
    assert many.devices[:7] == few.devices


def test_orders_that_are_written_are_not_spread_again(tmp_path: Path) -> None:
    first = list(spread_orders(10, 1)[0])
    devices = f"devices: [{{name: a, encoding: {{order: {first}}}}}, {{name: b}}, {{name: c}}]\n"
    family = load(tmp_path, SPREAD + devices)
    orders = [device.encoding.order for device in family.devices if device.encoding]
    assert orders == spread_orders(10, 3)


def test_where_orders_run_out_they_begin_again(tmp_path: Path) -> None:
    text = SPREAD.replace("mnist", "folder").replace("root: .", "root: ., classes: 3, channels: 1")
    devices = "devices: {count: 4, name: c{n}}\n"
    with pytest.raises(ProfileError, match="'c4' is equivalent to that of 'c1'"):
        load(tmp_path, text + devices)
    same = load(tmp_path, text + devices.replace("name", "allow_equivalent: true, name"))
    assert same.devices[3].encoding == same.devices[0].encoding


def test_orders_beyond_the_zigzags_share_less_than_drawn_ones() -> None:
    orders = spread_orders(10, 40)
    assert max(shared_dichotomies(a, b) for a, b in combinations(orders[:5], 2)) == 0
    pairs = [shared_dichotomies(a, b) for a, b in combinations(orders, 2)]
    assert mean_shared(orders) == pytest.approx(sum(pairs) / len(pairs))
    assert mean_shared(orders) < 0.9 * expected_shared(10)
    assert expected_shared(10) == pytest.approx(0.549, abs=1e-3)  # theory, docs/encoding.md


@pytest.mark.parametrize(
    ("devices", "where", "says"),
    [
        ("{count: 0, name: c{n}}", "5:18", "devices.count must be a whole number >= 1 (got 0)"),
        ("{count: yes, name: c{n}}", "5:18", "must be a whole number >= 1 (got 'yes')"),
        ("{count: 1e9, name: c{n}}", "5:18", "must be a whole number >= 1"),
        ("{count: 10001, name: c{n}}", "5:18", "makes more than the 10000 devices"),
        ("[{count: 9999, name: c{n}}, {count: 2, name: d{n}}]", "5:46", "makes more than"),
        ("{count: 2, name: cam}", "5:27", "devices.name must hold {n}"),
        ("{count: 2}", "5:10", "devices.name must hold {n}"),
        ("[{name: c{n}}]", "5:18", "devices[0].name must be letters, digits"),
        ("{count: 2, name: c{m}}", "5:28", "not YAML"),
        ("[{count: 2, name: c{n}}, {name: c2}]", "5:42", "devices[1].name 'c2' is taken (line 5)"),
    ],
)
def test_mistakes_are_named_where_they_stand(
    tmp_path: Path, devices: str, where: str, says: str
) -> None:
    with pytest.raises(ProfileError) as caught:
        load(tmp_path, SPREAD + f"devices: {devices}\n")
    assert f"profile.yaml:{where}: " in str(caught.value)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("defaults", "wrong"),
    [
        (SPREAD, "training: {epochs: 0}"),
        (SPREAD, "model: {stem: cifar}"),
        (SPREAD.replace(", order: spread", ""), "training: {epochs: 2}"),  # all are equivalent
    ],
)
def test_one_mistake_of_many_devices_is_told_once(
    tmp_path: Path, defaults: str, wrong: str
) -> None:
    with pytest.raises(ProfileError) as caught:
        load(tmp_path, defaults + f"devices: {{count: 500, name: c{{n}}, {wrong}}}\n")
    assert str(caught.value).count("profile.yaml:") == 1


def test_a_thousand_devices_are_checked_in_seconds(tmp_path: Path, run_fleet: RunFleet) -> None:
    path = tmp_path / "many.yaml"
    path.write_text(SPREAD + "devices: {count: 1000, name: cam-{n:04}}\n", encoding="utf-8")
    began = time.process_time()
    family = load_profile(path)
    assert time.process_time() - began < 3
    assert len(family.devices) == 1000
    done = run_fleet("profiles", "check", path)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "1000 devices" in done.stderr
