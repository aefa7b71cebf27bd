"""Figure 2 says beside the picture what was measured."""

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from fleet.paper.figure2_result import (
    TASKS,
    Embedding,
    FeatureScores,
    Figure2,
    Measures,
    summarise,
)
from fleet.reports.figures import encoded

SVG = "{http://www.w3.org/2000/svg}"


def score(task, seed, silhouette):
    return FeatureScores(
        network="nn",
        task=task,
        seed=seed,
        n=30,
        dimension=32,
        effective_dimension=8.25 if task == "tra" else 4.5,
        silhouette=silhouette,
        silhouette_standardised=silhouette / 2,
        purity=0.9 + seed / 100,
        probe=0.9999,
        accuracy=0.98,
    )


def embedding(task, seed=0):
    """Ten clusters of three; the last point of each is decoded as None."""
    side = 1 if task == "tra" else -1
    return Embedding(
        network="nn",
        task=task,
        seed=seed,
        points=tuple(
            (side * (10.0 * k + i), float(k % 3 * 20 + i)) for k in range(10) for i in range(3)
        ),
        labels=tuple(k for k in range(10) for _ in range(3)),
        decided=tuple(k if i < 2 else -1 for k in range(10) for i in range(3)),
        silhouette=0.61 if task == "tra" else 0.52,
        purity=0.75,
    )


@pytest.fixture
def found():
    values = {"tra": (0.75, 0.77), "int": (0.6, 0.7)}
    scores = tuple(score(task, seed, values[task][seed]) for task in TASKS for seed in (0, 1))
    pixels = Measures(
        n=30,
        dimension=784,
        effective_dimension=30.0,
        silhouette=0.048,
        silhouette_standardised=-0.04,
        purity=0.825,
        probe=0.889,
    )
    return Figure2(
        created="2026-01-01T00:00:00+00:00",
        dataset="mnist",
        networks=("nn",),
        scores=scores,
        pixels=pixels,
        embeddings=tuple(map(embedding, TASKS)),
        summary=summarise(scores),
        settings={"perplexity": 30.0},
        provenance={},
    )


def texts(result):
    svg = encoded("fleet.paper.features_figure:draw", (result,), "svg")[0]
    return ["".join(node.itertext()).strip() for node in ET.fromstring(svg).iter(f"{SVG}text")]


def test_tra_stands_left_and_int_right_whatever_their_order(found):
    shown = texts(found)
    titles = ["TRA, cross-entropy, seed 0", "INT, intervals, seed 0"]
    assert [text for text in shown if text in titles] == titles
    swapped = replace(found, embeddings=found.embeddings[::-1])
    assert texts(swapped) == shown


def test_each_panel_says_its_own_measures_and_those_of_all_seeds(found):
    shown = texts(found)
    for value in (
        "silhouette 0.610, purity 0.750",
        "silhouette 0.520, purity 0.750",
        "0.760 ± 0.014",
        "0.650 ± 0.071",
        "8.25 ± 0.00 effective, of 32",
        "4.50 ± 0.00 effective, of 32",
    ):
        assert shown.count(value) == 1, value
    assert shown.count("mean ± sd of 2 seeds") == 2
    assert shown.count(">0.999 ± 0.000") == 2
    assert (
        "For comparison, the pixels: silhouette 0.048, purity 0.825, linear probe 0.889." in shown
    )


def test_every_cluster_carries_its_class(found):
    shown = texts(found)
    assert all(shown.count(str(label)) == 2 for label in range(10))


def test_one_seed_has_no_spread(found):
    scores = tuple(s for s in found.scores if s.seed == 0)
    shown = texts(replace(found, scores=scores, summary=summarise(scores)))
    assert shown.count("one seed") == 2
    assert not [text for text in shown if "±" in text]
    assert {"0.750", "8.25 effective, of 32"} <= set(shown)


def test_each_training_embedded_has_its_row(found):
    both = tuple(embedding(task, seed) for task in TASKS for seed in (0, 1))
    titles = [text for text in texts(replace(found, embeddings=both)) if ", seed " in text]
    assert [title[:3] + title[-1] for title in titles] == ["TRA0", "INT0", "TRA1", "INT1"]


def test_the_same_result_gives_the_same_files_and_the_svg_stays_small(found):
    first, again = (
        encoded("fleet.paper.features_figure:draw", (found,), "png", "svg") for _ in range(2)
    )
    assert first == again
    assert first[0].startswith(b"\x89PNG")
    assert b"<image" in first[1]
