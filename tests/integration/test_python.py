"""The Python interface, as the notebook among the examples uses it; its cells run as a script."""

from __future__ import annotations

import json
import pydoc
from collections.abc import Callable
from contextlib import chdir
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fleet
from fleet.errors import BackendError, BundleError, DataError, TrainingError

PANDAS = find_spec("pandas") is not None


@pytest.fixture(scope="module")
def cells(
    project: Path,
    mnist_root: Path,
    tmp_path_factory: pytest.TempPathFactory,
    light_probes: Callable[..., Any],
) -> Any:
    """The names that the notebook's code leaves, and ``place``, where it ran."""
    place = tmp_path_factory.mktemp("notebook")
    (place / "data").symlink_to(mnist_root)
    notebook = json.loads((project / "examples/first_fleet.ipynb").read_text(encoding="utf-8"))
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names: dict[str, Any] = {"place": place}
    effort, less = "images=50, steps=10, restarts=2", "images=12, steps=3, restarts=1"
    assert sum(effort in cell for cell in code) == 1
    with chdir(place), light_probes():
        for cell in code:
            if PANDAS or "to_dataframe" not in cell:
                exec(cell.replace(effort, less), names)
    return names


def test_the_notebook_was_executed_and_its_figures_can_be_seen(project: Path) -> None:
    notebook = json.loads((project / "examples/first_fleet.ipynb").read_text(encoding="utf-8"))
    drawn = [cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(drawn)
    assert sum("text/html" in output.get("data", {}) for cell in drawn for output in cell) >= 4


def test_results_draw_themselves(cells: dict[str, Any]) -> None:
    assert "<th>door</th>" in cells["trained"]._repr_html_()
    drawn = cells["audit"]._repr_html_()
    assert "Verdict on " in drawn
    assert "<th>noise floor</th>" in drawn
    assert "<th>0</th>" in cells["decisions"]._repr_html_()
    assert "verified" in fleet.verify(cells["place"] / cells["bundles"][0].path)._repr_html_()


@pytest.mark.skipif(not PANDAS, reason="pandas is not installed")
def test_results_become_data_frames(cells: dict[str, Any]) -> None:
    frame = cells["audit"].to_dataframe()
    cell = cells["audit"].matrix("adaptive", 0.1).cell("door", "gate").outcome
    (row,) = frame[
        (frame.protocol == "adaptive")
        & (frame.attack == "worst")
        & (frame.surrogate == "door")
        & (frame.victim == "gate")
    ].to_dict("records")
    assert (row["n"], row["evade"]) == (cell.n, cell.evade)
    assert list(cells["trained"].to_dataframe().device) == ["door", "gate", "control", "twin"]
    assert list(cells["decisions"].to_dataframe().columns) == ["label", "index", "margin"]


@pytest.mark.skipif(PANDAS, reason="pandas is installed")
def test_without_pandas_the_error_says_what_to_install(cells: dict[str, Any]) -> None:
    with pytest.raises(BackendError, match="needs pandas") as failed:
        cells["audit"].to_dataframe()
    assert failed.value.hint == "pip install pandas"


def test_runs_and_audits_open_by_path_and_by_object(cells: dict[str, Any]) -> None:
    run = cells["place"] / cells["trained"].run.root
    opened = fleet.open_run(run)
    assert fleet.open_run(str(run)) == fleet.open_run(opened) == opened
    assert fleet.open_run(run.name, runs=run.parent) == opened
    assert fleet.load_audit(run) == fleet.load_audit(opened.audit("transfer") / "audit.json")
    again = fleet.package(run, release="1")
    assert [bundle.sha256 for bundle in again] == [bundle.sha256 for bundle in cells["bundles"]]


def test_predict_takes_paths_pictures_and_arrays_one_or_many(cells: dict[str, Any]) -> None:
    bundle = cells["place"] / cells["bundles"][0].path
    device, grey = fleet.load_bundle(bundle), cells["test"].pictures[:3]
    expected = device.predict(grey)
    paths = [cells["place"] / f"{i}.png" for i in range(3)]
    for path, picture in zip(paths, grey, strict=True):
        Image.fromarray(picture).save(path)
    colour = np.repeat(grey[..., np.newaxis], 3, axis=3)
    large = [np.repeat(np.repeat(picture, 2, 0), 2, 1) for picture in colour]
    many: list[Any] = [
        grey[:, np.newaxis],
        grey[..., np.newaxis],
        grey.astype(np.float32) / np.float32(255),
        paths,
        [str(path) for path in paths],
        [Image.open(path) for path in paths],
        list(grey),
        list(colour),
    ]
    labels = [prediction.label for prediction in expected]
    for given in many:
        assert [prediction.label for prediction in device.predict(given)] == labels
    for given in many:
        (first,) = device.predict(given[0])
        assert first.label == labels[0]
    scaled = device.predict(large)  # to the device's size, so the pixels are not quite these
    assert [prediction.label for prediction in scaled].count(labels[0]) >= 1
    for wrong in (3, [3.0], np.zeros((2, 5, 5, 5), np.uint8), [grey.astype(np.int64)[0]]):
        with pytest.raises(DataError):
            device.predict(wrong)


def test_failures_raise_unless_asked_otherwise(cells: dict[str, Any], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.fleet"
    content = bytearray((cells["place"] / cells["bundles"][0].path).read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(BundleError):
        fleet.verify(damaged)
    assert not fleet.verify(damaged, check=False).ok
    profile = (cells["place"] / "first.yaml").read_text()
    wild = profile.replace("root: data", f"root: {cells['place'] / 'data'}")
    wild = wild.replace("head: ordinal", "head: linear").replace(
        "shift: 0", "shift: 0, loss: paper, optimizer: sgd, learning_rate: 100"
    )
    (tmp_path / "wild.yaml").write_text(f"{wild}control: false\n")
    more: dict[str, Any] = {"parent": tmp_path / "runs", "executor": fleet.Serial()}
    with pytest.raises(TrainingError):
        fleet.train_family(str(tmp_path / "wild.yaml"), **more)
    kept = fleet.train_family(tmp_path / "wild.yaml", check=False, **more)
    assert set(kept.errors) == {"door", "gate"}
    assert "Failed" in kept._repr_html_()


def test_help_opens_with_the_five_calls() -> None:
    text = pydoc.plain(pydoc.render_doc(fleet))
    calls = ("train_family", "audit_transfer", "package", "verify", "load_bundle")
    places = [text.index(f"fleet.{name}(") for name in calls]
    assert places == sorted(places)
    assert text[: places[-1]].count("\n") < 16
    assert fleet.__version__ == fleet.provenance.fleet_version()
    assert "Or of a run" in str(fleet.audit_transfer.__doc__)
