"""Jobs on the nodes of a Ray cluster, which need no common file system.

The driver, which is this process, alone reads and writes a run. One actor, the desk, carries
letters between it and the workers: a worker asks for a file of the run and gets a reference into
the object store, which copies the file to each node once; what it writes goes to the driver, and it
goes on when that is on disk. So a job that is begun again on another node finds its checkpoint.
"""

import asyncio
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from fleet.accelerator import ACCELERATOR
from fleet.errors import BackendError, CheckpointError, FleetError
from fleet.execution.jobs import (
    UNPICKLABLE,
    Executor,
    Job,
    JobOutcome,
    OnEvent,
    Progress,
    limit_threads,
    perform,
    unexpected,
)
from fleet.execution.nodes import connect
from fleet.files import remove, stored_in, write_bytes
from fleet.profiles.spec import DataSpec, read_family
from fleet.rundir import RunDirectory

ATTEMPTS = 3
"""Times that a job is begun before a dying worker costs it."""

SMALL = 100_000
"""Bytes up to which a file travels in a letter; larger ones through the object store."""

REMEMBERED = 512
"""Files that are kept in the object store; beyond that the one unused for longest goes."""

_REPORT_SECONDS = 0.2


@dataclass(frozen=True)
class Share:
    """What one job takes of a node.

    Attributes:
        cpus: Cores. A job has one thread all the same, so that its bits depend on nothing here.
        gpus: CUDA devices, or a part of one.
        memory: Bytes; None leaves it open.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory: int | None = None

    def options(self) -> dict[str, Any]:
        """As Ray takes it."""
        memory = {} if self.memory is None else {"memory": self.memory}
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, **memory}


@dataclass(frozen=True)
class Cluster(Executor):
    """Jobs on the cluster that this process is connected to; see :func:`on_cluster`.

    Attributes:
        share: What one job takes of a node.
    """

    share: Share = Share()

    def accelerator(self, asked: str) -> str:
        """CUDA where each job has a share of a GPU; this machine need not have one."""
        if asked == "auto":
            return "cuda" if self.share.gpus else "cpu"
        if asked.startswith("cuda") and not self.share.gpus:
            raise BackendError(
                f"--accelerator {asked}: a job on the cluster has no GPU",
                hint="give each job one: --per-job gpus=1",
            )
        return asked

    def _run(self, jobs: Sequence[Job]) -> dict[str, JobOutcome]:
        shift = _Shift(self)
        try:
            return shift.work(jobs)
        finally:
            shift.close()


@contextmanager
def on_cluster(address: str, share: Share, on_event: OnEvent) -> Iterator[Cluster]:
    """Connect to a cluster, and look at its nodes before any work is begun.

    Args:
        address: ``HOST:PORT`` of its head, or ``auto`` for the one that this machine belongs to.
        share: What one job takes of a node.
        on_event: Hears of progress.

    Raises:
        BackendError: Ray is absent or of another version than the cluster's, nothing answers, a
            node has no fleet or another, or no node has room for one job.
    """
    with connect(address, share.options()):
        yield Cluster(on_event=on_event, share=share)


@dataclass(frozen=True)
class _Letter:
    """What a worker tells or asks: ``verb`` is progress, ended, read, write or remove."""

    attempt: str
    verb: str
    content: tuple[Any, ...] = ()
    number: int = 0


class _Desk:
    """Actor that carries letters; holds no files and knows no cluster."""

    def __init__(self) -> None:
        self._letters: list[_Letter] = []
        self._came = asyncio.Event()
        self._asked: list[asyncio.Future[Any]] = []

    async def post(self, letter: _Letter) -> None:
        """Take a letter that needs no answer."""
        self._letters.append(letter)
        self._came.set()

    async def ask(self, attempt: str, verb: str, *content: Any) -> Any:
        """Take a question, and return what the driver answers."""
        future = asyncio.get_running_loop().create_future()
        self._asked.append(future)
        await self.post(_Letter(attempt, verb, content, len(self._asked) - 1))
        return await future

    async def letters(self, answers: dict[int, Any]) -> list[_Letter]:
        """Hand answers out, wait for letters and return them; called by the driver."""
        for number, answer in answers.items():
            if not self._asked[number].done():  # a worker that died asks no more
                self._asked[number].set_result(answer)
        await self._came.wait()
        self._came.clear()
        letters, self._letters = self._letters, []
        return letters


@dataclass(frozen=True)
class _Context:
    """What jobs of this machine have from their process."""

    threads: int
    accelerator: str


@dataclass(frozen=True)
class _DeskStore:
    """The run's files as a worker sees them: all of them lie with the driver."""

    desk: Any
    attempt: str

    def read(self, path: Path) -> bytes:
        """Read a whole file."""
        import ray

        found = self._ask("read", path)
        data = ray.get(found[0]) if isinstance(found, list) else found
        return bytes(data)

    def write(self, path: Path, data: bytes, mode: int) -> None:
        """Write a file whole, durable when this returns."""
        import ray

        sent = data if len(data) <= SMALL else [ray.put(data)]
        self._ask("write", path, sent, mode)

    def remove(self, path: Path) -> None:
        """Remove a file that need not be there."""
        self._ask("remove", path)

    def _ask(self, *question: Any) -> Any:
        import ray

        answer = ray.get(self.desk.ask.remote(self.attempt, *question))
        if isinstance(answer, OSError | FleetError):
            raise answer
        return answer


