"""Jobs, and what runs them: :class:`Serial` here, :class:`Processes` in local worker processes.

A worker lives for many jobs, because importing torch takes seconds, and talks over one pipe of its
own, so that a worker killed at any moment cannot hold a lock that the others need. Workers are
spawned, never forked: a fork beside OpenMP threads can hang.
"""

import ctypes
import multiprocessing
import os
import pickle
import resource
import signal
import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from fleet.accelerator import ACCELERATOR, chosen, find_accelerator
from fleet.errors import BackendError, FleetError, is_out_of_memory, note, noted, out_of_memory
from fleet.rundir import RunDirectory


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
        run: Run whose images and files the function uses, for an executor on other machines.
        cost: Work that it is, beside the other jobs of the call; forecasts go by it.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    run: RunDirectory | None = None
    cost: float = 1.0


@dataclass(frozen=True)
class Progress:
    """How far one job is.

    Attributes:
        job: Its name.
        done: Units of work.
        total: Units of work.
        text: For people; empty while the job waits.
        peak: The most memory that its process has held so far, GB; 0 where it is not known.
        cost: :attr:`Job.cost`, in the first event of each job alone.
    """

    job: str
    done: int
    total: int
    text: str
    peak: float = 0.0
    cost: float = 1.0


@dataclass(frozen=True)
class JobOutcome:
    """How one job ended.

    Attributes:
        value: What the function returned, or None when it failed.
        error: Why it failed, or None.
        trace: Traceback text of an unexpected failure, for ``FLEET_DEBUG=1``.
        notes: What it had to say beside that.
    """

    value: Any = None
    error: FleetError | None = None
    trace: str = ""
    notes: tuple[str, ...] = ()


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
        for job in jobs:  # so that whoever listens knows how many there are
            self.on_event(Progress(job.name, 0, 1, "", cost=job.cost))
        outcomes = self._run(jobs) if jobs else {}
        for name, outcome in outcomes.items():
            for text in outcome.notes:
                note(f"{name}: {text}")
        return outcomes

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

    @contextmanager
    def accelerated(self, asked: str) -> Iterator[None]:
        """Let the networks of all jobs in a block run on an accelerator.

        Args:
            asked: ``auto``, ``cpu``, ``cuda`` or ``mps``; ``FLEET_ACCELERATOR`` goes before it.

        Raises:
            BackendError: It is not there.
        """
        with chosen(self.accelerator(os.environ.get(ACCELERATOR) or asked)):
            yield

    def accelerator(self, asked: str) -> str:
        """Find what ``asked`` means where the jobs run.

        Raises:
            BackendError: It is not there.
        """
        return find_accelerator(asked)

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
        self.on_event(Progress(job, done, total, text, peak_memory()))


def peak_memory() -> float:
    """The most memory that this process has held so far, GB; first steps need about all of it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def perform(job: Job, progress: ProgressReporter) -> JobOutcome:
    """Run one job here and turn whatever it raises into an outcome."""
    with noted() as notes:
        outcome = _perform(job, progress)
    return replace(outcome, notes=tuple(notes))


def _perform(job: Job, progress: ProgressReporter) -> JobOutcome:
    try:
        return JobOutcome(value=job.function(*job.arguments, progress=progress))
    except FleetError as error:
        return JobOutcome(error=error)
    except Exception as error:
        if is_out_of_memory(error):
            return JobOutcome(error=out_of_memory(job.name))
        return unexpected(f"{job.name} failed unexpectedly", error)


def unexpected(words: str, error: Exception) -> JobOutcome:
    """The outcome of a job that failed unexpectedly; called where the error is caught."""
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


def keep_memory() -> None:
    """Let this process keep the memory that it frees, where its C library can be told so.

    Networks free and take the same megabytes in every step. To give them back and fault them in
    again was a fifth of the time of certificates, and a twentieth of that of attacks.
    """
    with suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, 2**25)
        libc.mallopt(_TRIM_THRESHOLD, 2**30)


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt``."""


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


_Message = Progress | JobOutcome

UNPICKLABLE = (pickle.PickleError, TypeError, AttributeError, ImportError, ValueError)
"""What pickling raises, there and back."""


_Terms = tuple[int, str | None]
"""Threads, and the accelerator: what a worker is told once, at its birth."""


@dataclass(eq=False)
class _Worker:
    process: BaseProcess
    pipe: Connection
    terms: _Terms
    job: Job | None = None


_kept: ContextVar[list[_Worker] | None] = ContextVar("kept", default=None)


@contextmanager
def kept_workers() -> Iterator[None]:
    """Let the workers of :class:`Processes` live from one call to the next inside a block.

    They hold the memory that they took; a call that wants others dismisses them.
    """
    if _kept.get() is not None:
        yield
        return
    crew: list[_Worker] = []
    token = _kept.set(crew)
    try:
        yield
    finally:
        _kept.reset(token)
        _dismiss(crew)


