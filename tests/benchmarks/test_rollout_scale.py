"""A fleet of 1,000 devices: what publishing, one wave and one poll cost.

``python -m pytest -m benchmark tests/benchmarks/test_rollout_scale.py -s`` writes
``results/rollout/scale.json``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fleet.bundle import pack_second
from fleet.errors import RolloutError
from fleet.files import make_directory
from fleet.provenance import environment
from fleet.rollout.depot import Depot
from fleet.rollout.device import init_device, install, open_device
from fleet.rollout.keys import Enrolment
from fleet.rollout.operations import init_depot, plan_rollout, publish, start_rollout
from fleet.rollout.poll import Fetcher
from fleet.rollout.waves import Policy
from unit.bundle.bundle_samples import manifest, tiny_model

DEVICES = 1000
RESULT = Path(__file__).resolve().parents[2] / "results" / "rollout" / "scale.json"


@pytest.mark.benchmark
def test_a_thousand_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    depot, now = Depot(tmp_path / "depot"), datetime.now(UTC)
    trust = init_depot(depot)
    clock = _Clock()
    enrolments = [init_device(tmp_path / "homes" / "cam-0000", "cam-0000", trust).enrolment]
    enrolments += [_enrolment(f"cam-{number:04}") for number in range(1, DEVICES)]
    make_directory(depot.device("x").parent)
    for enrolment in enrolments:
        depot.device(enrolment.name).write_text(json.dumps(enrolment.to_dict()))
    clock.lap("enrolling")
    bundles = []
    for number, enrolment in enumerate(enrolments):
        model = tiny_model(number)
        described = manifest(model, device=enrolment.name, release="r1")
        recipient = (enrolment.id, enrolment.seal_key)
        path = tmp_path / "dist" / f"{enrolment.name}.fleet"
        make_directory(path.parent)
        path.write_bytes(pack_second(described, model, counter=1, recipient=recipient))
        bundles.append(path)
    os.sync()
    clock.lap("sealing and writing")
    publish(depot, bundles)
    clock.lap("publish")
    start_rollout(depot, plan_rollout(depot, "r1", "100%", Policy()), now)
    clock.lap("one wave of all")
    received = _count_bytes(monkeypatch)
    device = open_device(tmp_path / "homes" / "cam-0000")
    assert install(device, depot.public.as_uri()) is not None
    clock.lap("first install")
    first = sum(received)
    received.clear()
    assert install(device, depot.public.as_uri()) is None
    clock.lap("poll of an unchanged repository")
    metadata = depot.public / "metadata"
    found = {
        "devices": DEVICES,
        "seconds": clock.laps,
        "processor_seconds": clock.work,
        "load_average": os.getloadavg()[0],
        "first_install_bytes": first,
        "poll_bytes": sum(received),
        "targets_json_bytes": max(p.stat().st_size for p in metadata.glob("*.targets.json")),
        "environment": environment(),
    }
    with pytest.raises(RolloutError, match="published already"):
        publish(depot, bundles[:1])
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
    print(json.dumps({key: found[key] for key in ("seconds", "first_install_bytes", "poll_bytes")}))
    assert found["poll_bytes"] < 1024


def _enrolment(name: str) -> Enrolment:
    seal, sign = X25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    return Enrolment(
        name, seal.public_key().public_bytes_raw(), sign.public_key().public_bytes_raw()
    )


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.work: dict[str, float] = {}
        self._last = time.perf_counter(), time.process_time()

    def lap(self, name: str) -> None:
        now = time.perf_counter(), time.process_time()
        wall, work = (after - before for after, before in zip(now, self._last, strict=True))
        self.laps[name], self.work[name], self._last = round(wall, 3), round(work, 3), now


def _count_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count what a device fetches; nothing is replaced, only watched."""
    received: list[int] = []
    fetch = Fetcher.fetch_from

    def counted(self: Fetcher, url: str, offset: int) -> Iterator[bytes]:
        for chunk in fetch(self, url, offset):
            received.append(len(chunk))
            yield chunk

    monkeypatch.setattr(Fetcher, "fetch_from", counted)
    return received