def _serve(
    job: Job, attempt: str, desk: Any, images: tuple[DataSpec, list[Any]] | None, context: _Context
) -> JobOutcome:
    """Run one attempt of a job; the body of a worker."""
    import ray

    os.environ[ACCELERATOR] = context.accelerator
    limit_threads(context.threads)
    told = 0.0

    def progress(done: int, total: int, text: str = "") -> None:
        nonlocal told
        if done >= total or monotonic() - told > _REPORT_SECONDS:
            told = monotonic()
            desk.post.remote(_Letter(attempt, "progress", (done, total, text)))

    with ExitStack() as stack:
        if job.run is not None:
            stack.enter_context(stored_in(_DeskStore(desk, attempt)))
        if images is not None:
            _take_images(*images)
        outcome = perform(job, progress)
    ray.get(desk.post.remote(_Letter(attempt, "ended")))  # after all progress
    return outcome


_taken: list[Any] = []


def _take_images(spec: DataSpec, reference: list[Any]) -> None:
    """Take the images out of the node's object store, once in each worker."""
    import ray

    from fleet.assembly import hand_images

    if _taken != reference:
        hand_images(spec, ray.get(reference[0]))
        _taken[:] = reference


@dataclass
class _Attempt:
    """One attempt of a job that is at work.

    Attributes:
        job: What is done.
        number: From 1.
        reference: Of its outcome.
        ended: Whether the worker has said so, after all that it had to say.
        outcome: What it came to, once Ray has it.
    """

    job: Job
    number: int
    reference: Any
    ended: bool = False
    outcome: JobOutcome | None = None


