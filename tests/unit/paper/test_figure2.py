"""Figure 2: real networks, real images, and a result that cannot contradict itself."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.audit.core.members import load_member
from fleet.errors import AuditError
from fleet.execution import Serial
from fleet.paper import figure2
from fleet.paper.figure2 import KIND, reproduce_figure2
from fleet.paper.figure2_result import MEASURES, Figure2, summarise
from fleet.paper.workspace import quietly
from fleet.profiles import load_profile
from fleet.profiles.spec import read_family
from fleet.rundir import RunDirectory
from fleet.training.family import train_family

PROFILE = """\
version: 1
name: tiny
control: false
data: {{dataset: mnist, root: {root}, validation: 200, train_limit: 320}}
defaults:
  allow_equivalent: true
  model: {{width: 0.0625}}
  training: {{epochs: 1, batch_size: 32, shift: 0}}
devices:
  - {{name: int-1, encoding: {{alpha: 4, beta: 16}}, training: {{seed: 1}}}}
  - {{name: tra-0, task: tra}}
  - {{name: int-0, encoding: {{alpha: 4, beta: 16}}}}
  - {{name: tra-1, task: tra, training: {{seed: 1}}}}
"""
WANTED = {"picture": "nn", "images": 120, "probe_images": 150, "stage": quietly(Serial())}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, mnist_root: Path) -> RunDirectory:
    place = tmp_path_factory.mktemp("figure2")
    profile = place / "tiny.yaml"
    profile.write_text(PROFILE.format(root=mnist_root))
    trained = train_family(load_profile(profile), run=place / "run", executor=Serial())
    assert not trained.errors
    return trained.run


@pytest.fixture(scope="module")
def found(trained: RunDirectory) -> Figure2:
    return reproduce_figure2({"nn": trained}, **WANTED)


def test_tra_and_int_are_measured_for_each_seed(found):
    names = [(score.network, score.task, score.seed) for score in found.scores]
    assert names == [("nn", "tra", 0), ("nn", "tra", 1), ("nn", "int", 0), ("nn", "int", 1)]
    assert {(score.n, score.dimension) for score in found.scores} == {(120, 32)}
    assert all(0 < score.effective_dimension <= 32 for score in found.scores)
    assert (found.pixels.n, found.pixels.dimension) == (120, 784)
    assert found.settings["probe_images"] == 150


def test_the_picture_shows_the_same_images_of_both(found, trained, mnist_root):
    tra, interval = found.embeddings
    assert [(e.task, e.seed) for e in found.embeddings] == [("tra", 0), ("int", 0)]
    assert tra.labels == interval.labels
    assert tra.points != interval.points
    hits = sum(a == b for a, b in zip(tra.labels, tra.decided, strict=True))
    assert found.score("nn", "tra", 0).accuracy == hits / 120
    assert {round(x, 2) == x for point in tra.points for x in point} == {True}


def test_the_summary_compares_each_int_with_each_tra(found):
    assert [line.measure for line in found.summary] == list(MEASURES)
    line = found.comparison("nn", "probe")
    scores = [score.probe for score in found.scores]
    assert line.tra.values == tuple(scores[:2])
    assert line.interval.values == tuple(scores[2:])
    gaps = [new - old for new in scores[2:] for old in scores[:2]]
    assert (line.lowest, line.highest) == (min(gaps), max(gaps))
    assert line.difference == pytest.approx(sum(gaps) / 4)
    with pytest.raises(KeyError):
        found.comparison("resnet18", "probe")


def test_a_killed_reproduction_goes_on_where_it_was(found, trained, monkeypatch):
    kept = {path: path.read_bytes() for path in trained.audit(KIND).rglob("*.json")}
    names = sorted(str(path.relative_to(trained.audit(KIND))) for path in kept)
    scores = [f"scores/{name}.json" for name in ("int-0", "int-1", "tra-0", "tra-1")]
    assert names == ["embeddings/int-0.json", "embeddings/tra-0.json", "pixels.json", *scores]
    (trained.audit(KIND) / "scores" / "int-1.json").unlink()
    work = []
    measure = figure2.features.silhouette
    monkeypatch.setattr(
        figure2.features, "silhouette", lambda *given: work.append(1) or measure(*given)
    )
    again = reproduce_figure2({"nn": trained}, **WANTED)
    assert len(work) == 2, "raw and standardised features of the one that was lost"
    assert replace(again, created="", provenance={}) == replace(found, created="", provenance={})
    assert {path: path.read_bytes() for path in kept} == kept


def test_another_sample_is_another_result(found, trained):
    other = reproduce_figure2({"nn": trained}, **WANTED | {"images": 100, "seed": 1})
    assert {score.n for score in other.scores} == {100}
    assert other.settings["images_sha256"] != found.settings["images_sha256"]


def test_two_backbones_of_which_one_is_drawn(found, trained, tmp_path):
    second = shutil.copytree(trained.root, tmp_path / "second")
    runs = {"nn": trained, "twin": RunDirectory(second)}
    both = reproduce_figure2(runs, **WANTED | {"picture": "twin"})
    assert both.networks == ("nn", "twin")
    assert {e.network for e in both.embeddings} == {"twin"}
    for measure in MEASURES:
        assert replace(both.comparison("twin", measure), network="nn") == found.comparison(
            "nn", measure
        )


def changed(run: RunDirectory, place: Path, old: str, new: str) -> RunDirectory:
    """Copy a run and change its profile."""
    copy = RunDirectory(Path(shutil.copytree(run.root, place)))
    text = copy.profile.read_text()
    assert old in text
    copy.profile.write_text(text.replace(old, new))
    return copy


def test_what_cannot_be_compared_is_refused(trained, tmp_path):
    runs = {"nn": trained}
    with pytest.raises(AuditError, match="99 images are too few"):
        reproduce_figure2(runs, **WANTED | {"images": 99})
    with pytest.raises(AuditError, match="no run of alexnet"):
        reproduce_figure2(runs, **WANTED | {"picture": "alexnet"})
    with pytest.raises(AuditError, match=r"TRA networks of seeds \[0, 1\]"):
        reproduce_figure2(runs, **WANTED, embed_seeds=(0, 2))
    split = changed(trained, tmp_path / "split", '"split_seed": 0', '"split_seed": 1')
    with pytest.raises(AuditError, match="on different images, or on different splits"):
        reproduce_figure2({**runs, "other": split}, **WANTED)
    lonely = changed(trained, tmp_path / "lonely", '"task": "tra"', '"task": "hin"')
    with pytest.raises(AuditError, match=r"seeds \[\] and INT networks of seeds \[0, 1\]"):
        reproduce_figure2({"nn": lonely}, **WANTED)


def test_the_networks_are_those_of_the_run(found, trained):
    family = read_family(trained)
    member = load_member(trained, family, family.device("tra-0"))
    text = (trained.audit(KIND) / "scores" / "tra-0.json").read_text()
    assert member.digest() in text


def test_a_result_comes_back_from_its_file(found, tmp_path):
    path = tmp_path / "figure2.json"
    found.save(path)
    assert Figure2.load(path) == found
    path.write_text(path.read_text().replace("figure2/1", "figure2/0"))
    with pytest.raises(AuditError, match="figure2/0"):
        Figure2.load(path)


def test_a_result_cannot_contradict_itself(found):
    first, second = found.scores[0], found.scores[1]
    tra, interval = found.embeddings
    better = (replace(first, purity=first.purity / 2), *found.scores[1:])
    for message, change in {
        "summary": {"scores": better},
        "networks are": {"networks": ("nn", "alexnet")},
        "seeds of nn": {"scores": found.scores[1:]},
        "TRA and INT on the same": {"embeddings": (tra,)},
        "on the same": {"embeddings": (tra, replace(interval, labels=interval.labels[::-1]))},
        "of seed 7": {"embeddings": (replace(tra, seed=7), interval)},
        "different numbers": {"pixels": replace(found.pixels, n=99)},
    }.items():
        with pytest.raises(ValueError, match=message):
            replace(found, **change)
    assert summarise(better) != found.summary
    for values in ({"purity": 1.1}, {"silhouette": -1.1}, {"effective_dimension": 32.1}):
        with pytest.raises(ValueError, match=r"1\.1 is not|dimension 32\.1 of 32"):
            replace(second, **values)
    with pytest.raises(ValueError, match=r"1\.5 is not"):
        replace(second, accuracy=1.5)
    with pytest.raises(ValueError, match="120 points, 119 labels"):
        replace(tra, labels=tra.labels[1:])
