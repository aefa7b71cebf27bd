"""Ray as executor, on a real cluster: three nodes that see no file of the driver's.

The marker ``cluster`` takes all but one test out of the normal suite: minutes on two cores.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

ray = pytest.importorskip("ray", reason="Ray is an extra: pip install interval-fleet[ray]")

from fleet.audit.core.members import TransferSettings  # noqa: E402
from fleet.audit.transfer.audit import audit_run_transfer  # noqa: E402
from fleet.errors import BackendError  # noqa: E402
from fleet.execution import Job, Progress, Serial  # noqa: E402
from fleet.execution.cluster import ATTEMPTS, Share, on_cluster  # noqa: E402
from fleet.files import read_json  # noqa: E402
from fleet.profiles import load_profile  # noqa: E402
from fleet.rundir import RunDirectory, list_runs  # noqa: E402
from fleet.training.family import train_family  # noqa: E402

RunFleet = Callable[..., Any]
CREW = Path(__file__).parents[1] / "unit" / "execution"

# What every worker runs first: files of the driver's are not there, and on a node without fleet
# nor is fleet.
WORKER = """
import os, sys
if any(word.endswith("default_worker.py") for word in getattr(sys, "orig_argv", [])):
    hidden = tuple(os.environ["TEST_HIDDEN"].split(os.pathsep))
    def hide(event, arguments):
        if event in {"open", "os.mkdir", "os.rename", "os.remove"}:
            if os.path.abspath(os.fsdecode(arguments[0])).startswith(hidden):
                raise PermissionError(f"a worker touched {arguments[0]}")
    def guard(event, arguments):
        if arguments and isinstance(arguments[0], (str, bytes, os.PathLike)):
            hide(event, arguments)
    sys.addaudithook(guard)
    if os.environ.get("TEST_WITHOUT_FLEET"):
        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name == "fleet":
                    raise ModuleNotFoundError("No module named 'fleet'")
        sys.meta_path.insert(0, Absent())
