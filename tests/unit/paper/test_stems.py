"""First layers: pairs of networks that differ in nothing else, and figures that add up."""

import dataclasses
from pathlib import Path

import pytest
from rich.console import Console

from fleet.errors import FleetError
from fleet.paper.stems_result import StemNetwork, Stems
from fleet.paper.terminal import stems_view
from fleet.paper.workspace import PROFILES
from fleet.profiles import load_profile


def stems() -> Stems:
    network = StemNetwork("int", "cifar", 2, 222.4, 2000, 1900, 20)
    return Stems("Stems", "2026-01-01T00:00:00+00:00", 4000, (network,), {})


def test_each_pair_differs_in_its_stem_alone() -> None:
    devices = load_profile(PROFILES / "stems.yaml").devices
    for first, second in zip(devices[::2], devices[1::2], strict=True):
        model = dataclasses.replace(second.model, stem="imagenet")
        assert dataclasses.replace(second, name=first.name, model=model) == first
    assert [(d.task, d.model.stem) for d in devices] == [
        ("tra", "imagenet"), ("tra", "cifar"), ("int", "imagenet"), ("int", "cifar"),
    ]  # fmt: skip


def test_the_view_shows_shares_of_the_test_images() -> None:
    console = Console(width=200)
    with console.capture() as shown:
        console.print(stems_view(stems()))
    (line,) = [line for line in shown.get().splitlines() if "cifar" in line]
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    assert cells == ["int", "cifar", "0.9500", "0.0100", "222"]


def test_a_stored_result_comes_back_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stems.json"
    stems().save(path)
    assert Stems.load(path) == stems()
    path.write_text(path.read_text(encoding="utf-8").replace("stem", "stalk"), encoding="utf-8")
    with pytest.raises(FleetError):
        Stems.load(path)
