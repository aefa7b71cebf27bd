"""Jobs, and what runs them: :class:`Serial` here, others in modules of their own."""

from __future__ import annotations

import os
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from fleet.errors import BackendError, FleetError, is_out_of_memory, out_of_memory


class ProgressReporter(Protocol):
    """What a job calls now and then to say how far it is."""

    def __call__(self, done: int, total: int, text: str = "") -> None:
        """Report ``done`` of ``total`` units of work, with a few words for people."""


@dataclass(frozen=True)
class Job:
    """One piece of independent work.

    Attributes:
        name: Unique among the jobs of one call.
        function: A top-level callable; it gets ``arguments`` and the keyword ``progress``.
        arguments: Picklable values.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Progress:
    """How far one job is."""

    job: str
    done: int
    total: int
    text: str


@dataclass(frozen=True)
class JobOutcome:
    """How one job ended.

    Attributes:
        value: What the function returned, or None when it failed.
        error: Why it failed, or None.
        trace: Traceback text of an unexpected failure, for ``FLEET_DEBUG=1``.
    """

    value: Any = None
    error: FleetError | None = None
    trace: str = ""


OnEvent = Callable[[Progress], None]


def _ignore(_: Progress) -> None:
    pass


@dataclass(frozen=True)
class Executor(ABC):
    """Where jobs run, and who hears how far they are.

    Results do not depend on it: jobs share nothing and take their randomness from their arguments.

    Attributes:
        on_event: Called in this process with the progress of each job, one call at a time; first
            for every job with 0 of 1 and no text.
        threads: Threads of each job. Two OpenMP threads beside another load were measured 10
            times slower than one, so 1 unless there is one job to a machine.
    """

    on_event: OnEvent = field(default=_ignore, kw_only=True)
    threads: int = field(default=1, kw_only=True)

    def run(self, jobs: Sequence[Job]) -> dict[str, JobOutcome]:
        """Run every job and wait for all; one that fails leaves the others running.

        Args:
            jobs: In the order in which they are started; their names differ.

        Returns:
            An outcome for each job, in the order of ``jobs``.
        """
        names = [job.name for job in jobs]
        if len(set(names)) != len(names):
            raise ValueError(f"job names repeat: {names}")
        for name in names:  # so that whoever listens knows how many there are
            self.on_event(Progress(name, 0, 1, ""))
        return self._run(jobs) if jobs else {}

    def values(self, jobs: Sequence[Job]) -> list[Any]:
        """:meth:`run`, and return what the jobs returned.

        Raises:
            FleetError: The first error, once all jobs are done.
        """
        outcomes = self.run(jobs).values()
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
        return [outcome.value for outcome in outcomes]

    @abstractmethod
    def _run(self, jobs: Sequence[Job]) -> dict[str, JobOutcome]:
        """:meth:`run` for at least one job."""


@dataclass(frozen=True)
class Serial(Executor):
    """Jobs one after another in this process."""

    def _run(self, jobs: Sequence[Job]) -> dict[str, JobOutcome]:
        with limited_threads(self.threads):
            return {job.name: perform(job, partial(self._report, job.name)) for job in jobs}

    def _report(self, job: str, done: int, total: int, text: str = "") -> None:
        self.on_event(Progress(job, done, total, text))


def perform(job: Job, progress: ProgressReporter) -> JobOutcome:
    """Run one job here and turn whatever it raises into an outcome."""
    try:
        return JobOutcome(value=job.function(*job.arguments, progress=progress))
    except FleetError as error:
        return JobOutcome(error=error)
    except Exception as error:
        if is_out_of_memory(error):
            return JobOutcome(error=out_of_memory(job.name))
        return unexpected(f"{job.name} failed unexpectedly", error)


def unexpected(words: str, error: Exception) -> JobOutcome:
    """The outcome of a job that met an error that nobody foresaw; called where it is caught."""
    wrapped = BackendError(
        f"{words}: {type(error).__name__}: {error}",
        hint="`fleet doctor` checks this machine; FLEET_DEBUG=1 shows the traceback to report",
    )
    return JobOutcome(error=wrapped, trace=traceback.format_exc())


def limit_threads(threads: int) -> None:
    """Limit this process for good; call it before torch is first imported.

    Spawned processes do not inherit ``torch.set_num_threads``, and OpenMP reads its variable once.
    """
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["MKL_NUM_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Limit torch's threads inside a block and restore them after it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
