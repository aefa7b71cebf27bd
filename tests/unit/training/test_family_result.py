"""How a training ended, as a table."""

from pathlib import Path

import pytest

from fleet.errors import TrainingError
from fleet.rundir import RunDirectory
from fleet.training.family import FamilyResult


@pytest.fixture
def result() -> FamilyResult:
    counts = {"n": 200, "correct": 150, "rejected": 30}
    tests = {"n": 400, "correct": 310, "rejected": 20}
    none = {"n": 0, "correct": 0, "rejected": 0}
    found = {
        "a": {"validation": counts, "test": tests, "epochs": 3, "seconds": 1.5},
        "b": {"validation": none, "test": none, "epochs": 2, "seconds": 4.0},
    }
    return FamilyResult(RunDirectory(Path("here")), found, {"c": TrainingError("lost")}, {})


def test_shares_are_those_of_each_split_and_none_where_it_is_empty(result: FamilyResult) -> None:
    pytest.importorskip("pandas")
    first, second = result.to_dataframe().to_dict("records")
    assert first == {
        "device": "a", "validation_accuracy": 0.75, "test_accuracy": 0.775, "test_none": 0.05,
        "epochs": 3, "seconds": 1.5,
    }  # fmt: skip
    assert second["device"] == "b"
    assert all(second[key] != second[key] for key in ("validation_accuracy", "test_none"))


def test_a_notebook_shows_who_failed_and_why(result: FamilyResult) -> None:
    shown = result._repr_html_()
    assert "Trained: here" in shown
    for word in ("device", "0.775", "Failed", "c", "lost"):
        assert f">{word}<" in shown