"""


class Nodes:
    """A head and two more nodes, each in a directory of its own."""

    def __init__(self, place: Path, hidden: list[Path]) -> None:
        from ray.cluster_utils import Cluster

        self.place = place
        (place / "site").mkdir()
        (place / "site" / "sitecustomize.py").write_text(WORKER)
        self.env = {
            "PYTHONPATH": os.pathsep.join(
                filter(None, [str(place / "site"), str(CREW), os.environ.get("PYTHONPATH", "")])
            ),
            "TEST_HIDDEN": os.pathsep.join(map(str, hidden)),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        quick = {  # finds a dead node in a second; the default takes ten
            "health_check_initial_delay_ms": 0,
            "health_check_period_ms": 300,
            "health_check_failure_threshold": 4,
            "health_check_timeout_ms": 1000,
        }
        self.cluster = Cluster()
        self.start(_system_config=quick, include_dashboard=False)
        self.others = [self.start(), self.start()]
        self.address: str = self.cluster.address

    def start(self, **options: Any) -> Any:
        with chdir(self.place), pytest.MonkeyPatch.context() as patch:
            for name, value in self.env.items():
                patch.setenv(name, value)
            own = self.place / f"node-{time.monotonic_ns()}"
            own.mkdir()
            os.chdir(own)
            return self.cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20, **options)

    def kill_one(self) -> None:
        self.cluster.remove_node(self.others.pop(), allow_graceful=False)


@pytest.fixture(scope="module")
def driver_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("driver")


@pytest.fixture(scope="module")
def nodes(
    tmp_path_factory: pytest.TempPathFactory, driver_place: Path, mnist_root: Path
) -> Iterator[Nodes]:
    nodes = Nodes(tmp_path_factory.mktemp("nodes"), [driver_place, mnist_root])
    yield nodes
    ray.shutdown()
    nodes.cluster.shutdown()


@pytest.fixture
def whole(nodes: Nodes) -> Nodes:
    """The cluster with all three nodes, whatever an earlier test killed."""
    while len(nodes.others) < 2:
        nodes.others.append(nodes.start())
    nodes.cluster.wait_for_nodes()
    return nodes


def digests(run: Path) -> dict[str, str]:
    found = sorted((run / "devices").glob("*/result.json"))
    return {path.parent.name: read_json(path)["weights_sha256"] for path in found}


@pytest.mark.cluster
def test_a_cluster_ends_with_the_bits_of_processes(
    nodes: Nodes,
    driver_place: Path,
    workplace: Path,
    audited: dict[str, Any],
    tiny_profile: Path,
    run_fleet: RunFleet,
) -> None:
    on_ray = ("--executor", "ray", "--address", nodes.address)
    trained = run_fleet("train", "--profiles", tiny_profile, *on_ray, cwd=driver_place)
    assert trained.returncode == 0, trained.stderr
    (run,) = (driver_place / "runs").iterdir()
    (local,) = (workplace / "runs").iterdir()
    assert digests(run) == digests(local)
    assert not list(run.rglob("*checkpoint*"))
    for line in ("door: epoch 2/2", "gate: epoch 2/2", "twin: epoch 2/2"):
        assert line in trained.stderr
    assert "raylet" not in trained.stdout + trained.stderr
    settings = TransferSettings(tuple(audited["eps"]), steps=5, restarts=1)
    with on_cluster(nodes.address, Share(), lambda _: None) as cluster:
        audit = audit_run_transfer(RunDirectory(run), settings, images=40, executor=cluster)
    found = json.loads(json.dumps(audit.to_dict()))
    for key in ("devices", "matrices", "noise", "checks", "settings"):
        assert found[key] == audited[key]
    assert (run / "audits" / "transfer" / "trials" / "door" / "gate.json").exists()


def test_a_job_that_keeps_failing_costs_itself_alone_and_trainings_end_with_the_same_bits(
    whole: Nodes, driver_place: Path, tmp_path: Path, mnist_root: Path
) -> None:
    sys.path.insert(0, str(CREW))
    try:
        import crew
    finally:
        sys.path.remove(str(CREW))
    seen: list[Progress] = []
    jobs = [
        Job("dies", crew.die, (signal.SIGKILL,)),
        *(Job(f"square {value}", crew.square, (value,)) for value in (2, 3)),
        Job("complains", crew.complain, ()),
        Job("stumbles", crew.stumble, ()),
        Job("keeps", crew.keep, ()),
        Job("locked", crew.lock, ()),
    ]
    with on_cluster(whole.address, Share(), seen.append) as cluster:
        outcomes = cluster.run(jobs)
        profile = tmp_path / "brief.yaml"
        profile.write_text(LONG.format(root=mnist_root).replace("epochs: 20", "epochs: 1"))
        spec = load_profile(profile)
        there = train_family(spec, run=driver_place / "brief", executor=cluster)
        pool = "method: cross, eps: 0.1, attack_steps: 2, pool: [{}]".format(there.run.model("a"))
        crossed = tmp_path / "crossed.yaml"  # its pool lies where no worker sees it
        crossed.write_text(profile.read_text().replace("shift: 0", f"shift: 0, {pool}"))
        against = train_family(load_profile(crossed), run=driver_place / "x", executor=cluster)
    here = train_family(spec, run=tmp_path / "brief", executor=Serial())
    alone = train_family(load_profile(crossed), run=tmp_path / "x", executor=Serial())
    assert digests(against.run.root) == digests(alone.run.root)
    assert digests(there.run.root) == digests(here.run.root)
    assert len(digests(here.run.root)) == 3
    assert [outcomes[f"square {value}"].value for value in (2, 3)] == [4, 9]
    dead = outcomes["dies"].error
    assert isinstance(dead, BackendError)
    assert f"dies: {ATTEMPTS} workers died one after another" in dead.message
    assert "memory" in str(dead.hint)
    again = [event for event in seen if event.job == "dies" and "begun again" in event.text]
    assert len(again) == ATTEMPTS - 1
    assert str(outcomes["complains"].error) == "no such images"
    assert "ZeroDivisionError" in outcomes["stumbles"].trace
    assert outcomes["locked"].error is not None


@pytest.mark.cluster
def test_what_is_wrong_with_a_cluster_is_said_before_any_work(
    nodes: Nodes, tiny_profile: Path, run_fleet: RunFleet, call_fleet: RunFleet, tmp_path: Path
) -> None:
    words = ("train", "--profiles", tiny_profile, "--executor", "ray", "--address")
    (tmp_path / "broken" / "ray").mkdir(parents=True)
    (tmp_path / "broken" / "ray" / "__init__.py").write_text("raise ImportError('no libray')\n")
    path = os.pathsep.join([str(tmp_path / "broken"), os.environ.get("PYTHONPATH", "")])
    broken = run_fleet(*words, "auto", cwd=tmp_path, PYTHONPATH=path)
    assert "Ray cannot be imported" in broken.stderr
    assert "Traceback" not in broken.stderr
    for case, told in (
        ((nodes.address, "--per-job", "cpus=64"), "no node has room for one job"),
        (("127.0.0.1:9",), "no Ray cluster answers at 127.0.0.1:9"),
        (("nowhere",), "no Ray cluster answers at nowhere"),
        (("ray://127.0.0.1:10001",), "a machine of the cluster, not a client"),
        ((nodes.address, "--accelerator", "cuda"), "a job on the cluster has no GPU"),
    ):
        done = call_fleet(*words, *case, cwd=tmp_path)
        assert done.returncode == broken.returncode == 2, done.stderr
        assert told in done.stderr
    assert not (tmp_path / "runs").exists()
    looked = call_fleet("doctor", "--executor", "ray", "--address", nodes.address)
    assert looked.returncode == 0, looked.stderr
    assert looked.stdout.count("CPU") >= 3


def share_of_events(seen: list[Progress], job: str) -> list[float]:
    return [event.done / event.total for event in seen if event.job == job]


LONG = """\
version: 1
name: long
data: {{dataset: mnist, root: {root}, validation: 100, train_limit: 1000, test_limit: 100}}
defaults:
  model: {{width: 0.25}}
  training: {{epochs: 20, batch_size: 50, shift: 0}}
