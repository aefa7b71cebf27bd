"""A whole table from tiny profiles: real trainings, real attacks, and nothing done twice."""

import dataclasses
from pathlib import Path

import pytest
import torch

from fleet.encoding import IntervalEncoding
from fleet.encoding.tensor import encoding_tensors
from fleet.execution import Serial
from fleet.models import build_classifier
from fleet.paper.published import TABLES
from fleet.paper.table import nearest_class, reproduce_table
from fleet.paper.table_result import Table
from fleet.paper.workspace import QUICK_TEST, TABLE1, TABLE2, Workspace, quietly

PROFILE = """\
version: 1
name: {name}
control: false
data: {{dataset: mnist, root: {root}, validation: 200, train_limit: 640}}
defaults:
  allow_equivalent: true
  model: {{width: 0.125}}
  training: {{epochs: 2, batch_size: 32, shift: 0}}
devices:
  - {{name: tra-0, task: tra}}
  - {{name: hin-0, task: hin}}
  - {{name: int-0, encoding: {{alpha: 4, beta: 16}}}}
"""

SHORT = dataclasses.replace(TABLE1, profiles=TABLE1.profiles[:1])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, mnist_root: Path) -> Workspace:
    home = tmp_path_factory.mktemp("table")
    for _, profile in SHORT.profiles:
        text = PROFILE.format(name=profile, root=mnist_root)
        (home / f"{profile}.yaml").write_text(text)
    return Workspace(home, home / "runs", home / "results", quick=True, stage=quietly(Serial()))


@pytest.fixture(scope="module")
def table(place: Workspace) -> Table:
    return reproduce_table(SHORT, place)


def test_every_line_of_the_paper_is_there_with_real_counts(table: Table) -> None:
    assert [(row.backbone, row.task) for row in table.rows] == list(TABLES[1].rows)[:3]
    for network in table.networks:
        assert network.clean.n == QUICK_TEST
        assert network.audited.images == table.images == TABLE1.quick().images
        assert {(a.protocol, a.attack) for a in network.attacked} == {
            ("paper", "fgsm"),
            ("paper", "pgd"),
            ("paper", "worst"),
            ("adaptive", "worst"),
        }
        assert all(a.outcome.n == network.audited.correct for a in network.attacked)
        assert [d.attack for d in network.distances][:2] == ["cw-l2", "ead-l1"]


def test_the_worst_case_is_never_below_an_attack(table: Table) -> None:
    for network in table.networks:
        for eps in table.eps:
            worst = network.attack("adaptive", "worst", eps).outcome
            for attack in ("fgsm", "pgd", "worst"):
                single = network.attack("paper", attack, eps).outcome
                assert worst.flip >= single.flip
                assert worst.evade >= single.evade


def test_decoding_more_gives_no_fewer_correct_images(table: Table) -> None:
    for network in table.networks:
        clean = network.clean
        assert clean.correct <= clean.floor
        assert clean.correct <= clean.nearest <= clean.correct + clean.rejected
        if network.task != "int":
            assert (clean.rejected, clean.floor, clean.nearest) == (0, clean.correct, clean.correct)


def test_the_second_time_nothing_is_made_again(place: Workspace, table: Table) -> None:
    kept = {p: p.stat().st_mtime_ns for p in place.runs.rglob("*.safetensors")}
    assert len(kept) == 6  # three networks and their adversarial images
    again = reproduce_table(SHORT, place)
    assert again.rows == table.rows
    assert {p: p.stat().st_mtime_ns for p in place.runs.rglob("*.safetensors")} == kept


def test_a_damaged_network_is_attacked_anew_once_it_is_trained_again(
    place: Workspace, table: Table
) -> None:
    run = place.run("table1-nn")
    sets = run.audit("whitebox") / "sets" / "int-0.safetensors"
    sets.write_bytes(sets.read_bytes()[:100])
    assert reproduce_table(SHORT, place).rows == table.rows


def test_quick_is_small_and_the_full_scale_is_not() -> None:
    assert TABLE1.quick().images < 20
    assert TABLE1.images == 1000
    assert (TABLE1.quick().measured, TABLE2.quick().measured) == (1, 0)
    assert [backbone for backbone, _ in TABLE2.quick().profiles] == ["alexnet"]
    assert TABLE1.quick().profiles == TABLE1.profiles


def test_the_nearest_interval_is_that_of_the_least_distance() -> None:
    encoding = IntervalEncoding(num_classes=10, alpha=4, beta=16, order=tuple(range(9, -1, -1)))
    classifier = build_classifier(
        architecture="nn", head="linear", task="int", encoding=encoding, num_classes=10,
        input_shape=(1, 28, 28), mean=(0.0,), std=(1.0,), width=0.125, seed=0,
    )  # fmt: skip
    outputs = torch.tensor([-50.0, 8.0, 17.9, 18.1, 500.0])
    found = nearest_class(classifier, outputs, encoding_tensors(encoding))
    assert found.tolist() == [9, 9, 9, 8, 0]
