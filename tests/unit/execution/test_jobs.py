"""Jobs, here and in worker processes: same results, and one death leaves the others alone."""

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from fleet.errors import BackendError, DataError
from fleet.execution import Job, Progress, run_jobs
from fleet.execution.jobs import default_workers

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


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_and_progress_do_not_depend_on_the_workers(crew: ModuleType, workers: int) -> None:
    seen: list[Progress] = []
    jobs = [Job(f"j{i}", crew.square, (i,)) for i in range(3)]
    outcomes = run_jobs(jobs, workers=workers, on_progress=seen.append)
    assert list(outcomes) == ["j0", "j1", "j2"]
    assert [outcome.value for outcome in outcomes.values()] == [0, 1, 4]
    for name in outcomes:
        assert [(p.done, p.total, p.text) for p in seen if p.job == name] == [
            (1, 2, "half"),
            (2, 2, "done"),
        ]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_gets_the_threads_it_was_promised(crew: ModuleType, workers: int) -> None:
    jobs = [Job(name, crew.threads, ()) for name in ("a", "b")]
    outcomes = run_jobs(jobs, workers=workers, threads=1)
    assert [outcome.value for outcome in outcomes.values()] == [1, 1]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_job_leaves_the_others_running(crew: ModuleType, workers: int) -> None:
    jobs = [
        Job("bad", crew.complain, ()),
        Job("worse", crew.stumble, ()),
        Job("hungry", crew.hunger, ()),
        Job("good", crew.square, (3,)),
    ]
    outcomes = run_jobs(jobs, workers=workers)
    assert isinstance(outcomes["bad"].error, DataError)
    assert outcomes["bad"].error.hint == "look elsewhere"
    assert isinstance(outcomes["worse"].error, BackendError)
    assert "ZeroDivisionError" in outcomes["worse"].trace
    assert "out of memory" in str(outcomes["hungry"].error)
    assert outcomes["good"].value == 9


def test_a_killed_worker_costs_only_its_own_job(crew: ModuleType) -> None:
    jobs = [
        Job("killed", crew.die, (signal.SIGKILL,)),
        Job("left", crew.leave, ()),
        Job("one", crew.square, (1,)),
        Job("two", crew.square, (2,)),
    ]
    outcomes = run_jobs(jobs, workers=2)
    assert "was killed" in str(outcomes["killed"].error)
    assert "exit code 7" in str(outcomes["left"].error)
    assert [outcomes[name].value for name in ("one", "two")] == [1, 4]


def test_workers_do_not_outlive_a_killed_parent(crew: ModuleType, tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, crew\n"
        "from fleet.execution import Job, run_jobs\n"
        "if __name__ == '__main__':\n"
        "    out = pathlib.Path(sys.argv[1])\n"
        "    jobs = [Job(n, crew.tick_for_ever, (out / n,)) for n in 'ab']\n"
        "    run_jobs(jobs, workers=2)\n"
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


def test_job_names_must_differ(crew: ModuleType) -> None:
    with pytest.raises(ValueError, match="repeat"):
        run_jobs([Job("a", crew.square, (1,)), Job("a", crew.square, (2,))], workers=1)


def test_default_workers_follow_jobs_and_cores() -> None:
    assert default_workers(1) == 1
    assert 1 <= default_workers(1000) <= len(os.sched_getaffinity(0))


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
