"""One network of Table 1 again, from its committed profile: what is committed comes out again.

Takes minutes; ``make reproduce-check`` runs it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleet.audit.core.jobs import AuditJob, examine_device
from fleet.audit.core.members import TransferSettings
from fleet.audit.whitebox.audit import device_figures
from fleet.files import read_json
from fleet.paper.experiments import TABLE1
from fleet.paper.table_result import Table, TableNetwork
from fleet.paper.workspace import PROFILES
from fleet.rundir import RunDirectory

EPS = 0.1
IMAGES = 250

pytestmark = pytest.mark.reproduction


@pytest.fixture(scope="module")
def committed(project: Path) -> TableNetwork:
    path = project / "results" / "reproduce" / "table1.json"
    if not path.is_file():
        pytest.skip("Table 1 is not among the committed results yet")
    networks = Table.load(path).networks
    return next(n for n in networks if (n.backbone, n.task, n.seed) == ("nn", "int", 0))


@pytest.fixture(scope="module")
def trained(
    project: Path,
    tmp_path_factory: pytest.TempPathFactory,
    run_fleet: Callable[..., Any],
    committed: TableNetwork,
) -> RunDirectory:
    run = tmp_path_factory.mktemp("recompute") / "run"
    profile = PROFILES / "table1-nn.yaml"
    done = run_fleet("train", "-p", profile, "--run", run, "-d", "int-0", "-j", 1, timeout=1800)
    assert done.returncode == 0, done.stderr
    return RunDirectory(run)


def test_its_accuracy_is_the_committed_one(trained: RunDirectory, committed: TableNetwork) -> None:
    # Another processor rounds otherwise: as far off as another seed, not farther.
    test = read_json(trained.result("int-0"))["test"]
    assert test["n"] == committed.clean.n
    assert abs(test["correct"] - committed.clean.correct) <= 0.005 * committed.clean.n


def test_its_rates_are_the_committed_ones(trained: RunDirectory, committed: TableNetwork) -> None:
    settings = TransferSettings(
        eps=(EPS,), steps=TABLE1.steps, restarts=TABLE1.restarts, batch_size=TABLE1.batch_size
    )
    job = AuditJob(trained, "int-0", settings, IMAGES, "test", "whitebox")
    examined = examine_device(job, progress=lambda *_: None)
    found = {(f.protocol, f.attack): f.outcome for f in device_figures(examined, settings.eps)}
    fgsm = committed.attack("paper", "fgsm", EPS).outcome
    assert fgsm.flip == found["paper", "fgsm"].flip == 0  # no gradient, hence no step
    before = committed.attack("adaptive", "worst", EPS).outcome.rate("evade")
    after = found["adaptive", "worst"].rate("evade")
    assert before is not None
    assert after is not None
    assert abs(after - before) < 0.12
