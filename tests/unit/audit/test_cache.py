"""Intermediate results on disk: read back as they were, or not at all."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fleet.audit.core import cache
from fleet.audit.core.cache import SCHEMA, PackedOutcomes, pack, recall, remember, unpack
from fleet.errors import StorageError

KEY = {"weights": "ab", "steps": 2}


@dataclass(frozen=True, eq=False)
class Found:
    """What is kept."""

    outcomes: PackedOutcomes
    names: tuple[str, ...]
    gap: float | None


FOUND = Found(np.array([[0, 1, 2], [2, 2, 0]], dtype=np.int8), ("a", "b"), None)


@pytest.mark.parametrize("shape", [(0,), (3,), (2, 3), (2, 1, 4), (0, 2)])
def test_outcomes_stand_as_digits_and_come_back(shape: tuple[int, ...]) -> None:
    outcomes = np.arange(np.prod(shape), dtype=np.int8).reshape(shape) % 3
    packed = json.loads(json.dumps(pack(outcomes)))
    back = unpack(packed)
    assert back.dtype == np.int8
    assert back.shape == shape
    assert (back == outcomes).all()
    assert set(packed["outcomes"]) <= set("012")


def count_calls(path: Path, key: dict[str, object]) -> tuple[Found, int]:
    calls = []

    def make() -> Found:
        calls.append(1)
        return FOUND

    return remember(path, key, Found, make), len(calls)


def test_a_result_is_made_once_for_each_key(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    assert count_calls(path, KEY)[1] == 1
    again, made = count_calls(path, KEY)
    assert made == 0
    assert (again.outcomes == FOUND.outcomes).all()
    assert (again.names, again.gap) == (FOUND.names, FOUND.gap)
    assert count_calls(path, {**KEY, "steps": 3})[1] == 1
    assert count_calls(path, KEY)[1] == 1, "one file holds one key"
    assert count_calls(path, {"images": (("a", 1),)})[1] == 1
    assert count_calls(path, {"images": (("a", 1),)})[1] == 0, "tuples are lists in JSON"


def test_a_new_making_or_another_torch_makes_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    count_calls(path, KEY)
    assert recall(path, KEY, Found, version=2) is None
    assert 'fleet"' not in path.read_text(), "a new version of fleet alone changes nothing"
    monkeypatch.setattr(cache, "package_version", lambda name: f"another {name}")
    assert recall(path, KEY, Found) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: "[]",
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("012", "000"),
        lambda text: text.replace(SCHEMA, "fleet.audit.kept/0"),
        lambda text: text.replace('"names"', '"nouns"'),
    ],
)
def test_a_damaged_result_is_as_good_as_none(tmp_path: Path, spoil) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "a.json"
    count_calls(path, KEY)
    text = path.read_text()
    assert spoil(text) != text
    path.write_text(spoil(text))
    assert recall(path, KEY, Found) is None
    assert count_calls(path, KEY)[1] == 1
    assert recall(path, KEY, Found) is not None


def test_what_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        count_calls(tmp_path / "file" / "a.json", KEY)
