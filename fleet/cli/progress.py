"""Progress of jobs: bars on a terminal; elsewhere a line when one ends and every 30 seconds."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from fleet.cli.output import is_quiet
from fleet.execution.jobs import Progress as JobProgress
from fleet.vocabulary import counted

_ALL = "all"

EVERY = 30.0
"""Seconds between two lines where there is no terminal."""

FORECAST = 5.0
"""Seconds of work before time and memory of the whole are told."""


class FamilyProgress:
    """A bar for all jobs known so far and one for each that has begun, on stderr.

    Use it as a context manager and hand :meth:`update` to the executor.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shares: dict[str, float] = {}
        self._costs: dict[str, float] = {}
        self._bars: dict[str, TaskID] = {}
        self._began = self._said = time.monotonic()
        self._first: float | None = None  # the share that was done before: a resumed training's
        self._foretold = False
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            console=console,
            disable=not console.is_terminal or is_quiet(),
        )

    def __enter__(self) -> FamilyProgress:
        self._progress.start()
        self._bars[_ALL] = self._progress.add_task(_ALL, total=1.0, text="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def update(self, event: JobProgress) -> None:
        """Take one event of :class:`fleet.execution.Executor`."""
        before = self._shares.get(event.job, 0.0)
        self._shares[event.job] = share = event.done / max(1, event.total)
        self._costs.setdefault(event.job, event.cost)
        mean = sum(self._costs[job] * done for job, done in self._shares.items())
        mean /= sum(self._costs.values())
        self._progress.update(self._bars[_ALL], completed=mean)
        if not event.done and not event.text:
            return  # it waits
        if event.job not in self._bars:
            self._bars[event.job] = self._progress.add_task(event.job, total=1.0, text="")
        self._progress.update(self._bars[event.job], completed=share, text=event.text)
        if self._first is None:
            self._first, self._began = mean, time.monotonic()
        self._foretell(mean, event.peak)
        if self._console.is_terminal or is_quiet():
            return
        if share >= 1.0 > before:
            self._console.print(f"{event.job}: {event.text}", markup=False, soft_wrap=True)
        elif time.monotonic() - self._said > EVERY:
            self._said = time.monotonic()
            told = f"{mean:.0%} done{self._left(mean)}; {event.job}: {event.text}"
            self._console.print(told, markup=False, soft_wrap=True)

    def _foretell(self, mean: float, peak: float) -> None:
        """Say once, after the first batches, what the whole takes."""
        took = time.monotonic() - self._began
        gone = mean - (self._first or 0.0)
        if self._foretold or is_quiet() or took < FORECAST or gone <= 0:
            return
        self._foretold = True
        busy = sum(0 < share < 1 for share in self._shares.values()) or 1
        memory = f" and {peak * busy:.1f} GB" if peak else ""
        whole = _told(took * (1 - (self._first or 0.0)) / gone)
        jobs = counted(len(self._shares), "job")
        self._console.print(f"about {whole}{memory} for {jobs} (first batches)", soft_wrap=True)

    def _left(self, mean: float) -> str:
        """How long the rest takes if it goes on like this, in words."""
        gone = mean - (self._first or 0.0)
        if gone <= 0:
            return ""
        seconds = (time.monotonic() - self._began) * (1 - mean) / gone
        return f", about {_told(seconds)} left"


def _told(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"
