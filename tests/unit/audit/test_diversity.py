"""A difference is told from luck where it is one, and luck is called luck."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fleet.audit.core.gates import Confidence, Demand, judge
from fleet.audit.core.permutation import least_squares
from fleet.audit.diversity.audit import describe_networks
from fleet.audit.diversity.effects import Seen, agreement, effects, groups, together
from fleet.audit.diversity.result import DiversityAudit, Effect, Network
from fleet.profiles import load_profile
from fleet.reports.diversity import effects as effects_table
from fleet.reports.figures import encoded

IMAGES = 400
ENDS = ("low", "high")
RESULTS = Path(__file__).parents[3] / "results/robust/orders-diversity.json"


def fleet(orders: list[int], ratios: list[int] | None = None) -> list[Network]:
    values = ratios or [0] * len(orders)
    return [
        Network(f"n{k}", order, ratio, 0, 0)
        for k, (order, ratio) in enumerate(zip(orders, values, strict=True))
    ]


def seen(networks: list[Network], rates: np.ndarray, seed: int = 0) -> Seen:
    """Networks whose images evade each other at these rates, each image by itself."""
    random = np.random.default_rng(seed)
    size = len(networks)
    evaded = random.random((size, size, IMAGES)) < np.clip(rates, 0, 1)[:, :, None]
    correct, noisy = random.random((2, size, IMAGES)) < np.array([0.97, 0.1])[:, None, None]
    return Seen(networks, 0.1, correct, evaded, noisy)


def rates(networks: list[Network], order: float, seed: int = 0, pair: float = 0.02) -> np.ndarray:
    """Levels of surrogates and victims, luck of pairs, and what sharing an order gives."""
    random = np.random.default_rng(seed)
    size = len(networks)
    own = random.normal(0, 0.05, (2, size))
    same = np.array([[a.order == b.order for b in networks] for a in networks])
    luck = random.normal(0, pair, (size, size))
    return np.asarray(0.3 + own[0][:, None] + own[1][None] + order * same + luck)


def order_effect(networks: list[Network], matrix: np.ndarray) -> Effect:
    return next(e for e in effects(seen(networks, matrix)) if e.factor == "order")


def test_an_effect_is_found_with_its_size_and_intervals() -> None:
    networks = fleet([0, 0, 0, 1, 1, 1, 2, 2, 2])
    found = order_effect(networks, rates(networks, 0.15))
    assert found.told
    assert (found.same, found.different, found.values) == (9, 27, 3)
    assert found.bought == pytest.approx(0.15, abs=0.03)
    for bounds in (found.over_images, found.over_networks):
        assert bounds is not None
        assert bounds[0] < 0.15 < bounds[1]
    assert found.detectable is not None
    assert found.detectable < 0.1


def test_luck_is_called_luck_about_as_often_as_promised() -> None:
    networks = fleet([0, 0, 0, 1, 1, 1, 2, 2, 2])
    told = [order_effect(networks, rates(networks, 0.0, seed)).told for seed in range(20)]
    assert sum(told) <= 3


def test_a_fleet_that_is_too_small_says_so_however_large_the_effect() -> None:
    networks = fleet([0, 0, 1, 2, 0])
    found = order_effect(networks, rates(networks, 0.5))
    assert found.bought == pytest.approx(0.5, abs=0.06)
    assert not found.told
    assert (found.detectable, found.smallest_p) == (None, pytest.approx(0.1))
    assert found.over_networks is None


def test_an_easy_victim_passes_for_no_order() -> None:
    networks = fleet([0, 0, 0, 0, 0, 1, 1, 1])
    matrix = np.full((8, 8), 0.2)
    matrix[:, :5] += 0.4  # all victims of one order are easy, from everywhere
    assert order_effect(networks, matrix).bought == pytest.approx(0, abs=0.03)


def test_two_things_that_vary_are_told_apart_and_one_that_cannot_be_is_named() -> None:
    networks = fleet([0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0, 1, 1])
    found = {e.factor: e for e in effects(seen(networks, rates(networks, 0.2)))}
    assert found["order"].bought == pytest.approx(0.2, abs=0.03)
    assert found["ratio"].bought == pytest.approx(0, abs=0.03)
    assert found["method"].why_not == "all networks share it"
    assert found["any"].bought == pytest.approx(0.1, abs=0.05)
    assert (found["any"].values, found["any"].same, found["any"].different) == (4, 4, 24)
    confounded = fleet([0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2])
    both = {e.factor: e for e in effects(seen(confounded, rates(confounded, 0.2)))}
    assert both["order"].bought is both["ratio"].bought is None
    assert "another difference" in both["order"].why_not


def test_least_squares_leaves_nothing_of_what_it_fits() -> None:
    networks = fleet([0, 0, 0, 1, 1, 1])
    same = np.array([[a.order == b.order for b in networks] for a in networks])
    matrix = rates(networks, 0.3, pair=0.0)
    left, weights = least_squares(matrix, [same])
    assert np.abs(left).max() < 1e-12
    assert weights is not None
    assert (weights * matrix).sum() == pytest.approx(0.3)


def test_pairs_are_grouped_by_what_they_differ_in() -> None:
    networks = fleet([0, 0, 1], [0, 0, 1])
    matrix = np.array([[1, 0.4, 0.1], [0.6, 1, 0.1], [0.2, 0.2, 1]])
    seed, both = groups(seen(networks, matrix))
    assert (seed.differs, seed.pairs) == ((), 1)
    assert (both.differs, both.pairs) == (("order", "ratio"), 2)
    assert seed.transfer == pytest.approx(0.5, abs=0.05)
    assert both.transfer == pytest.approx(0.15, abs=0.05)
    assert seed.interval[0] < seed.transfer < seed.interval[1]
    assert seed.excess == pytest.approx(seed.transfer - 0.1, abs=0.04)
    assert seed.excess_interval is not None
    assert seed.excess_interval[0] < seed.excess < seed.excess_interval[1]
    assert (seed.beyond_seed, both.beyond_seed) == (None, pytest.approx(both.excess - seed.excess))
    assert both.beyond_interval is not None
    assert both.beyond_interval[0] < both.excess - seed.excess < both.beyond_interval[1] < 0


def test_shared_fate_is_counted_and_correlated() -> None:
    befell = np.zeros((3, 100), dtype=bool)
    befell[0, :20] = befell[1, :20] = befell[2, 20:40] = True
    counted = np.ones((3, 100), dtype=bool)
    first, *_ = together("failure", 0.1, ["a", "b", "c"], befell, counted)
    assert (first.n, first.first, first.second, first.both) == (100, 20, 20, 20)
    assert first.chance == pytest.approx(0.04)
    found = agreement("failure", 0.1, befell[:2], counted[:2])
    assert (found.correlation, found.effective) == (pytest.approx(1), pytest.approx(1))
    assert agreement("failure", 0.1, befell, counted).correlation == pytest.approx((1 - 0.5) / 3)
    rare = np.zeros((2, 100), dtype=bool)
    rare[:, 0] = True  # in a third of the resamples it befalls nobody
    assert agreement("failure", 0.1, rare, counted[:2]).interval == (1.0, 1.0)
    nothing = agreement("failure", 0.1, np.zeros((2, 9), dtype=bool), counted[:2, :9])
    assert (nothing.pairs, nothing.correlation, nothing.effective) == (0, None, None)


def test_networks_are_numbered_by_what_they_share_and_values_stay_hidden(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text(
        "version: 1\nname: f\ntwin: true\ndata: {dataset: mnist, root: .}\n"
        "defaults: {encoding: {alpha: 4, beta: 16}}\n"
        "devices:\n"
        "  - {name: a}\n"
        "  - {name: b, encoding: {alpha: 1, beta: 4, order: [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]}, "
        "allow_equivalent: true}\n"
        "  - {name: c, encoding: {beta: 36}, model: {head: ordinal}}\n"
        "  - {name: d, encoding: {order: spread}, training: {method: adversarial, eps: 0.1}}\n"
    )
    family = load_profile(tmp_path / "f.yaml")
    networks = describe_networks(family)
    assert [n.name for n in networks] == ["a", "b", "c", "d", "twin"]
    values = [(n.order, n.ratio, n.method, n.network) for n in networks]
    assert values == [(0, 0, 0, 0), (0, 0, 0, 0), (0, 1, 0, 1), (1, 0, 1, 0), (0, 0, 0, 0)]
    assert describe_networks(replace(family, controls=())) == networks[:4]


def gated(networks: list[Network], matrix: np.ndarray) -> DiversityAudit:
    whole = DiversityAudit.load(RESULTS)
    return replace(
        whole,
        eps=(0.1,),
        groups=tuple(groups(seen(networks, matrix))),
        effects=tuple(effects(seen(networks, matrix))),
    )


@pytest.mark.parametrize(
    ("confidence", "passing", "failing"),
    [("lower", 0.16, 0.25), ("point", 0.13, 0.17), ("upper", 0.1, 0.145)],
)
def test_a_gate_holds_what_was_bought_against_the_bound_that_is_asked_for(
    confidence: Confidence, passing: float, failing: float
) -> None:
    networks = fleet([0, 0, 1, 2, 3])
    audit = gated(networks, rates(networks, 0.15, pair=0.0))
    (passed,) = judge(audit, Demand({"twin": passing}, confidence))
    assert (passed.gate, passed.reasons) == (f"--min-diversity {passing:g}", ())
    assert "another seed alone transfers" in passed.notes[0]
    assert passed.notes[0].endswith("over networks, what differs may be luck")
    (reason,) = judge(audit, Demand({"twin": failing}, confidence))[0].reasons
    assert reason.startswith("transfer saved 0.1")
    assert reason.endswith(f"by what devices differ in at eps 0.1 is below {failing:g}")
    worse = {"lower": "(upper bound", "point": "saved", "upper": "(lower bound"}
    assert worse[confidence] in reason, "upper is the strict end, whatever is counted"


@pytest.mark.parametrize(
    ("orders", "why"),
    [
        ([0, 0, 0, 0], "all networks differ in their seed alone"),
        ([0, 1, 2, 3], "no two networks differ in the seed alone; `twin: true` trains such a pair"),
        ([0, 0, 1], "it takes four networks to tell it from what single ones are, not 3"),
    ],
)
def test_a_fleet_that_cannot_show_what_differences_buy_passes_no_gate(
    orders: list[int], why: str
) -> None:
    networks = fleet(orders)
    (ruling,) = judge(gated(networks, rates(networks, 0.0)), Demand({"twin": 0.0}))
    assert ruling.reasons == (f"nothing was measured on the fleet: {why}",)
    (masked,) = judge(gated(networks, rates(networks, 0.0)), Demand(masked=True))
    assert masked.reasons == (), "the attacks that were made hide nothing"
    (earlier,) = judge(DiversityAudit.load(RESULTS), Demand({"twin": 0.0}))
    assert earlier.reasons[0].startswith(
        "nothing was measured on the fleet: the audit is of an ear"
    )


def test_the_figure_and_the_terminal_draw_each_effect_on_one_scale() -> None:
    networks = fleet([0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 0])
    audit = gated(networks, rates(networks, 0.2))
    assert [e.factor for e in audit.shown()] == ["order", "ratio", "any"]
    (svg,) = encoded("fleet.reports.diversity_figure:draw", (audit,), "svg")
    for words in ("the seed alone", "another order", "another β/(α+β)", "any difference"):
        assert words in svg.decode()
    few = effects_table(gated(fleet([0, 0, 1, 2]), np.zeros((4, 4)))).csv()
    (row,) = csv.DictReader(few.splitlines())
    known = [row[f"over_{of}_{end}"] != "" for of in ("images", "networks") for end in ENDS]
    assert known == [True, True, False, False]
    drawn = effects_table(audit).columns[-1]
    lines = [drawn.show(effect) for effect in audit.shown()]
    places = [line.index("●") for line in lines]
    bought = [effect.bought or 0.0 for effect in audit.shown()]
    assert sorted(places) == [place for _, place in sorted(zip(bought, places, strict=True))]
    assert {len(line) for line in lines} == {21}
    ends = [end for effect in audit.shown() for end in effect.over_images or ()]
    assert max(map(abs, ends)) == pytest.approx(float(drawn.terminal.split("+")[1]) / 100, abs=5e-4)
