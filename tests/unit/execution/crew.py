"""Jobs for the tests of execution; a module of its own, because workers import it by name."""

from __future__ import annotations

import os
import time
from pathlib import Path

from fleet.errors import DataError
from fleet.execution import ProgressReporter


def square(value: int, *, progress: ProgressReporter) -> int:
    progress(1, 2, "half")
    progress(2, 2, "done")
    return value * value


def whoami(*, progress: ProgressReporter) -> int:
    return os.getpid()


def threads(*, progress: ProgressReporter) -> int:
    import torch

    return torch.get_num_threads()


def complain(*, progress: ProgressReporter) -> None:
    raise DataError("no such images", hint="look elsewhere")


def stumble(*, progress: ProgressReporter) -> None:
    raise ZeroDivisionError("a defect")


def hunger(*, progress: ProgressReporter) -> None:
    bytearray(1 << 62)


def hunger_of_torch(*, progress: ProgressReporter) -> None:
    import torch

    torch.empty(1 << 58)


def die(how: int, *, progress: ProgressReporter) -> None:
    os.kill(os.getpid(), how)
    time.sleep(60)


def keep(*, progress: ProgressReporter) -> object:
    return lambda: "no function of a function can be sent"


class Locked:
    """Can be sent, and not read."""

    def __reduce__(self) -> tuple[object, ...]:
        return (int, ("no number",))


def lock(*_: object, progress: ProgressReporter) -> Locked:
    return Locked()


def leave(*, progress: ProgressReporter) -> None:
    os._exit(7)


def tick_for_ever(path: Path, *, progress: ProgressReporter) -> None:
    path.write_text(str(os.getpid()))
    while True:
        progress(0, 1, "tick")
        time.sleep(0.02)


def halve(*, progress: ProgressReporter) -> list[int]:
    """Work on 16 images where 9 fit: sizes of the parts."""
    import torch

    from fleet.accelerator import halving

    def work(rows: torch.Tensor) -> int:
        return len(torch.empty(1 << 58) if len(rows) > 9 else rows)

    progress(1, 1)
    return halving(work, torch.arange(16))
