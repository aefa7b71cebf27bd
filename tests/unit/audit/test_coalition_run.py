"""The coalition audit of a run on disk: jobs that resume, and the command."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from fleet.assembly import load_images
from fleet.audit.coalition.result import CoalitionAudit
from fleet.audit.coalition.run import audit_run_coalition, take_held_out, trial_path
from fleet.audit.coalition.trials import Coalition, CoalitionSettings
from fleet.audit.core.jobs import AuditJob, SplitName, take_sample
from fleet.audit.core.members import TransferSettings
from fleet.cli.app import command_line
from fleet.errors import AuditError
from fleet.execution import Serial
from fleet.profiles import load_profile
from fleet.profiles.spec import read_family
from fleet.rundir import RunDirectory
from fleet.training.family import train_family

PROFILE = """\
version: 1
name: tiny
data: {{dataset: mnist, root: {root}, validation: 60, train_limit: 1600}}
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
  - name: yard
    task: tra
    training: {{seed: 1}}
"""
SETTINGS = CoalitionSettings(
    TransferSettings(eps=(0.2,), steps=2, restarts=1, noise_draws=1), held_out=10, bootstrap=50
)
IMAGES = 30


@pytest.fixture(scope="module", autouse=True)
def _light_probes(light_probes: Callable[..., Any]) -> Iterator[None]:
    with light_probes():
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, mnist_root: Path) -> RunDirectory:
    place = tmp_path_factory.mktemp("colluded")
    profile = place / "tiny.yaml"
    profile.write_text(PROFILE.format(root=mnist_root))
    trained = train_family(load_profile(profile), parent=place, executor=Serial())
    assert not trained.errors
    return trained.run


def audit(run: RunDirectory, settings: CoalitionSettings = SETTINGS) -> CoalitionAudit:
    return audit_run_coalition(run, settings, images=IMAGES, executor=Serial())


@pytest.fixture(scope="module")
def first(run: RunDirectory) -> CoalitionAudit:
    return audit(run)


def trials(run: RunDirectory) -> dict[Path, int]:
    """Kept trials and when they were written."""
    found = (run.audit("coalition") / "trials").glob("*.json")
    return {path: path.stat().st_mtime_ns for path in found}


def invoke(run: RunDirectory, *arguments: str) -> Result:
    common = ["audit", "coalition", str(run.root), "--images", str(IMAGES), "--jobs", "1"]
    return CliRunner().invoke(command_line(), [*common, *arguments])


def test_a_run_says_what_was_audited(run: RunDirectory, first: CoalitionAudit) -> None:
    assert first.run == run.name
    assert first.fleet == ("door", "gate", "yard")
    assert len(first.greedy) == 2
    assert first.settings["split"] == "test"
    assert first.settings["images"] == IMAGES
    assert first.provenance["dataset"]["dataset"] == "mnist"
    assert [device.name for device in first.devices if device.role == "control"] == ["control"]
    assert len(trials(run)) == 7


def test_a_killed_audit_resumes_to_the_same_result(
    run: RunDirectory, first: CoalitionAudit
) -> None:
    before = trials(run)
    lost, damaged, *_ = before
    lost.unlink()
    damaged.write_text(damaged.read_text().replace('"nonfinite": 0', '"nonfinite": 1'))
    again = audit(run)
    assert replace(again, created="") == replace(first, created="")
    after = trials(run)
    assert set(after) == set(before)
    assert {path for path in after if after[path] != before[path]} == {lost, damaged}


def test_trials_are_used_again_only_for_the_same_attack(
    run: RunDirectory, first: CoalitionAudit
) -> None:
    before = trials(run)
    audit(run, replace(SETTINGS, bootstrap=60, coalitions=9))
    assert trials(run) == before
    other = audit(run, replace(SETTINGS, effort=replace(SETTINGS.effort, steps=1)))
    assert other.trials != first.trials
    assert not set(trials(run).items()) & set(before.items())


def test_held_out_images_are_not_audited(run: RunDirectory) -> None:
    data = load_images(read_family(run).data)
    split: SplitName = "validation"
    job = AuditJob(run, "door", SETTINGS.effort, 55, split)
    sample = take_sample(data, job)
    held = take_held_out(data, job, sample, SETTINGS)
    assert held is not None
    assert len(held.images) == 5  # what 60 images leave
    assert not torch.isin(held.indices, sample.indices).any()
    everything = replace(job, images=60)
    assert take_held_out(data, everything, take_sample(data, everything), SETTINGS) is None
    test = replace(job, split="test")
    held = take_held_out(data, test, take_sample(data, test), SETTINGS)
    assert held is not None
    assert len(held.images) == SETTINGS.held_out


def test_many_names_make_one_file_name(tmp_path: Path) -> None:
    large = Coalition(tuple(f"device-{i:04d}" for i in range(200)), ("random",))
    assert trial_path(tmp_path, large).name.startswith("200-")
    assert len(trial_path(tmp_path, large).name) < 40


def test_no_images_are_refused(run: RunDirectory) -> None:
    with pytest.raises(AuditError, match="0 images"):
        audit_run_coalition(run, SETTINGS, images=0)


def test_the_command_prints_writes_and_gates(run: RunDirectory) -> None:
    quick = ("--steps", "2", "--restarts", "1", "--eps", "0.2", "--attack", "uniform")
    done = invoke(run, *quick)
    assert done.exit_code == 0, done.output
    assert "uniform attack, eps 0.2" in done.stdout
    assert "1 control" in done.stdout
    assert "worst to lose" in done.stdout
    stored = CoalitionAudit.load(run.audit("coalition") / "audit.json")
    assert stored.attacks == ("uniform",)
    document = json.loads(invoke(run, *quick, "--format", "json").stdout)
    assert document["schema"] == "fleet.audit.coalition/1"
    assert len(document["curve"]) == len(stored.curve)
    gated = invoke(run, *quick, "--max-share", "0")
    assert gated.exit_code == 1
    assert "above 0" in gated.stderr
    assert invoke(run, *quick, "--max-share", "1").exit_code == 0


def test_the_command_fails_on_masked_figures(run: RunDirectory) -> None:
    # One step of 8-bit noise's size: noise does better than gradients that hardly move.
    arguments = ("--steps", "1", "--restarts", "1", "--eps", "0.2", "--fail-on", "masked")
    done = invoke(run, *arguments)
    stored = CoalitionAudit.load(run.audit("coalition") / "audit.json")
    failed = {c.id for c in stored.checks if c.verdict == "fail"} - {"C4"}
    assert done.exit_code == (1 if failed else 0)
    assert ("fail a reliability check" in done.stderr) == bool(failed)


def test_a_dry_run_lists_the_coalitions_and_writes_nothing(run: RunDirectory) -> None:
    before = trials(run)
    done = invoke(run, "--dry-run", "--format", "json", "--coalitions", "2")
    assert done.exit_code == 0
    value = json.loads(done.stdout)
    assert value["coalitions"][:4] == [[], ["door"], ["gate"], ["yard"]]
    assert len(value["coalitions"]) == 6
    assert trials(run) == before