@dataclass
class _Shift:
    """The jobs of one call, as the driver sees them."""

    cluster: Cluster
    attempts: dict[str, _Attempt] = field(default_factory=dict)
    outcomes: dict[str, JobOutcome] = field(default_factory=dict)
    images: dict[Path, tuple[DataSpec, list[Any]]] = field(default_factory=dict)
    named: set[Path] = field(default_factory=set)
    files: "OrderedDict[tuple[Path, int, int], Any]" = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options = {"num_cpus": 0, "max_concurrency": 100_000, "scheduling_strategy": here}
        self.desk: Any = ray.remote(_Desk).options(**options).remote()
        self.serve: Any = ray.remote(_serve).options(
            max_retries=0, scheduling_strategy="SPREAD", **self.cluster.share.options()
        )

    def work(self, jobs: Sequence[Job]) -> dict[str, JobOutcome]:
        """Run all jobs."""
        import ray

        for job in jobs:
            self._begin(job, 1)
        letters = self.desk.letters.remote({})
        while self.attempts:
            open_ = [a.reference for a in self.attempts.values() if a.outcome is None]
            ready, _ = ray.wait([letters, *open_], num_returns=1)
            if letters in ready:
                answers = dict(filter(None, map(self._answer, ray.get(letters))))
                letters = self.desk.letters.remote(answers)
            for name, attempt in list(self.attempts.items()):
                if attempt.outcome is None and attempt.reference in ready:
                    self._settle(name, attempt)
                if attempt.outcome is not None and attempt.ended:
                    self.outcomes[attempt.job.name] = attempt.outcome
                    del self.attempts[name]
        return {job.name: self.outcomes[job.name] for job in jobs}

    def close(self) -> None:
        """Stop what is still at work, as after Ctrl-C."""
        import ray

        with suppress(Exception):  # a cluster that is gone has nothing left to stop
            for attempt in self.attempts.values():
                ray.cancel(attempt.reference, force=True)
            ray.kill(self.desk)

    def _begin(self, job: Job, number: int) -> None:
        name = f"{job.name} #{number}"
        images = None if job.run is None else self._images(job.run)
        try:
            context = _Context(self.cluster.threads, os.environ.get(ACCELERATOR, "cpu"))
            reference = self.serve.remote(job, name, self.desk, images, context)
        except UNPICKLABLE as error:
            self.outcomes[job.name] = unexpected(f"{job.name} cannot be sent to a worker", error)
            return
        self.attempts[name] = _Attempt(job, number, reference)

    def _images(self, run: RunDirectory) -> tuple[DataSpec, list[Any]]:
        """Put a run's images into the object store, and learn which files outside it are read."""
        import ray

        from fleet.assembly import run_images

        if run.root not in self.images:
            family = read_family(run)
            for device in family.trained:
                self.named |= {Path(path) for path in device.reads}
            reference = ray.put(run_images(run, family.data).portable())
            self.images[run.root] = (family.data, [reference])
        return self.images[run.root]

    def _settle(self, name: str, attempt: _Attempt) -> None:
        """Take what Ray has of an attempt: an outcome, or a dead worker, which is replaced."""
        import ray

        job = attempt.job
        try:
            attempt.outcome = ray.get(attempt.reference)
        except (ray.exceptions.RayTaskError, ray.exceptions.RaySystemError) as error:
            words = f"{job.name} cannot be sent between this machine and a node"
            attempt.outcome, attempt.ended = unexpected(words, error), True
        except ray.exceptions.RayError as error:
            if attempt.number == ATTEMPTS:
                attempt.outcome, attempt.ended = JobOutcome(error=_obituary(job, error)), True
                return
            del self.attempts[name]
            self._begin(job, attempt.number + 1)
            again = f"{type(error).__name__}: begun again from what is on disk"
            self.cluster.on_event(Progress(job.name, 0, 1, again))

    def _answer(self, letter: _Letter) -> tuple[int, Any] | None:
        """Do what a worker tells or asks; a question's number and the answer."""
        attempt = self.attempts.get(letter.attempt)
        if letter.verb == "progress":
            if attempt is not None:
                self.cluster.on_event(Progress(attempt.job.name, *letter.content))
            return None
        if letter.verb == "ended":
            if attempt is not None:
                attempt.ended = True
            return None
        if attempt is None:  # of a node that was given up and still lives
            return letter.number, CheckpointError(f"{letter.attempt} was begun again elsewhere")
        try:
            self._check(attempt.job, letter.content[0])
            return letter.number, getattr(self, f"_{letter.verb}")(*letter.content)
        except (OSError, FleetError) as error:
            return letter.number, error

    def _check(self, job: Job, path: Path) -> None:
        """Refuse a worker all but the files of the run and the weights that its profile names."""
        inside = job.run is not None and path.is_relative_to(job.run.root)
        if not (inside and ".." not in path.parts) and path not in self.named:
            raise CheckpointError(f"{path} is no file of the run that {job.name} works on")

    def _read(self, path: Path) -> Any:
        import ray

        found = path.stat()
        if found.st_size <= SMALL:
            return path.read_bytes()
        key = (path, found.st_mtime_ns, found.st_size)
        reference = self.files.pop(key, None) or ray.put(path.read_bytes())
        self.files[key] = reference
        if len(self.files) > REMEMBERED:
            self.files.popitem(last=False)
        return [reference]

    def _write(self, path: Path, sent: Any, mode: int) -> None:
        import ray

        try:
            data: bytes = ray.get(sent[0]) if isinstance(sent, list) else sent
        except ray.exceptions.RayError as error:  # the worker died meanwhile
            raise CheckpointError(f"{path} was lost on its way: {error}") from error
        write_bytes(path, data, mode=mode)

    def _remove(self, path: Path) -> None:
        remove(path)


def _obituary(job: Job, error: Exception) -> BackendError:
    words = str(error).strip().partition("\n")[0]
    return BackendError(
        f"{job.name}: {ATTEMPTS} workers died one after another; the last: "
        f"{type(error).__name__}: {words}",
        hint="for memory, give each job more with --per-job memory=8GB, or use a smaller batch "
        "size; what is finished is kept, and the same command goes on",
    )
