"""Jobs in local worker processes.

A worker lives for many jobs, because importing torch takes seconds, and talks over one pipe of its
own, so that a worker killed at any moment cannot hold a lock that the others need. Workers are
spawned, never forked: a fork beside OpenMP threads can hang.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from fleet.errors import BackendError, out_of_memory
from fleet.execution.jobs import (
    Executor,
    Job,
    JobOutcome,
    OnEvent,
    Progress,
    Serial,
    limit_threads,
    perform,
    unexpected,
)

_Message = Progress | JobOutcome

_UNPICKLABLE = (pickle.PickleError, TypeError, AttributeError, ImportError, ValueError)
"""What pickling raises, there and back."""


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    job: Job | None = None


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
        crew: list[_Worker] = []
        try:
            while len(outcomes) < len(jobs):
                while waiting and len(crew) < count:
                    crew.append(_hire(self.threads))
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
            _dismiss(crew)
        return {job.name: outcomes[job.name] for job in jobs}


LOCAL = Processes()
"""One process a core of this machine, and nobody hears of progress."""


def _hire(threads: int) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, threads), daemon=True)
    process.start()
    theirs.close()  # so that a dead worker ends our reads
    return _Worker(process, ours)


def _send(worker: _Worker, job: Job) -> JobOutcome | None:
    """Hand a job over. Returns the outcome of a job that cannot be pickled, or None."""
    # If the worker died at birth, _listen meets the end of the pipe and says so.
    with suppress(BrokenPipeError):
        try:
            worker.pipe.send(job)
        except _UNPICKLABLE as error:
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
    except _UNPICKLABLE as error:
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
    try:
        while True:
            _serve(pipe)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is done, or gone


def _serve(pipe: Connection) -> None:
    """Wait for a job, run it, and send its outcome back."""
    try:
        job: Job = pipe.recv()
    except _UNPICKLABLE as error:
        pipe.send(unexpected("a worker process cannot read its job", error))
        return
    try:
        pipe.send(perform(job, partial(_report, pipe, job.name)))
    except _UNPICKLABLE as error:
        pipe.send(unexpected(f"the result of {job.name} cannot be sent between processes", error))


def _report(pipe: Connection, job: str, done: int, total: int, text: str = "") -> None:
    try:
        pipe.send(Progress(job, done, total, text))
    except (BrokenPipeError, ConnectionResetError):
        os._exit(1)  # an orphan must not go on writing into the run
