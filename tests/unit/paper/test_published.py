"""The paper's figures are those that the paper prints."""

from pathlib import Path

import pytest

from fleet.paper.published import TABLE1, TABLE2, PublishedTable

PAPER = Path(__file__).resolve().parents[4] / "shared" / "paper.md"
WORDS = {"NN": "nn", "AlexNet": "alexnet", "ResNet": "resnet18", "DenseNet": "densenet121"}


def printed(number: int) -> dict[tuple[str, str], list[float]]:
    """Read a table of the paper's text: network, task, three FGSM, three PGD, LEG."""
    text = PAPER.read_text(encoding="utf-8")
    body = text.split(f"Table {number}. Comparison", 1)[1]
    rows: dict[tuple[str, str], list[float]] = {}
    network = ""
    for line in body.splitlines()[1:]:
        words = line.split()
        if len(words) == 9 and words[0] in WORDS:
            network, words = WORDS[words[0]], words[1:]
        if len(words) == 8 and words[0] in {"TRA", "HIN", "INT"}:
            rows[network, words[0].lower()] = [float(word) for word in words[1:]]
        if len(rows) == 9:
            break
    return rows


@pytest.mark.parametrize("table", [TABLE1, TABLE2], ids=["table1", "table2"])
def test_every_cell_is_the_printed_one(table: PublishedTable) -> None:
    if not PAPER.is_file():
        pytest.skip("the paper's text is not beside this project")
    ours = {key: [*row.fgsm, *row.pgd, row.clean] for key, row in table.rows.items()}
    assert ours == printed(table.number)


@pytest.mark.parametrize("table", [TABLE1, TABLE2], ids=["table1", "table2"])
def test_a_table_has_three_networks_three_tasks_and_ascending_radii(table: PublishedTable) -> None:
    assert len({backbone for backbone, _ in table.rows}) == 3
    assert {task for _, task in table.rows} == {"tra", "hin", "int"}
    assert list(table.eps) == sorted(table.eps)
