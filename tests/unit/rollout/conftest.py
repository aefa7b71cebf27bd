"""A depot with enrolled devices, and bundles to publish; real keys, real files, real HTTP."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fleet.bundle import pack_second
from fleet.files import write_bytes
from fleet.rollout import device as device_side
from fleet.rollout.depot import Depot
from fleet.rollout.device import Device, init_device, open_device
from fleet.rollout.operations import (
    init_depot,
    plan_rollout,
    publish,
    set_phase,
    start_rollout,
)
from fleet.rollout.slots import Disk
from fleet.rollout.waves import Policy, Rollout
from unit.bundle.bundle_samples import manifest, tiny_model

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
AT_ONCE = Policy(min_success=0.0, max_failures=9, max_failure_share=1.0, bake=0)


@dataclass
class Workshop:
    """Everything that a test of the rollout needs; one operator, some devices, one place."""

    root: Path
    depot: Depot
    names: tuple[str, ...]

    @property
    def url(self) -> str:
        return self.depot.public.as_uri()

    def home(self, name: str) -> Path:
        return self.root / "homes" / name

    def device(self, name: str, disk: Disk | None = None) -> Device:
        return open_device(self.home(name), disk=disk)

    def bundle(self, name: str, release: str, counter: int, **changes: Any) -> Path:
        """A sealed bundle of a device; other weights for each counter."""
        model = tiny_model(counter)
        enrolment = self.depot.enrolled()[name]
        options: dict[str, Any] = {"recipient": (enrolment.id, enrolment.seal_key)}
        description = manifest(model, device=name, release=release)
        data = pack_second(description, model, counter=counter, **{**options, **changes})
        path = self.root / "dist" / f"{name}-{release}.fleet"
        write_bytes(path, data)
        return path

    def publish(self, release: str, counter: int, *names: str, **changes: Any) -> None:
        bundles = [self.bundle(n, release, counter, **changes) for n in names or self.names]
        publish(self.depot, bundles)

    def roll_out(
        self, release: str, counter: int, *names: str, now: datetime = NOW, **changes: Any
    ) -> Rollout:
        """Publish a release and show it to everybody at once."""
        self.publish(release, counter, *names, **changes)
        rollout = plan_rollout(self.depot, release, "100%", AT_ONCE)
        return set_phase(self.depot, start_rollout(self.depot, rollout, now), "cancelled")

    def install(self, name: str, now: datetime = NOW, **more: Any) -> Any:
        return device_side.install(self.device(name), self.url, clock=now, **more)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """Two devices, enrolled; nothing published."""
    return make_workshop(tmp_path, "cam-01", "cam-02")


def make_workshop(root: Path, *names: str) -> Workshop:
    depot = Depot(root / "depot")
    trust = init_depot(depot, NOW - timedelta(days=1))
    for name in names:
        identity = init_device(root / "homes" / name, name, trust)
        depot.enrol(identity.enrolment)
    return Workshop(root, depot, names)


class Server(http.server.ThreadingHTTPServer):
    """Serves a directory on 127.0.0.1, as badly as a test asks for.

    Attributes:
        cut: Bytes of each bundle after which the link breaks.
        ranges: Whether it knows ranges.
        status: Status of every answer whose path holds ``about``: 404, 500, 302 to itself.
        drip: Seconds between two bytes of such an answer.
        body: What such an answer holds in place of the file.
        served: Bytes that were sent.
    """

    daemon_threads = True
    cut: int | None = None
    ranges = True
    about = ""
    status: int | None = None
    drip: float = 0.0
    body: bytes | None = None
    served = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.SimpleHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path, concerned = Path(self.translate_path(self.path)), self.server.about in self.path
        if self.server.status is not None and concerned:
            self.send_response(self.server.status)
            self.send_header("Location", self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if not path.is_file():
            self.send_error(404)
            return
        data, start = path.read_bytes(), 0
        if self.server.body is not None and concerned:
            data = self.server.body
        asked = self.headers.get("Range")
        if asked and self.server.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        body = data[start:]
        while self.server.drip and concerned:
            self.wfile.write(b"x")
            time.sleep(self.server.drip)
        whole = self.server.cut is None or "bundle" not in path.name
        sent = body if whole else body[: self.server.cut]
        self.wfile.write(sent)
        self.server.served += len(sent)
        if len(sent) < len(body):
            self.close_connection = True
            self.wfile.flush()
            self.connection.close()

    def log_message(self, *args: Any) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, ValueError):
            return  # the link that a test cut


@pytest.fixture
def serve() -> Iterator[Callable[[Path], Server]]:
    """Start servers of directories; their address is ``http://127.0.0.1:PORT``."""
    running: list[Server] = []

    def start(directory: Path) -> Server:
        server = Server(("127.0.0.1", 0), partial(_Handler, directory=str(directory)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()
