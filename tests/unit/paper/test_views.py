"""A reproduction on a terminal and as figures: every figure that matters is there."""

import io
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from fleet.paper.claims_result import Claim, Claims
from fleet.paper.convergence_result import Convergence, Curve, Speed
from fleet.paper.figure3 import summarise
from fleet.paper.figures import write_convergence, write_matrices
from fleet.paper.table_terminal import table_view
from fleet.paper.terminal import claims_view, convergence_view, matrices_view
from unit.paper.figure3_samples import audit
from unit.paper.table_samples import network, table


def text(view: RenderableType) -> str:
    console = Console(width=200, file=io.StringIO(), color_system=None, highlight=False)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def learning() -> Convergence:
    curves = (Curve(0, ((0.5, 0.9), (1.0, 0.99)), 1.0), Curve(1, ((0.5, 0.99), (1.0, 0.99)), 0.5))
    never = (Curve(0, ((1.0, 0.5),), None),)
    speeds = (
        Speed("tra", 1e-3, 2, curves, 0.75, True),
        Speed("paper", 1e-3, 8, never, None, False),
    )
    return Convergence("NN on MNIST", "2026-01-01T00:00:00+00:00", 0.98, speeds, {})


def test_a_table_shows_the_papers_figure_beside_ours_and_the_honest_one() -> None:
    shown = text(table_view(table([network(seed=0, paper=1), network(seed=1, paper=3)])))
    assert "0.985 | 0.990 ± 0.000" in shown
    assert "0.005 | 0.020 ± 0.014" in shown  # PGD at eps .2: printed, then ours
    assert "0.950 ± 0.000" in shown  # adaptive evade
    assert shown.count("Table 1: MNIST, eps") == 3
    assert "masked: it is no evidence of safety" in shown


def test_one_seed_has_no_spread() -> None:
    assert "±" not in text(table_view(table([network()])))


def test_learning_curves_say_which_never_got_there() -> None:
    shown = text(convergence_view(learning()))
    assert "1.00, 0.50" in shown
    assert "0.75" in shown
    assert "over 8" in shown


def test_matrices_tell_relations_apart() -> None:
    shown = text(matrices_view(summarise(audit(lambda i, j: 0.5), title="Figure 3 on MNIST")))
    assert "Figure 3 on MNIST" in shown
    for word in ("same", "equivalent", "different"):
        assert word in shown
    assert "trends have p <= 0.05" in shown


def test_claims_carry_their_evidence() -> None:
    claim = Claim("robust", "INT is robust", "here", "does not hold", ("flip .9",), "rule", "cmd")
    shown = text(claims_view(Claims("2026-01-01T00:00:00+00:00", (claim,), {})))
    for word in ("INT is robust", "does not hold", "flip .9"):
        assert word in shown


@pytest.mark.parametrize("eps", [(0.1,), (0.05, 0.1)])
def test_every_eps_has_a_figure_of_its_own(tmp_path: Path, eps: tuple[float, ...]) -> None:
    found = summarise(audit(lambda i, j: 0.5, eps=eps), title="t")
    written = write_matrices(found, "figure3-mnist", tmp_path)
    assert [path.name for path in written] == [f"figure3-mnist-{level:g}.png" for level in eps]
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in written)


def test_learning_curves_are_drawn(tmp_path: Path) -> None:
    (path,) = write_convergence(learning(), tmp_path)
    assert path.read_bytes()[:4] == b"\x89PNG"
