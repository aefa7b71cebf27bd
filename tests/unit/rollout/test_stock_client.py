"""The TUF project's own client reads our repository; nothing of ours is needed on that side."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tuf.api.exceptions import RepositoryError
from tuf.ngclient import Updater

from fleet.bundle import read_bundle
from fleet.rollout.operations import open_repository
from unit.rollout.conftest import Server, Workshop


@pytest.fixture(autouse=True)
def _valid_now(workshop: Workshop) -> None:
    """The stock client asks the machine's clock; the repository is signed for now."""
    open_repository(workshop.depot).refresh()


def stock(workshop: Workshop, server: Server, tmp_path: Path) -> Updater:
    for name in ("meta", "targets"):
        (tmp_path / name).mkdir(exist_ok=True)
    return Updater(
        str(tmp_path / "meta"),
        f"{server.url}/metadata/",
        str(tmp_path / "targets"),
        f"{server.url}/targets/",
        bootstrap=(workshop.depot.root / "root.json").read_bytes(),
    )


def test_the_stock_client_fetches_a_bundle(
    workshop: Workshop, serve: Callable[[Path], Server], tmp_path: Path
) -> None:
    workshop.roll_out("r1", 1, now=datetime.now(UTC))
    updater = stock(workshop, serve(workshop.depot.public), tmp_path)
    enrolment = workshop.depot.enrolled()["cam-01"]
    target = updater.get_targetinfo(f"devices/{enrolment.id}/bundle")
    assert target is not None
    path = updater.download_target(target)
    key = workshop.device("cam-01").identity.seal_key
    assert read_bundle(Path(path), key=key).manifest.release == "r1"


def test_the_stock_client_refuses_what_we_refuse(
    workshop: Workshop, serve: Callable[[Path], Server], tmp_path: Path
) -> None:
    workshop.roll_out("r1", 1, now=datetime.now(UTC))
    bundle = next((workshop.depot.public / "targets").rglob("*.bundle"))
    bundle.write_bytes(b"x" * bundle.stat().st_size)
    updater = stock(workshop, serve(workshop.depot.public), tmp_path)
    target = updater.get_targetinfo(f"devices/{bundle.parent.name}/bundle")
    assert target is not None
    with pytest.raises(RepositoryError):
        updater.download_target(target)