@dataclass(frozen=True)
class Processes(Executor):
    """Jobs in worker processes of this machine.

    Attributes:
        count: Processes; None is one a core. With 0 or 1, or a single job, jobs run in this
            process.
    """

    count: int | None = None

    def _run(self, jobs: Sequence[Job]) -> dict[str, JobOutcome]:
        count = len(os.sched_getaffinity(0)) if self.count is None else self.count
        if min(count, len(jobs)) <= 1:
            return Serial(on_event=self.on_event, threads=self.threads)._run(jobs)
        waiting = deque(jobs)
        outcomes: dict[str, JobOutcome] = {}
        terms = (self.threads, os.environ.get(ACCELERATOR))
        crew = _recall(terms, count)
        try:
            while len(outcomes) < len(jobs):
                while waiting and len(crew) < count:
                    crew.append(_hire(terms))
                for worker in crew:
                    while worker.job is None and waiting:
                        job = waiting.popleft()
                        if (refused := _send(worker, job)) is None:
                            worker.job = job
                        else:
                            outcomes[job.name] = refused
                busy = [(worker, worker.job) for worker in crew if worker.job is not None]
                ready = wait([worker.pipe for worker, _ in busy]) if busy else []
                for worker, job in busy:
                    if worker.pipe in ready and not _listen(worker, job, outcomes, self.on_event):
                        crew.remove(worker)
        finally:
            _release(crew)
        return {job.name: outcomes[job.name] for job in jobs}


LOCAL = Processes()
"""One process a core of this machine, and nobody hears of progress."""


def _recall(terms: _Terms, count: int) -> list[_Worker]:
    """Take kept workers on these terms, and dismiss all others."""
    kept = _kept.get() or []
    crew = [w for w in kept if w.terms == terms and w.process.is_alive()][:count]
    _dismiss([worker for worker in kept if worker not in crew])
    kept.clear()
    return crew


def _release(crew: list[_Worker]) -> None:
    """Keep workers, where they are kept at all; one that is still at work is stopped."""
    kept = _kept.get()
    if kept is not None:
        kept += [worker for worker in crew if worker.job is None]
    _dismiss([worker for worker in crew if kept is None or worker not in kept])


def _hire(terms: _Terms) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, terms[0]), daemon=True)
    process.start()
    theirs.close()  # so that a dead worker ends our reads
    return _Worker(process, ours, terms)


def _send(worker: _Worker, job: Job) -> JobOutcome | None:
    """Hand a job over. Returns the outcome of a job that cannot be pickled, or None."""
    # If the worker died at birth, _listen meets the end of the pipe and says so.
    with suppress(BrokenPipeError):
        try:
            worker.pipe.send(job)
        except UNPICKLABLE as error:
            return unexpected(f"{job.name} cannot be sent to a worker process", error)
    return None


def _listen(worker: _Worker, job: Job, outcomes: dict[str, JobOutcome], on_event: OnEvent) -> bool:
    """Take one message; False when the worker is dead."""
    try:
        message: _Message = worker.pipe.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join()
        outcomes[job.name] = JobOutcome(error=_obituary(job, worker.process.exitcode))
        return False
    except UNPICKLABLE as error:
        message = unexpected(f"the result of {job.name} cannot be sent between processes", error)
    if isinstance(message, Progress):
        on_event(message)
    else:
        outcomes[job.name] = message
        worker.job = None
    return True


def _obituary(job: Job, code: int | None) -> BackendError:
    if code == -signal.SIGKILL:
        return BackendError(
            f"{job.name}: the worker process was killed (often for memory)",
            hint=out_of_memory(job.name).hint,
        )
    return BackendError(
        f"{job.name}: the worker process died with exit code {code}",
        hint="a script that calls this needs `if __name__ == '__main__':` around its main part; "
        "otherwise run the command again, finished work is kept",
    )


def _dismiss(crew: list[_Worker]) -> None:
    for worker in crew:
        worker.pipe.close()
        if worker.job is not None:
            worker.process.terminate()
    for worker in crew:
        worker.process.join(timeout=10)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _work(pipe: Connection, threads: int) -> None:
    """Body of a worker: jobs in, progress and outcomes out, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    limit_threads(threads)
    keep_memory()
    try:
        while True:
            _serve(pipe)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is done, or gone


def _serve(pipe: Connection) -> None:
    """Wait for a job, run it, and send its outcome back."""
    try:
        job: Job = pipe.recv()
    except UNPICKLABLE as error:
        pipe.send(unexpected("a worker process cannot read its job", error))
        return
    try:
        pipe.send(perform(job, partial(_report, pipe, job.name)))
    except UNPICKLABLE as error:
        pipe.send(unexpected(f"the result of {job.name} cannot be sent between processes", error))


def _report(pipe: Connection, job: str, done: int, total: int, text: str = "") -> None:
    try:
        pipe.send(Progress(job, done, total, text, peak_memory()))
    except (BrokenPipeError, ConnectionResetError):
        os._exit(1)  # an orphan must not go on writing into the run
