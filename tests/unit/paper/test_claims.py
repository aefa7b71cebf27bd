"""Each verdict follows from the figures, and turns where they turn."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fleet.audit.whitebox.result import MinimumDistance
from fleet.paper.claims import RULES, Claim, Claims, Results, judge_claims
from fleet.paper.figure2_result import (
    Embedding,
    FeatureScores,
    Figure2,
    Measures,
    summarise,
)
from fleet.paper.figure3 import summarise as matrices
from fleet.paper.figure3_result import Figure3
from fleet.paper.rows import Row, Rows
from fleet.paper.table_result import Table
from fleet.paper.trainings import VARIANTS
from fleet.paper.workspace import Workspace
from fleet.vocabulary import Task
from unit.paper.figure3_samples import GRID, SHARES, audit
from unit.paper.table_samples import dead, network, table, tasks


def judge(id: str, **results: object) -> Claim:
    (rule,) = [rule for rule in RULES if rule.id == id]
    return rule.claim(Results(**results))  # type: ignore[arg-type]


def on_tables(id: str) -> Callable[[list[Table]], Claim]:
    return lambda tables: judge(id, tables=tuple(tables))


def on_matrices(id: str) -> Callable[[list[Figure3]], Claim]:
    return lambda found: judge(id, matrices=tuple(found))


def on_features(id: str) -> Callable[[Figure2 | None], Claim]:
    return lambda found: judge(id, features=found)


def slower(found: Rows | None) -> Claim:
    return judge("slower", convergence=found)


robust, no_tradeoff, immune = map(on_tables, ("robust", "no-tradeoff", "immune"))
tighter, better = map(on_features, ("tighter", "better"))
larger, hard, asymmetric = map(on_matrices, ("larger", "hard", "asymmetric"))

MASKED: Mapping[Task, int] = {"tra": 60, "hin": 30, "int": 1}
OPEN: Mapping[Task, int] = {"tra": 60, "hin": 30, "int": 70}
SAFE: Mapping[Task, tuple[int, int]] = {"tra": (90, 92), "hin": (80, 80), "int": (20, 30)}
BROKEN: Mapping[Task, tuple[int, int]] = {"tra": (90, 92), "hin": (80, 80), "int": (91, 95)}


def test_robustness_holds_only_where_an_honest_attack_finds_it() -> None:
    assert robust([tasks(SAFE, paper=MASKED)]).verdict == "holds"
    assert robust([tasks(BROKEN, paper=MASKED)]).verdict == "holds only under the paper's protocol"
    assert robust([tasks(BROKEN, paper=OPEN)]).verdict == "does not hold"
    assert robust([]).verdict == "not measured"


def test_a_network_that_decodes_no_image_is_not_the_most_robust_one() -> None:
    alive = [network(task="tra", seed=seed) for seed in (0, 1)]
    assert robust([table([dead(), dead(1), *alive])]).verdict == "not measured"
    assert no_tradeoff([table([dead(), dead(1), *alive])]).verdict == "not measured"
    mixed = table([dead(), network(seed=1, adaptive=95), *alive])
    assert robust([mixed]).verdict != "holds"


def test_one_overlapping_seed_is_no_lower_rate() -> None:
    overlapping: Mapping[Task, tuple[int, int]] = {**SAFE, "int": (20, 91)}
    found = robust([tasks(overlapping, paper=MASKED)])
    assert found.verdict == "holds only under the paper's protocol"
    assert "evaded less often in 0 of 9 cells" in found.evidence[0]


def test_robustness_bought_with_accuracy_is_still_a_tradeoff() -> None:
    cheap = tasks(SAFE, paper=MASKED)
    assert no_tradeoff([cheap]).verdict == "holds"
    dear = [
        dataclasses.replace(n, clean=dataclasses.replace(n.clean, correct=950))
        if n.task == "int"
        else n
        for n in cheap.networks
    ]
    assert no_tradeoff([table(dear)]).verdict == "does not hold"
    assert (
        no_tradeoff([tasks(BROKEN, paper=MASKED)]).verdict
        == "holds only under the paper's protocol"
    )
    assert no_tradeoff([]).verdict == "not measured"


def test_a_stand_in_is_shown_and_decides_nothing() -> None:
    real = tasks(SAFE, paper=MASKED)
    weak = dataclasses.replace(tasks(BROKEN, paper=OPEN), title="A stand-in", same_data=False)
    for judged in (robust, no_tradeoff, immune):
        alone, both = judged([weak]), judged([real, weak])
        assert alone.verdict == "not measured"
        assert both.verdict == judged([real]).verdict
        assert any(line.startswith("A stand-in") for line in both.evidence)


def test_a_stand_in_decides_no_claim_about_figure_3_either() -> None:
    for judged, rate in (
        (larger, lambda i, j: 0.9 - 0.01 * GRID[j][0] - 0.004 * GRID[j][1] - 0.0001 * j),
        (hard, lambda i, j: 0.8 if SHARES[i] == SHARES[j] else 0.2),
        (asymmetric, lambda i, j: 0.8 if i < j else 0.2),
    ):
        real = matrices(audit(rate), title="Digits")
        weak = matrices(audit(lambda i, j: 0.5), title="A stand-in", same_data=False)
        assert judged([real]).verdict == judged([real, weak]).verdict == "holds"
        assert judged([weak]).verdict == "not measured"
        assert any(line.startswith("A stand-in") for line in judged([real, weak]).evidence)


@pytest.mark.parametrize(
    ("found", "verdict"), [(64, "does not hold"), (0, "holds"), (30, "undecided")]
)
def test_immunity_is_counted_in_images_found(found: int, verdict: str) -> None:
    claim = immune([table([network(found=found), network(task="tra")])])
    assert claim.verdict == verdict
    assert f"INT {found} of 64" in claim.evidence[0]
    assert "TRA 64 of 64, median l2 distance nn 1" in claim.evidence[0]


def test_immunity_without_a_measurement_is_not_measured() -> None:
    bare = dataclasses.replace(network(), distances=())
    assert immune([table([bare])]).verdict == "not measured"
    empty = MinimumDistance("int-0", "cw-l2", "l2", 0, 0, None)
    nothing = dataclasses.replace(network(), distances=(empty,))
    assert immune([table([nothing])]).verdict == "not measured"


def features(tra: float, interval: float, *, probe: float = 0.9) -> Figure2:
    def score(task: str, seed: int) -> FeatureScores:
        value = (tra if task == "tra" else interval) + seed / 100
        return FeatureScores(
            network="nn", task=task, seed=seed, accuracy=0.9, n=3, dimension=8,  # type: ignore[arg-type]
            effective_dimension=2.0, silhouette=value, silhouette_standardised=value,
            purity=value, probe=probe,
        )  # fmt: skip

    scores = tuple(score(task, seed) for task in ("tra", "int") for seed in (0, 1))
    pixels = Measures(
        n=3, dimension=8, effective_dimension=2.0, silhouette=0.1,
        silhouette_standardised=0.1, purity=0.5, probe=0.5,
    )  # fmt: skip
    points = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
    pictures = tuple(
        Embedding(
            network="nn",
            task=task,
            seed=0,
            points=points,
            labels=(0, 1, 2),  # type: ignore[arg-type]
            decided=(0, 1, 2),
            silhouette=0.1,
            purity=0.5,
        )
        for task in ("tra", "int")
    )
    return Figure2(
        "2026-01-01T00:00:00+00:00",
        "mnist",
        ("nn",),
        scores,
        pixels,
        pictures,
        summarise(scores),
        {},
        {},
    )


def test_features_are_tighter_only_if_every_network_is() -> None:
    assert tighter(features(0.3, 0.5)).verdict == "holds"
    assert tighter(features(0.5, 0.3)).verdict == "does not hold"
    assert tighter(features(0.5, 0.505)).verdict == "undecided"
    assert tighter(None).verdict == "not measured"
    assert better(features(0.3, 0.5)).verdict == "undecided"  # the probe is the same
    assert better(None).verdict == "not measured"


def test_features_may_be_tighter_on_one_network_and_not_on_another() -> None:
    tight, loose = features(0.3, 0.5), features(0.5, 0.3)
    other = tuple(dataclasses.replace(score, network="resnet18") for score in loose.scores)
    scores = (*tight.scores, *other)
    both = dataclasses.replace(
        tight, networks=("nn", "resnet18"), scores=scores, summary=summarise(scores)
    )
    assert tighter(both).verdict == "holds on some networks only"


def test_larger_lengths_help_only_if_the_honest_rate_falls() -> None:
    def falls(i: int, j: int) -> float:  # with alpha and with beta, a little for each network
        alpha, beta = GRID[j]
        return 0.9 - 0.01 * alpha - 0.004 * beta - 0.0001 * j

    assert larger([matrices(audit(falls), title="t")]).verdict == "holds"
    flat = larger([matrices(audit(lambda i, j: 0.5), title="t")])
    assert flat.verdict == "does not hold"
    assert larger([]).verdict == "not measured"


def test_gaps_that_turn_flips_into_none_are_no_robustness() -> None:
    """The decoded class changes less with alpha, and the attack evades as often as before."""

    def caught(i: int, j: int) -> float:
        return 0.02 * GRID[j][0] + 0.0001 * j

    flip = audit(lambda i, j: 0.5 - caught(i, j), reject=caught)
    found = larger([matrices(flip, title="t")])
    assert found.verdict == "undecided"
    assert any("flip white-box: falls as alpha grows" in line for line in found.evidence)
    assert any("evade white-box: the same at every alpha" in line for line in found.evidence)


def test_one_rate_that_rises_refutes_larger_lengths() -> None:
    def falls(i: int, j: int) -> float:
        return 0.5 - 0.01 * GRID[j][0] - 0.0001 * j

    def rejected(i: int, j: int) -> float:  # evade rises with beta while flip falls
        return 0.004 * GRID[j][1] + 0.0003 * j

    found = larger([matrices(audit(falls, reject=rejected), title="t")])
    assert found.verdict == "does not hold"
    assert any("evade onto victims: rises as beta grows" in line for line in found.evidence)


def test_a_fall_under_the_papers_protocol_alone_is_said_to_be_that() -> None:
    made = audit(lambda i, j: 0.5, protocols=("adaptive", "paper"))
    fallen = audit(lambda i, j: 0.9 - 0.01 * GRID[j][0] - 0.004 * GRID[j][1] - 0.0001 * j)
    cells = fallen.matrices[0].cells
    mixed = tuple(
        dataclasses.replace(m, cells=cells) if m.protocol == "paper" else m for m in made.matrices
    )
    found = larger([matrices(dataclasses.replace(made, matrices=mixed), title="t")])
    assert found.verdict == "holds only under the paper's protocol"


def test_transfer_is_hard_only_if_the_encoding_lowers_it_beyond_the_seed() -> None:
    def same_is_easy(i: int, j: int) -> float:
        return 0.8 if SHARES[i] == SHARES[j] else 0.2

    assert hard([matrices(audit(same_is_easy), title="t")]).verdict == "holds"
    found = hard([matrices(audit(lambda i, j: 0.3 + 0.01 * i), title="t")])
    assert found.verdict == "does not hold"
    assert any("networks" in line for line in found.evidence)
    assert hard([]).verdict == "not measured"


def test_a_matrix_is_asymmetric_beyond_what_sampling_does() -> None:
    assert asymmetric([matrices(audit(lambda i, j: 0.5), title="t")]).verdict == "does not hold"
    skew = matrices(audit(lambda i, j: 0.8 if i < j else 0.2), title="t")
    assert asymmetric([skew]).verdict == "holds"
    assert asymmetric([]).verdict == "not measured"


def learning(**mean: float | None) -> Rows:
    def speed(variant: str) -> Row:
        value = mean.get(variant)
        figures = {"epochs": 8, "mean": value, "quickest": int(value is not None), "seed 0": value}
        names = {"variant": variant, "learning_rate": 1e-3}
        return Row(names, figures, {"seed 0": ((1.0, 0.99),)})

    rows = tuple(speed(variant) for variant in VARIANTS)
    return Rows("t", "2026-01-01T00:00:00+00:00", tuple(VARIANTS.items()), rows, {"goal": 0.98}, {})


def test_slower_means_more_epochs_than_tra_or_never() -> None:
    slow = slower(learning(tra=1.0, scaled=0.9, paper=5.0))
    assert slow.verdict == "holds"
    assert "our goal, INT in no more epochs than TRA, is met with the paper's head" in slow.evidence
    assert slow.evidence[-1].endswith("is missed with the ordinal head")
    assert slower(learning(tra=1.0, scaled=1.1, paper=None)).verdict == "holds"
    assert "missed" in slower(learning(tra=1.0, scaled=1.1, paper=None)).evidence[-1]
    assert slower(learning(tra=1.0, scaled=1.0, paper=0.5)).verdict == "does not hold"
    assert slower(learning(tra=None, scaled=1.0, paper=0.5)).verdict == "undecided"
    assert slower(None).verdict == "not measured"


def test_claims_are_judged_from_the_results_that_are_there(tmp_path: Path) -> None:
    place = Workspace(tmp_path, tmp_path, tmp_path / "results")
    assert {c.verdict for c in judge_claims(place).claims} == {"not measured"}
    tasks(BROKEN, paper=MASKED).save(place.result("table1"))
    learning(tra=1.0, scaled=0.9, paper=5.0).save(place.result("convergence"))
    features(0.3, 0.5).save(place.result("figure2"))
    matrices(audit(lambda i, j: 0.5), title="Figure 3 on MNIST").save(place.result("figure3-mnist"))
    found = judge_claims(place)
    verdicts = {claim.id: claim.verdict for claim in found.claims}
    assert verdicts["robust"] == "holds only under the paper's protocol"
    assert verdicts["slower"] == verdicts["tighter"] == "holds"
    assert "not measured" not in verdicts.values()
    assert set(found.sources) == {"Table 1: MNIST", "Figure 3 on MNIST", "Figure 2", "Convergence"}
    found.save(tmp_path / "claims.json")
    assert Claims.load(tmp_path / "claims.json") == found


def test_a_claim_that_was_measured_says_the_figures_that_decide_it(tmp_path: Path) -> None:
    place = Workspace(tmp_path, tmp_path, tmp_path / "results")
    assert {claim.figure for claim in judge_claims(place).claims} == {""}
    tables = [tasks(BROKEN, paper=MASKED)]
    assert robust(tables).figure == (
        "INT is below TRA in 18 of 18 cells under the paper's protocol, in 0 of 9 under the "
        "adaptive one"
    )
    assert no_tradeoff(tables).figure.startswith("INT's accuracy is at most 0.000 below TRA's")
    assert immune(tables).figure.endswith("at a rate of 1.000")
    assert "on 1 of 1 backbones (nn)" in tighter(features(0.3, 0.5)).figure
    flat = [matrices(audit(lambda i, j: 0.5), title="t")]
    assert "0 fall, 0 rise and 8 show no trend" in larger(flat).figure
    assert hard(flat).figure.count("points") == 1
    assert "mean gap 0.000" in asymmetric(flat).figure
    assert "TRA: 1.00 epochs" in slower(learning(tra=1.0, paper=5.0)).figure
