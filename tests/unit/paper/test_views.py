"""A reproduction on a terminal and as figures: every figure that matters is there."""

import io
from pathlib import Path

from rich.console import Console, RenderableType

from fleet.paper.claims import Claim, Claims
from fleet.paper.figure3 import summarise
from fleet.paper.parts import (
    Part,
    choices_view,
    claims_view,
    convergence_view,
    matrices_view,
    stems_view,
    table_view,
)
from fleet.paper.rows import Row, Rows
from fleet.paper.workspace import Workspace
from unit.paper.figure3_samples import audit
from unit.paper.table_samples import network, table


def text(view: RenderableType) -> str:
    console = Console(width=200, file=io.StringIO(), color_system=None, highlight=False)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


NOW = "2026-01-01T00:00:00+00:00"


def learning() -> Rows:
    def row(variant: str, epochs: int, mean: float | None, reached: list[float | None]) -> Row:
        curves = {f"seed {k}": ((0.5, 0.9), (1.0, 0.99)) for k in range(2)}
        figures = {"epochs": epochs, "mean": mean, "quickest": int(mean is not None)}
        each = dict(zip(curves, reached, strict=True))
        return Row({"variant": variant, "learning_rate": 1e-3}, figures | each, curves)

    rows = (row("tra", 2, 0.75, [1.0, 0.5]), row("paper", 8, None, [None, 7.5]))
    words = (("tra", "TRA"), ("paper", "INT as in the paper"))
    return Rows("NN on MNIST", NOW, words, rows, {"goal": 0.98}, {})


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
    assert "–, 7.50" in shown
    assert "over 8" in shown


def test_stems_show_shares_of_the_test_images() -> None:
    figures = {"epochs": 2, "seconds": 222.4, "n": 2000, "correct": 1900, "rejected": 20}
    row = Row({"task": "int", "stem": "cifar"}, figures)
    shown = text(stems_view(Rows("Stems", NOW, (), (row,), {"training_images": 4000}, {})))
    (line,) = [line for line in shown.splitlines() if "cifar" in line]
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    assert cells == ["int", "cifar", "0.9500", "0.0100", "222"]


def test_choices_stand_side_by_side_for_each_network_and_eps() -> None:
    def row(eps: float, choice: str, n: int) -> Row:
        return Row({"network": "nn", "choice": choice, "eps": eps}, {"n": n, "flip": n // 4})

    rows = (row(0.1, "pgd", 100), row(0.1, "fgsm", 200), row(0.2, "fgsm", 0), row(0.2, "pgd", 8))
    words = (("fgsm", "FGSM as in the table"), ("pgd", "PGD"))
    shown = text(choices_view(Rows("Attacks", NOW, words, rows, {"images": 300}, {})))
    lines = [line for line in shown.splitlines() if "nn" in line]
    cells = [[cell.strip() for cell in line.strip("│").split("│")][2:] for line in lines]
    assert cells == [["0.250", "0.250"], ["–", "0.250"]]
    assert "fgsm: FGSM as in the table" in shown


def test_matrices_tell_relations_apart() -> None:
    shown = text(matrices_view(summarise(audit(lambda i, j: 0.5), title="Figure 3 on MNIST")))
    assert "Figure 3 on MNIST" in shown
    for word in ("same", "equivalent", "different"):
        assert word in shown
    assert "transfer, same minus different encoding: +0.0 points" in shown


def test_claims_stand_with_verdict_figures_and_command() -> None:
    claim = Claim("r", "INT is robust", "here", "does not hold", "flip .9", ("more",), "rule", "do")
    shown = text(claims_view(Claims(NOW, (claim,), {})))
    for word in ("INT is robust", "does not hold", "flip .9", "do"):
        assert word in shown


def test_a_part_is_stored_and_drawn_once_for_each_eps(tmp_path: Path) -> None:
    place = Workspace(tmp_path, tmp_path, tmp_path / "results")
    found = summarise(audit(lambda i, j: 0.5, eps=(0.05, 0.1)), title="t")
    part = Part(lambda _place: found, matrices_view, "figure3_figure", each_eps=True)
    made, written = part.run("figure3-mnist", place)
    assert made is found
    names = ["figure3-mnist.json", "figure3-mnist-0.05.png", "figure3-mnist-0.1.png"]
    assert [path.name for path in written] == names
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in written[1:])
    curves = Part(lambda _place: learning(), convergence_view, "convergence_figure")
    _, (stored, drawn) = curves.run("convergence", place)
    assert (Rows.load(stored), drawn.name) == (learning(), "convergence.png")
    assert drawn.read_bytes()[:4] == b"\x89PNG"
