"""What a job takes of a node: from the profile, and from the option before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from fleet.cli.executors import Where, share_of
from fleet.cli.options import ExecutorChoice
from fleet.errors import ProfileError
from fleet.execution import cluster
from fleet.profiles import FamilySpec, load_profile

PROFILE = (
    "version: 1\nname: fam\ndata: {dataset: mnist, root: .}\ndevices: [{name: a, task: tra}]\n"
)


def load(tmp_path: Path, more: str = "") -> FamilySpec:
    path = tmp_path / "profile.yaml"
    path.write_text(PROFILE + more, encoding="utf-8")
    return load_profile(path)


def test_a_profile_says_what_a_job_takes_and_its_digest_stays(tmp_path: Path) -> None:
    plain = load(tmp_path)
    said = load(tmp_path, "per_job: {cpus: 2.0, gpus: 0.5, memory: 8GB}\n")
    assert share_of(said.per_job) == cluster.Share(cpus=2, gpus=0.5, memory=8 * 10**9)
    assert share_of(plain.per_job) == cluster.Share()
    assert said.digest() == plain.digest()
    assert FamilySpec.from_dict(said.to_dict()).per_job == said.per_job
    assert "per_job" not in plain.to_dict()


@pytest.mark.parametrize("wrong", ["{cpus: 0}", "{memory: much}", "{memory: 0GB}", "{disk: 1}"])
def test_a_profile_that_asks_for_nonsense_is_refused(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ProfileError, match="per_job"):
        load(tmp_path, f"per_job: {wrong}\n")


@pytest.mark.parametrize(("option", "cpus"), [("", 2), ("cpus=4", 4)])
def test_the_option_goes_before_the_profile(
    monkeypatch: pytest.MonkeyPatch, option: str, cpus: int
) -> None:
    asked: list[cluster.Share] = []

    def stop(_: str, share: cluster.Share, *__: Any) -> Any:
        asked.append(share)
        raise InterruptedError

    monkeypatch.setattr(cluster, "on_cluster", stop)
    where = Where(ExecutorChoice.ray, per_job=option)
    with pytest.raises(InterruptedError), where.opened(Console(), "cpus=2"):
        pass
    assert asked[0].cpus == cpus


def test_processes_leave_the_profile_alone_and_refuse_the_option() -> None:
    with Where().opened(Console(quiet=True), "cpus=2") as executor:
        assert executor is not None
    with (
        pytest.raises(typer.BadParameter, match="for --executor ray"),
        Where(per_job="cpus=2").opened(Console()),
    ):
        pass
