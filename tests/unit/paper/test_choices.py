"""The paper's attacks under other choices: networks whose answers can be worked out by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import Tensor, nn

from fleet.audit.core.members import Member, Sample, TransferSettings
from fleet.audit.core.result import Outcome
from fleet.encoding import IntervalEncoding
from fleet.execution import Serial
from fleet.models import Classifier
from fleet.paper.choices import choices, reproduce_choices, try_all
from fleet.paper.rows import Rows
from fleet.paper.workspace import Workspace, quietly

EPS = 8 / 255
SETTINGS = TransferSettings((EPS,), steps=10, restarts=1, batch_size=20)
ENCODING = IntervalEncoding(2, alpha=10.0, beta=20.0)
COUNT = 40

PROFILE = """\
version: 1
name: table1-nn
control: false
data: {{dataset: mnist, root: {root}, validation: 200}}
defaults:
  allow_equivalent: true
devices:
  - {{name: tra-0, task: tra}}
  - {{name: int-1, encoding: {{alpha: 4, beta: 16}}, training: {{seed: 1}}}}
  - {{name: int-0, encoding: {{alpha: 4, beta: 16}}, training: {{seed: 0}}}}
"""


class Level(nn.Module):
    """``o`` is the first pixel in levels, minus 100; class 0 is [0, 20], class 1 is [30, 50]."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0, 0, 0] * 255 - 100


class Normalised(Level):
    """The same in use; in training mode the pixels of a batch have mean 0 and variance 1."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.norm(x))


def found(module: nn.Module, levels: list[int]) -> dict[str, Outcome]:
    """Outcome of every choice on images of class 0 whose first pixel has these levels."""
    images = torch.zeros(len(levels), 1, 2, 2, dtype=torch.uint8)
    images[:, 0] = torch.tensor(levels)[:, None, None]
    sample = Sample(images, torch.zeros(len(levels), dtype=torch.int64), torch.arange(len(levels)))
    member = Member("level", Classifier.from_module(module, ENCODING, (1, 2, 2)).eval())
    tried = try_all(member, sample, SETTINGS, lambda done, total, words: None)
    names = [choice.name for choice in choices(SETTINGS.steps)]
    assert [row.names["choice"] for row in tried] == names
    counts = [[row.figures[name] for name in ("n", "flip", "reject")] for row in tried]
    return {name: Outcome(*found) for name, found in zip(names, counts, strict=True)}


def test_deep_inside_an_interval_no_choice_finds_anything() -> None:
    outcomes = found(Level(), [110] * COUNT)
    assert set(outcomes.values()) == {Outcome(COUNT, 0, 0)}


def test_at_an_edge_it_is_the_random_start_that_finds_the_way_out() -> None:
    outcomes = found(Level(), [118] * COUNT)
    for blind in ("fgsm", "fgsm-train", "image"):
        assert outcomes[blind].evade == 0
    for lucky in ("pgd", "half", "five", "long"):
        assert 0 < outcomes[lucky].evade < COUNT  # about six starts of sixteen end above 20
    assert outcomes["five"].evade == outcomes["pgd"].evade  # the same starts: steps change nothing


def test_a_gradient_in_training_mode_moves_and_leaves_the_network_as_it_was() -> None:
    module = Normalised()
    outcomes = found(module, [103, 104] * (COUNT // 2))
    assert outcomes["fgsm"].evade == 0
    assert outcomes["fgsm-train"].evade > 0
    assert module.norm.num_batches_tracked == 0
    assert not module.training


def test_each_backbone_is_tried_on_its_first_interval_network_and_once(
    tmp_path: Path, mnist_root: Path
) -> None:
    (tmp_path / "table1-nn.yaml").write_text(PROFILE.format(root=mnist_root))
    place = Workspace(
        tmp_path, tmp_path / "runs", tmp_path / "results", quick=True, stage=quietly(Serial())
    )
    made = reproduce_choices(place)
    assert [row.names["choice"] for row in made.rows] == [name for name, _ in made.words]
    assert {(row.names["network"], row.names["eps"]) for row in made.rows} == {("nn", 0.3)}
    (image,), (pgd,) = (made.where(choice=name, eps=0.3) for name in ("image", "pgd"))
    assert image.figures["n"] == pgd.figures["n"] > 0
    assert made.where(choice="image", eps=0.1) == []
    path = place.result("choices")
    made.save(path)
    assert Rows.load(path) == made
    kept = next(place.run("table1-nn").root.rglob("choices/int-0.json"))
    written = kept.stat().st_mtime_ns
    again = reproduce_choices(place)
    assert dataclasses.replace(again, created=made.created) == made
    assert kept.stat().st_mtime_ns == written
