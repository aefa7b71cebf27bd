"""Audits of one run: their order changes no byte, and two at once are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fleet.audit.coalition.run import audit_run_coalition
from fleet.audit.coalition.trials import CoalitionSettings
from fleet.audit.core import examination, jobs
from fleet.audit.core.evidence import Probes
from fleet.audit.core.jobs import AuditJob, examine_device
from fleet.audit.core.members import TransferSettings
from fleet.audit.query.methods import QuerySettings
from fleet.audit.query.run import audit_run_query
from fleet.audit.trace import run as trace_run
from fleet.audit.trace.evidence import TraceSettings
from fleet.audit.trace.run import audit_run_trace
from fleet.audit.transfer.audit import audit_run_transfer
from fleet.audit.whitebox import audit as whitebox
from fleet.audit.whitebox.audit import audit_run_whitebox
from fleet.errors import AuditError, CheckpointError
from fleet.execution import Serial
from fleet.files import locked, make_directory
from fleet.profiles import load_profile
from fleet.rundir import RunDirectory
from fleet.training.family import train_family

PROFILE = """\
version: 1
name: tiny
control: false
data: {{dataset: mnist, root: {root}, validation: 60, train_limit: 640}}
defaults:
  model: {{width: 0.125}}
  training: {{epochs: 1, batch_size: 32, shift: 0}}
devices:
  - name: door
    encoding: {{alpha: 4, beta: 16}}
    model: {{head: ordinal}}
    training: {{learning_rate: 0.01}}
  - name: gate
    task: tra
"""
EFFORT = TransferSettings((0.1, 0.2), steps=2, restarts=3, noise_draws=1)
ONE = replace(EFFORT, eps=(0.2,))
ASKING = QuerySettings((0.2,), queries=4, methods=("noise", "transfer+queries"), steps=2)

AUDITS: dict[str, Callable[[RunDirectory], Any]] = {
    "whitebox": partial(audit_run_whitebox, settings=ONE, images=6, executor=Serial()),
    "transfer": partial(audit_run_transfer, settings=EFFORT, images=20, executor=Serial()),
    "coalition": partial(
        audit_run_coalition,
        settings=CoalitionSettings(replace(ONE, restarts=1), held_out=20, bootstrap=20),
        images=12,
        executor=Serial(),
    ),
    "query": partial(audit_run_query, settings=ASKING, images=10, executor=Serial()),
    "trace": partial(
        audit_run_trace,
        settings=TraceSettings((0.2,), evidence=(1, 2), steps=2),
        images=12,
        calibration_images=10,
        executor=Serial(),
    ),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, mnist_root: Path) -> RunDirectory:
    place = tmp_path_factory.mktemp("ordered")
    profile = place / "tiny.yaml"
    profile.write_text(PROFILE.format(root=mnist_root))
    trained = train_family(load_profile(profile), parent=place, executor=Serial())
    assert not trained.errors
    return trained.run


@pytest.fixture(scope="module", autouse=True)
def _small_probes() -> Iterator[None]:
    """Less of what takes long and has nothing to do with what audits share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace_run, "OWN_COUNT", 64)
        patch.setattr(whitebox, "_ATTACKS", whitebox._ATTACKS[3:])
        patch.setattr(examination, "probe_device", lambda *_, **__: Probes())
        yield


def fresh(run: RunDirectory, place: Path) -> RunDirectory:
    """The run as it was trained, without an audit."""
    copy = RunDirectory(place / run.name)
    shutil.copytree(run.root, copy.root, ignore=shutil.ignore_patterns("audits"))
    return copy


def documents(run: RunDirectory, order: tuple[str, ...]) -> dict[str, str]:
    """What each audit says, made in this order, but for the time that it took."""
    found = {kind: replace(AUDITS[kind](run), created="", seconds=None).to_dict() for kind in order}
    return {kind: json.dumps(value, sort_keys=True) for kind, value in found.items()}


def test_the_order_of_audits_changes_no_byte(run: RunDirectory, tmp_path: Path) -> None:
    forward = ("whitebox", "transfer", "coalition", "query", "trace")
    first = documents(fresh(run, tmp_path / "forward"), forward)
    copy = fresh(run, tmp_path / "backward")
    assert documents(copy, forward[::-1]) == first
    assert documents(copy, forward) == first, "nor does what they left behind"


def test_two_audits_of_one_run_at_once_are_refused(run: RunDirectory, tmp_path: Path) -> None:
    copy = fresh(run, tmp_path)
    with locked(make_directory(copy.audits), "audit"):
        for audit in AUDITS.values():
            with pytest.raises(CheckpointError, match=r"another audit is writing .*audits"):
                audit(copy)
    assert not [path for path in copy.audits.rglob("*") if path.is_file()]
    with ExitStack() as both:  # other runs are free, and so is this one afterwards
        for free in (copy, run):
            both.enter_context(locked(make_directory(free.audits), "audit"))


def test_sets_that_another_audit_replaced_are_not_tried(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where there are no locks: between the attacks and the trials comes an audit of less."""
    copy = fresh(run, tmp_path)
    small = AuditJob(copy, "door", replace(ONE, eps=(0.05,)), 20, "test")
    real = jobs.run_all

    def meanwhile(verb: str, *arguments: Any) -> list[Any]:
        if verb == "try on":
            examine_device(small, progress=lambda *_: None)
        return real(verb, *arguments)

    monkeypatch.setattr(jobs, "run_all", meanwhile)
    with pytest.raises(AuditError, match="stored images of door are not those that this audit"):
        audit_run_transfer(copy, ONE, images=20, executor=Serial())