control: false
devices:
  - {{name: a, encoding: {{alpha: 4, beta: 16}}}}
  - {{name: b, encoding: {{alpha: 4, beta: 12}}}}
  - {{name: c, encoding: {{alpha: 4, beta: 8}}}}
"""


@pytest.fixture(scope="module")
def long_profile(tmp_path_factory: pytest.TempPathFactory, mnist_root: Path) -> Path:
    path = tmp_path_factory.mktemp("profile") / "long.yaml"
    path.write_text(LONG.format(root=mnist_root))
    return path


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, long_profile: Path) -> Path:
    """The run that unbroken work on this machine ends with."""
    place = tmp_path_factory.mktemp("reference")
    return train_family(load_profile(long_profile), parent=place, executor=Serial()).run.root


def when(there: Callable[[], bool], act: Callable[[], None]) -> threading.Thread:
    """Act, in a thread of its own, as soon as something is there."""

    def wait() -> None:
        deadline = time.monotonic() + 120
        while not there() and time.monotonic() < deadline:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.cluster
def test_a_node_killed_in_the_middle_of_a_training(
    whole: Nodes, driver_place: Path, long_profile: Path, reference: Path
) -> None:
    run, seen = driver_place / "killed", list[Progress]()
    kept = [run / "devices" / name / "checkpoint.safetensors" for name in "abc"]
    with on_cluster(whole.address, Share(), seen.append) as cluster:
        killer = when(lambda: all(path.exists() for path in kept), whole.kill_one)
        result = train_family(load_profile(long_profile), run=run, executor=cluster)
        killer.join()
    assert not result.errors
    assert digests(run) == digests(reference)
    again = [event for event in seen if "begun again" in event.text]
    assert again, "the node was killed too late to matter"
    for event in again:  # it went on behind its first epoch
        later = share_of_events(seen[seen.index(event) + 1 :], event.job)
        assert min(later) >= 1 / 20


@pytest.mark.cluster
def test_a_node_killed_in_the_middle_of_an_audit(
    whole: Nodes, driver_place: Path, reference: Path
) -> None:
    settings = TransferSettings(eps=(0.2,), steps=20, restarts=1, batch_size=8)
    run = RunDirectory(driver_place / "audited")
    shutil.copytree(reference, run.root)
    seen: list[Progress] = []
    with on_cluster(whole.address, Share(), seen.append) as cluster:
        killer = when(lambda: len(share_of_events(seen, "attack c")) > 1, whole.kill_one)
        killed = audit_run_transfer(run, settings, images=24, executor=cluster)
        killer.join()
    assert any("begun again" in event.text for event in seen)
    local = audit_run_transfer(RunDirectory(reference), settings, images=24, executor=Serial())
    assert killed.matrices == local.matrices
    assert killed.checks == local.checks


@pytest.mark.cluster
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_driver_that_ends_stops_its_jobs_and_goes_on_later(
    how: signal.Signals,
    whole: Nodes,
    driver_place: Path,
    long_profile: Path,
    reference: Path,
    run_fleet: RunFleet,
) -> None:
    runs = driver_place / how.name
    words = ("train", "--profiles", long_profile, "--runs", runs, "--executor", "ray")
    words = (*words, "--address", whole.address)
    process = subprocess.Popen(
        [sys.executable, "-m", "fleet", *map(str, words)], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not list(runs.glob("*/devices/*/checkpoint.safetensors")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(how)
    _, told = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    if how == signal.SIGINT:
        assert "interrupted; finished work is kept" in told
        assert "Traceback" not in told
    (run,) = list_runs(runs)
    with on_cluster(whole.address, Share(), lambda _: None):
        deadline = time.monotonic() + 30
        while ray.available_resources().get("CPU", 0) < 3:
            assert time.monotonic() < deadline, "jobs of the driver that ended are at work"
            time.sleep(0.1)
    left = list(run.root.glob("devices/*/checkpoint.safetensors"))
    assert left
    done = run_fleet(*words)
    assert done.returncode == 0, done.stderr
    assert "going on with" in done.stderr
    assert digests(run.root) == digests(reference)


@pytest.mark.cluster
def test_a_node_without_fleet_and_a_cluster_of_another_version(
    whole: Nodes, tiny_profile: Path, run_fleet: RunFleet, tmp_path: Path
) -> None:
    words = ("train", "--profiles", tiny_profile, "--executor", "ray", "--address", whole.address)
    whole.env["TEST_WITHOUT_FLEET"] = "1"
    bad = whole.start()
    del whole.env["TEST_WITHOUT_FLEET"]
    done = run_fleet(*words, cwd=tmp_path)
    whole.cluster.remove_node(bad)
    assert done.returncode == 2
    assert "fleet is not installed there" in done.stderr
    assert "interval-fleet[ray]" in done.stderr
    with on_cluster(whole.address, Share(), lambda _: None):
        from ray.experimental import internal_kv

        key, space = b"CLUSTER_METADATA", b"cluster"
        true = internal_kv._internal_kv_get(key, namespace=space)
        other = true.replace(ray.__version__.encode(), b"2.1.0")
        internal_kv._internal_kv_put(key, other, overwrite=True, namespace=space)
    done = run_fleet(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert "another Ray or Python" in done.stderr
    assert "2.1.0" in done.stderr
    assert not (tmp_path / "runs").exists()
