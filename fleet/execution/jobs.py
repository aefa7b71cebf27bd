"""Jobs and the one function that runs them."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fleet.errors import BackendError, FleetError


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


OnProgress = Callable[[Progress], None]


def run_jobs(
    jobs: Sequence[Job],
    *,
    workers: int,
    threads: int = 1,
    on_progress: OnProgress | None = None,
) -> dict[str, JobOutcome]:
    """Run every job and wait for all; one that fails leaves the others running.

    Results do not depend on ``workers``: jobs share nothing and take their randomness from their
    arguments.

    Args:
        jobs: In the order in which they are started.
        workers: Processes; 0 or 1 runs the jobs one after another in this process.
        threads: Threads of each job. Two OpenMP threads beside another load were measured 10
            times slower than one, so 1 unless there is one job to a machine.
        on_progress: Called in this process, one call at a time.

    Returns:
        An outcome for each job, in the order of ``jobs``.
    """
    names = [job.name for job in jobs]
    if len(set(names)) != len(names):
        raise ValueError(f"job names repeat: {names}")
    report = on_progress or _ignore
    if min(workers, len(jobs)) <= 1:
        from fleet.execution.serial import run_serial

        return run_serial(jobs, threads=threads, on_progress=report)
    from fleet.execution.local import run_local

    return run_local(jobs, workers=workers, threads=threads, on_progress=report)


def default_workers(jobs: int) -> int:
    """One worker a core, and no more than there are jobs."""
    return max(1, min(jobs, len(os.sched_getaffinity(0))))


def perform(job: Job, progress: ProgressReporter) -> JobOutcome:
    """Run one job here and turn whatever it raises into an outcome."""
    try:
        return JobOutcome(value=job.function(*job.arguments, progress=progress))
    except FleetError as error:
        return JobOutcome(error=error)
    except MemoryError:
        return JobOutcome(error=out_of_memory(job.name))
    except Exception as error:
        return unexpected(f"{job.name} failed unexpectedly", error)


def unexpected(words: str, error: Exception) -> JobOutcome:
    """The outcome of a job that met an error that nobody foresaw; called where it is caught."""
    wrapped = BackendError(
        f"{words}: {type(error).__name__}: {error}",
        hint="`fleet doctor` checks this machine; FLEET_DEBUG=1 shows the traceback to report",
    )
    return JobOutcome(error=wrapped, trace=traceback.format_exc())


def out_of_memory(name: str) -> BackendError:
    """The error of a job that ran out of memory."""
    return BackendError(
        f"{name} ran out of memory", hint="use fewer --jobs, a smaller batch size, or fewer images"
    )


def _ignore(_: Progress) -> None:
    pass
