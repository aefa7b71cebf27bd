"""Connect to a Ray cluster, and check that its nodes compute what this machine would."""

import platform
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO, cast

from fleet.errors import BackendError
from fleet.provenance import package_version

INSTALL = 'pip install "interval-fleet[ray]" in the environment of every node and of this machine'
ANSWER_SECONDS = 5.0
"""How long the head may take to accept a connection."""

LOOK_SECONDS = 120.0
"""How long a node may take to say what it has; a worker starts meanwhile."""

_COMPARED = ("fleet", "code", "torch", "numpy")


@dataclass(frozen=True)
class Node:
    """What a node has.

    Attributes:
        name: Host name and address.
        python: Version.
        versions: Of fleet, its source (a digest), torch and numpy; None for what is not there.
        resources: Cores, CUDA devices and bytes of memory, as Ray counts them.
    """

    name: str
    python: str
    versions: dict[str, str | None]
    resources: dict[str, float]

    def words(self) -> str:
        """For people."""
        found = self.resources
        gib = found.get("memory", 0) / 2**30
        return (
            f"{found.get('CPU', 0):g} CPU, {found.get('GPU', 0):g} GPU, {gib:.1f} GiB; "
            f"Python {self.python}, fleet {self.versions['fleet']}, torch {self.versions['torch']}"
        )

    def faults(self, here: Mapping[str, str | None]) -> list[str]:
        """Why a job could not run there, or would end with other bits."""
        if self.versions["fleet"] is None:
            return ["fleet is not installed there"]
        return [
            f"{name} is {self.versions[name] or 'absent'}, here {here[name]}"
            for name in _COMPARED
            if self.versions[name] != here[name]
        ]


@contextmanager
def connect(address: str, one_job: Mapping[str, Any]) -> Iterator[list[Node]]:
    """Connect to a cluster for a block; its jobs end with it.

    Args:
        address: ``HOST:PORT`` of its head, or ``auto``.
        one_job: What one job takes of a node, as Ray's options.

    Yields:
        The nodes, all of them fit for work.

    Raises:
        BackendError: What is wrong, before any work is begun.
    """
    ray = _import_ray()
    with _aside():
        _init(ray, address)
        try:
            nodes = look_at_nodes()
            _require_fit(nodes)
            _require_room(nodes, one_job)
            yield nodes
        finally:
            ray.shutdown()


def look_at_nodes() -> list[Node]:
    """Ask every living node of the connected cluster what it has; start a worker on each.

    Raises:
        BackendError: A node does not answer.
    """
    ray = _import_ray()
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(_look())
    asked = {}
    for node in ray.nodes():
        if node["Alive"]:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": there}
            asked[look.options(**options).remote()] = node
    nodes = []
    for reference, node in asked.items():
        name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        try:
            python, versions = ray.get(reference, timeout=LOOK_SECONDS)
        except ray.exceptions.RayError as error:
            raise BackendError(
                f"node {name} does not answer: {type(error).__name__}: {_first(error)}",
                hint="`ray status` on the head shows the nodes; its logs are under /tmp/ray there",
            ) from error
        nodes.append(Node(name, python, versions, node["Resources"]))
    return nodes


def versions_here() -> dict[str, str | None]:
    """What this machine would do the jobs with."""
    return cast(dict[str, str | None], _look()()[1])


def _look() -> Callable[[], Any]:
    """A function that travels as code, because a node may have no fleet to find it in."""

    def look() -> tuple[str, dict[str, str | None]]:
        import hashlib
        import importlib.metadata
        import importlib.util
        import platform
        from pathlib import Path

        def version(name: str) -> str | None:
            try:
                return importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                return None

        versions = {name: version(name) for name in ("torch", "numpy")}
        try:
            found = importlib.util.find_spec("fleet")
        except ImportError:
            found = None
        if found is None or found.origin is None:
            return platform.python_version(), {**versions, "fleet": None, "code": None}
        digest, root = hashlib.sha256(), Path(found.origin).parent
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\n".encode())
            digest.update(path.read_bytes())
        versions |= {"fleet": version("interval-fleet") or "0+unknown"}
        return platform.python_version(), {**versions, "code": digest.hexdigest()[:12]}

    return look


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        absent = package_version("ray") is None
        raise BackendError(
            "--executor ray needs Ray, which is not installed"
            if absent
            else f"Ray cannot be imported: {error}",
            hint=f"{INSTALL}, of the cluster's version (`ray --version` there)",
        ) from error
    return ray


def _init(ray: Any, address: str) -> None:
    """Become a driver of the cluster."""
    if "://" in address:
        raise BackendError(
            f"{address}: the driver is a machine of the cluster, not a client of it",
            hint="run this on the head (or any node) with --address auto",
        )
    if address != "auto":
        _require_answer(address)
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level="CRITICAL",
            runtime_env={"env_vars": {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}},
        )
    except Exception as error:  # as many types as there are ways of not getting there
        raise _not_connected(ray, address, error) from error


def _require_answer(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), ANSWER_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise BackendError(
            f"no Ray cluster answers at {address}: {error}",
            hint="give HOST:PORT of the head as `ray start --head` prints it (port 6379), or auto",
        ) from error


def _not_connected(ray: Any, address: str, error: Exception) -> BackendError:
    text = " ".join(str(error).split())
    if "ersion mismatch" in text:
        return BackendError(
            f"the cluster at {address} runs another Ray or Python than this machine "
            f"(Ray {ray.__version__}, Python {platform.python_version()}): {text}",
            hint="install the cluster's versions here, or these there",
        )
    if isinstance(error, ConnectionError):
        return BackendError(
            f"no Ray cluster at {address}: {text}",
            hint="`ray start --head` begins one here, `ray start --address HEAD:6379` joins "
            "another node; docs/clusters.md",
        )
    return BackendError(
        f"cannot join the Ray cluster at {address}: {type(error).__name__}: {text}",
        hint="this machine must be a node of the cluster: `ray start --address HEAD:6379`",
    )


def _require_fit(nodes: list[Node]) -> None:
    here = versions_here()
    bad = [f"{n.name}: {'; '.join(faults)}" for n in nodes if (faults := n.faults(here))]
    major = ".".join(platform.python_version_tuple()[:2])
    bad += [
        f"{node.name}: Python {node.python}, here {platform.python_version()}"
        for node in nodes
        if node.python.rpartition(".")[0] != major
    ]
    if bad:
        raise BackendError(
            "nodes of the cluster would not do what this machine does:\n  " + "\n  ".join(bad),
            hint=f"{INSTALL}, the same versions everywhere",
        )


def _require_room(nodes: list[Node], one_job: Mapping[str, Any]) -> None:
    names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
    wanted = {names[key]: value for key, value in one_job.items() if value}
    if any(all(n.resources.get(k, 0) >= v for k, v in wanted.items()) for n in nodes):
        return
    most = {k: max(node.resources.get(k, 0) for node in nodes) for k in wanted}
    raise BackendError(
        f"no node has room for one job: it takes {wanted}, and the most on one node is {most}",
        hint="ask for less with --per-job, or start a larger node",
    )


def _first(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


class _Aside:
    """Standard output without what Ray's threads print about dying nodes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, unless a thread of Ray's asks."""
        if threading.current_thread().name.startswith("ray_"):
            return len(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _aside() -> Iterator[None]:
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = cast(TextIO, _Aside(out)), cast(TextIO, _Aside(err))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err
