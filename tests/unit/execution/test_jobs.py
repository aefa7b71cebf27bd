"""Jobs, here and in worker processes: same results, and one death leaves the others alone."""

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from fleet.errors import BackendError, DataError, FleetWarning, noted
from fleet.execution import (
    Executor,
    Job,
    JobOutcome,
    OnEvent,
    Processes,
    Progress,
    Serial,
    kept_workers,
)

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def crew() -> Iterator[ModuleType]:
    """The jobs module, importable by name here and in spawned workers."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), before]))
    sys.path.insert(0, str(HERE))
    try:
        yield importlib.import_module("crew")
    finally:
        sys.path.remove(str(HERE))
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


Done = tuple[dict[str, JobOutcome], list[Progress]]


def run(crew: ModuleType, workers: int | str, *harder: Job) -> Done:
    """What good and bad jobs came to, the harder ones in the middle of them."""
    jobs = [
        Job("bad", crew.complain, ()),
        Job("j0", crew.square, (0,)),
        Job("t0", crew.threads, ()),
        Job("worse", crew.stumble, ()),
        *harder,
        Job("j1", crew.square, (1,)),
        Job("hungry", crew.hunger, ()),
        Job("hungry for tensors", crew.hunger_of_torch, ()),
        Job("careful", crew.halve, ()),
        Job("t1", crew.threads, ()),
        Job("j2", crew.square, (2,)),
    ]
    seen: list[Progress] = []
    with noted():
        outcomes = _executor(workers, seen.append).run(jobs)
    assert list(outcomes) == [job.name for job in jobs]
    return outcomes, seen


@pytest.fixture(scope="module")
def hired(crew: ModuleType) -> Done:
    """The jobs of two workers, among them what no serial run would survive; seconds to hire."""
    return run(
        crew,
        2,
        Job("kept", crew.keep, ()),
        Job("locked", crew.lock, ()),
        Job("killed", crew.die, (signal.SIGKILL,)),
        Job("unreadable", crew.lock, (crew.Locked(),)),
        Job("unsendable", lambda **_: None, ()),
        Job("left", crew.leave, ()),
    )


@pytest.fixture(scope="module", params=["serial", 1, 2])
def done(crew: ModuleType, request: pytest.FixtureRequest) -> Done:
    """The jobs, once for each number of workers."""
    if request.param == 2:
        return request.getfixturevalue("hired")
    return run(crew, request.param)


def test_results_and_progress_do_not_depend_on_the_workers(done: Done) -> None:
    outcomes, seen = done
    for number, name in enumerate(("j0", "j1", "j2")):
        assert outcomes[name].value == number**2
        assert [(p.done, p.total, p.text) for p in seen if p.job == name] == [
            (0, 1, ""),
            (1, 2, "half"),
            (2, 2, "done"),
        ]


def test_every_job_gets_the_threads_it_was_promised(done: Done) -> None:
    assert [done[0][name].value for name in ("t0", "t1")] == [1, 1]


def test_a_failing_job_leaves_the_others_running(done: Done) -> None:
    outcomes, _ = done
    assert isinstance(outcomes["bad"].error, DataError)
    assert outcomes["bad"].error.hint == "look elsewhere"
    assert isinstance(outcomes["worse"].error, BackendError)
    assert "ZeroDivisionError" in outcomes["worse"].trace
    for name in ("hungry", "hungry for tensors"):
        error = outcomes[name].error
        assert isinstance(error, BackendError)
        assert error.message == f"{name} ran out of memory"
        assert "smaller batch size" in str(error.hint)
    assert outcomes["j2"].value == 4


def test_what_cannot_be_sent_between_processes_costs_only_its_own_job(hired: Done) -> None:
    outcomes, _ = hired
    for name in ("kept", "locked", "unreadable", "unsendable"):
        error = outcomes[name].error
        assert isinstance(error, BackendError)
        assert "__main__" not in f"{error} {error.hint}"
        assert outcomes[name].trace, "of the error that it met"
    assert "the result of kept cannot be sent between processes" in str(outcomes["kept"].error)
    assert "unsendable cannot be sent to a worker process" in str(outcomes["unsendable"].error)
    assert "cannot read its job" in str(outcomes["unreadable"].error)


def test_a_killed_worker_costs_only_its_own_job(hired: Done) -> None:
    """The others' outcomes are those of the tests above, which take this run for two workers."""
    outcomes, _ = hired
    assert "was killed" in str(outcomes["killed"].error)
    assert "exit code 7" in str(outcomes["left"].error)
    assert [outcomes[name].value for name in ("j0", "j1", "j2")] == [0, 1, 4]


def test_workers_do_not_outlive_a_killed_parent(crew: ModuleType, tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, crew\n"
        "from fleet.execution import Job, Processes\n"
        "if __name__ == '__main__':\n"
        "    out = pathlib.Path(sys.argv[1])\n"
        "    jobs = [Job(n, crew.tick_for_ever, (out / n,)) for n in 'ab']\n"
        "    Processes(2).run(jobs)\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(code)
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path)])
    notes = [tmp_path / "a", tmp_path / "b"]
    _wait(lambda: all(n.exists() and n.read_text() for n in notes))
    workers = [int(note.read_text()) for note in notes]
    parent.kill()
    parent.wait()
    _wait(lambda: not any(_alive(pid) for pid in workers))


def test_kept_workers_serve_the_next_calls_and_end_with_the_block(
    crew: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*more: Job) -> set[int]:
        jobs = [Job("a", crew.whoami, ()), Job("b", crew.whoami, ()), *more]
        return {done.value for done in Processes(2).run(jobs).values() if done.error is None}

    with kept_workers():
        first = ask()
        with kept_workers():
            assert ask(Job("dies", crew.leave, ())) == first
        second = ask()
        assert len(first & second) == 1, "the one that died has a successor"
        monkeypatch.setenv("FLEET_ACCELERATOR", "cpu")  # which workers hear of at their birth
        assert not second & ask()
        assert not any(_alive(pid) for pid in second)
    assert len(first) == len(second) == 2
    assert not multiprocessing.active_children()


def test_job_names_must_differ(crew: ModuleType) -> None:
    with pytest.raises(ValueError, match="repeat"):
        Serial().run([Job("a", crew.square, (1,)), Job("a", crew.square, (2,))])


def test_a_single_job_hires_nobody(crew: ModuleType) -> None:
    assert Processes().values([Job("a", crew.whoami, ())]) == [os.getpid()]


def test_values_are_what_the_jobs_returned_or_the_first_error(crew: ModuleType) -> None:
    jobs = [Job(f"{value}", crew.square, (value,)) for value in (2, 3)]
    assert Serial().values(jobs) == [4, 9]
    assert Serial().values([]) == []
    wrong = [jobs[0], Job("bad", crew.complain, ()), Job("worse", crew.stumble, ())]
    with pytest.raises(DataError):
        Serial().values(wrong)


def _executor(workers: int | str, on_event: OnEvent) -> Executor:
    if workers == "serial":
        return Serial(on_event=on_event)
    return Processes(int(workers), on_event=on_event)


def _wait(condition: object, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_what_a_job_has_to_say_is_said_by_whoever_runs_it(crew: ModuleType, done: Done) -> None:
    words = "16 images at once need more memory than there is: half of them are taken"
    assert done[0]["careful"].notes == (words,)
    assert done[0]["j0"].notes == ()
    with pytest.warns(FleetWarning, match=f"careful: {words}"):
        assert Serial().values([Job("careful", crew.halve, ())]) == [[8, 8]]
