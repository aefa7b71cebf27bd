"""Lines of a table are the means and spreads of its networks."""

import json
from pathlib import Path

import pytest
from rich.table import Table as Grid

from fleet.audit.core.result import Check
from fleet.errors import AuditError
from fleet.paper.parts import table_view
from fleet.paper.published import TABLE1
from fleet.paper.table_result import Spread, Table
from fleet.reports.wording import ABSENT
from unit.paper.table_samples import dead, network, table


def check(id: str, subject: str) -> Check:
    return Check(id, "title", "fail", "finding", "threshold", subject)


def test_a_spread_is_mean_and_sample_deviation() -> None:
    assert Spread.of([0.2, 0.4]) == Spread(pytest.approx(0.3), pytest.approx(0.02**0.5), (0.2, 0.4))
    assert Spread.of([0.2]).sd is None


def test_a_line_holds_every_figure_of_its_networks() -> None:
    found = table([network(seed=1, paper=3, adaptive=70), network(seed=0, paper=1, adaptive=90)])
    row = found.row("nn", "int")
    assert row.seeds == (0, 1)
    assert row.clean.values == (0.99, 0.99)
    assert (row.clean_floor.mean, row.clean_nearest.mean) == (0.991, 0.992)
    assert row.rejected.mean == 0.003
    assert [(c.attack, c.eps) for c in row.cells] == [
        (attack, eps) for attack in ("fgsm", "pgd") for eps in TABLE1.eps
    ]
    cell = row.cells[4]
    assert cell.published == TABLE1.rows["nn", "int"].pgd[1]
    assert cell.flip.values == (0.01, 0.03)
    assert cell.evade.values == (0.02, 0.04)
    assert cell.floor.values == (0.02, 0.04)
    honest = row.honest[2]
    assert (honest.eps, honest.flip.values) == (0.3, (0.9, 0.7))
    assert honest.evade.values == (0.95, 0.75)
    assert honest.noise.mean == 0.02


def test_a_network_that_decodes_no_image_has_no_rate() -> None:
    row = table([dead(), network(seed=1, paper=3, adaptive=70)]).row("nn", "int")
    assert row.honest[2].flip == Spread(0.7, None, (0.7,))
    assert row.cells[4].flip == Spread(0.03, None, (0.03,))

    found = table([dead(), dead(1), network(task="tra"), network(task="tra", seed=1)])
    row = found.row("nn", "int")
    assert {row.honest[0].evade, row.honest[0].noise, row.cells[0].floor} == {None}
    grid = next(iter(table_view(found).renderables))
    assert isinstance(grid, Grid)
    assert list(grid.columns[-4].cells)[-1] == ABSENT


def test_lines_come_in_the_order_of_the_paper() -> None:
    found = table([network(b, t) for b in ("nn", "alexnet") for t in ("int", "tra", "hin")])
    lines = [(row.backbone, row.task) for row in found.rows]
    assert lines == [(b, t) for b in ("nn", "alexnet") for t in ("tra", "hin", "int")]


def test_each_head_has_its_line_and_the_papers_comes_first() -> None:
    found = table([network(head="ordinal", clean=900), network(), network(head="ordinal", seed=1)])
    assert [(row.words, row.seeds) for row in found.rows] == [
        ("INT", (0,)),
        ("INT, ordinal", (0, 1)),
    ]
    assert found.row("nn", "int").head == "linear"
    assert found.rows[1].clean.values == (0.9, 0.99)


def test_failed_checks_are_told_by_protocol_each_once_and_in_order() -> None:
    checks = (check("M13", "paper"), check("M2", "paper"), check("BT", ""))
    found = table(
        [network(failed=checks), network(seed=1, failed=(check("M9", "adaptive steps"),))]
    )
    row = found.row("nn", "int")
    assert row.masked == ("BT", "M2", "M13")
    assert row.unreliable == ("BT", "M9")


def test_a_table_is_stored_whole(tmp_path: Path) -> None:
    found = table([network("nn", task) for task in ("tra", "hin", "int")])
    found.save(tmp_path / "t.json")
    assert Table.load(tmp_path / "t.json") == found


def test_a_table_whose_lines_are_not_its_networks_is_refused(tmp_path: Path) -> None:
    document = table([network(), network(task="tra")]).to_dict()
    document["networks"] = document["networks"][1:]
    (tmp_path / "t.json").write_text(json.dumps(document))
    with pytest.raises(AuditError, match="not those of the networks"):
        Table.load(tmp_path / "t.json")


def test_an_absent_line_or_figure_is_a_key_error() -> None:
    found = table([network()])
    with pytest.raises(KeyError):
        found.row("nn", "tra")
    with pytest.raises(KeyError):
        found.networks[0].attack("adaptive", "pgd", 0.1)
