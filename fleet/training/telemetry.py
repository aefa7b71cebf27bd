"""``--log tensorboard``: a run's metrics and the figure of its audit as TensorBoard reads them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image

from fleet.errors import BackendError
from fleet.execution import Executor, Progress
from fleet.profiles.spec import read_family
from fleet.rundir import RunDirectory

HEAT_MAP = Path("transfer") / "transfer.png"
"""Figure of the transfer audit, below the audits of a run."""


class TensorBoard:
    """Writes what is new in a run below ``RUN/tensorboard``; use it as a context manager.

    ``metrics.jsonl`` stays the record: this copies its lines, by epoch, one folder a device.

    Args:
        run: The run.

    Raises:
        BackendError: TensorBoard is not installed.
    """

    def __init__(self, run: RunDirectory) -> None:
        try:
            self._make: Any = import_module("torch.utils.tensorboard").SummaryWriter
        except ImportError as error:
            raise BackendError(
                f"--log tensorboard needs a package: {error}",
                hint='pip install "interval-fleet[tensorboard]"',
            ) from error
        self.place = run.root / "tensorboard"
        self._run = run
        self._writers: dict[str, Any] = {}
        self._written: Counter[str] = Counter()

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for writer in self._writers.values():
            writer.close()

    def follow(self) -> None:
        """Write the epochs that ended since the last call; a run that has not begun has none."""
        if not self._run.profile.is_file():
            return
        for device in read_family(self._run).trained:
            self._copy(device.name)

    def following(self, executor: Executor) -> Executor:
        """The executor, with a device's new epochs copied whenever its job says how far it is."""

        def heard(event: Progress) -> None:
            executor.on_event(event)
            self._copy(event.job)

        return replace(executor, on_event=heard)

    def heat_map(self) -> None:
        """Write the matrix of the transfer audit as an image, if it was drawn."""
        path = self._run.audits / HEAT_MAP
        if path.is_file():
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
            writer = self._writer("audits")
            writer.add_image("transfer", pixels, dataformats="HWC")
            writer.flush()

    def _copy(self, device: str) -> None:
        path = self._run.metrics(device)
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        for line in lines[self._written[device] :]:
            self._epoch(device, json.loads(line))
        self._written[device] = len(lines)

    def _epoch(self, device: str, line: dict[str, Any]) -> None:
        writer, validation = self._writer(device), line["validation"]
        values = {"loss": line["loss"], "images per second": line["images_per_second"]}
        if validation["n"]:
            values["validation accuracy"] = validation["correct"] / validation["n"]
            values["validation None"] = validation["rejected"] / validation["n"]
        if line.get("certified_n"):
            values["certified share"] = line["certified"] / line["certified_n"]
        for name, value in values.items():
            writer.add_scalar(name, value, line["epoch"])
        writer.flush()

    def _writer(self, name: str) -> Any:
        if name not in self._writers:
            self._writers[name] = self._make(str(self.place / name))
        return self._writers[name]
