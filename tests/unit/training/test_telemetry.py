"""What TensorBoard reads of a run, read back by TensorBoard itself; without it, the error."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fleet.errors import BackendError
from fleet.execution import Job, ProgressReporter, Serial
from fleet.profiles.spec import read_family
from fleet.rundir import RunDirectory
from fleet.training import telemetry
from fleet.training.telemetry import HEAT_MAP, TensorBoard
from unit.bundle import bundle_samples as samples

INSTALLED = find_spec("tensorboard") is not None


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    found: RunDirectory = samples.finished_run(tmp_path / "runs" / "20261128-101010-demo", "cam-01")
    return found


def line(epoch: int) -> str:
    counts = {"n": 200, "correct": 100 + epoch, "rejected": epoch}
    values = {"epoch": epoch, "loss": 1 / epoch, "images_per_second": 10, "validation": counts}
    return json.dumps({**values, "certified": 10 * epoch, "certified_n": 50}) + "\n"


@pytest.mark.skipif(INSTALLED, reason="tensorboard is installed")
def test_without_tensorboard_the_error_says_what_to_install(run: RunDirectory) -> None:
    with pytest.raises(BackendError, match="needs a package") as failed:
        TensorBoard(run)
    assert "interval-fleet[tensorboard]" in str(failed.value.hint)


@pytest.mark.skipif(not INSTALLED, reason="tensorboard is not installed")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_epochs_are_written_once_as_they_end_and_the_heat_map_as_an_image(
    run: RunDirectory,
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    metrics = run.metrics(read_family(run).devices[0].name)
    metrics.write_text(line(1))
    (run.audits / HEAT_MAP).parent.mkdir(parents=True)
    Image.new("RGB", (30, 20), (255, 0, 0)).save(run.audits / HEAT_MAP)

    def epoch(progress: ProgressReporter) -> None:
        metrics.write_text(line(1) + line(2))
        progress(1, 1, "epoch 2")

    heard: list[str] = []
    with TensorBoard(run) as board:
        board.follow()
        following = board.following(Serial(on_event=lambda event: heard.append(event.text)))
        following.values([Job("cam-01", epoch, ())])
        board.follow()
        board.heat_map()
    assert heard == ["", "epoch 2"]
    events = EventAccumulator(str(board.place / "cam-01")).Reload()
    share = [(event.step, round(event.value, 3)) for event in events.Scalars("certified share")]
    assert share == [(1, 0.2), (2, 0.4)]
    accuracy = [round(event.value, 3) for event in events.Scalars("validation accuracy")]
    assert accuracy == [0.505, 0.51]
    assert [round(event.value, 3) for event in events.Scalars("loss")] == [1.0, 0.5]
    (image,) = EventAccumulator(str(board.place / "audits")).Reload().Images("transfer")
    assert (image.width, image.height) == (30, 20)


class Writer:
    """What TensorBoard's writer is told, where TensorBoard is not installed."""

    told: dict[str, list[Any]]

    def __init__(self, place: str) -> None:
        self.lines = self.told.setdefault(Path(place).name, [])

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.lines.append((name, round(value, 6), step))

    def add_image(self, name: str, pixels: np.ndarray, dataformats: str) -> None:
        self.lines.append((name, pixels.shape, pixels[0, 0].tolist(), dataformats))

    def flush(self) -> None:
        self.lines.append("flush")

    def close(self) -> None:
        self.lines.append("close")


def test_the_writer_is_told_shares_of_the_counts_and_the_picture_without_its_alpha(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = type("Here", (Writer,), {"told": {}})
    monkeypatch.setattr(telemetry, "import_module", lambda _: SimpleNamespace(SummaryWriter=writer))
    empty = {"n": 0, "correct": 0, "rejected": 0}
    bare = {"epoch": 2, "loss": 3, "images_per_second": 7, "validation": empty}
    run.metrics("cam-01").write_text(line(1) + json.dumps(bare) + "\n")
    with TensorBoard(run) as board:
        board.heat_map()  # not drawn yet
        (run.audits / HEAT_MAP).parent.mkdir(parents=True)
        Image.new("RGBA", (30, 20), (255, 128, 0, 9)).save(run.audits / HEAT_MAP)
        board.heat_map()
        board.follow()
        board.follow()
    assert writer.told == {
        "audits": [("transfer", (20, 30, 3), [255, 128, 0], "HWC"), "flush", "close"],
        "cam-01": [
            ("loss", 1, 1), ("images per second", 10, 1), ("validation accuracy", 0.505, 1),
            ("validation None", 0.005, 1), ("certified share", 0.2, 1), "flush",
            ("loss", 3, 2), ("images per second", 7, 2), "flush", "close",
        ],
    }  # fmt: skip


def test_a_run_that_has_not_begun_has_nothing_to_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = type("Here", (Writer,), {"told": {}})
    monkeypatch.setattr(telemetry, "import_module", lambda _: SimpleNamespace(SummaryWriter=writer))
    with TensorBoard(RunDirectory(tmp_path / "none")) as board:
        board.follow()
    assert writer.told == {}
